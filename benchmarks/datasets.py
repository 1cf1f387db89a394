"""How long the datasets that come with the package take to make, and what they weigh.

Run: python benchmarks/datasets.py --size smoke mini [--names passersby-fdh ...]

Made in a temporary folder, as `dp2bench data make` does: one after the other, by the same two workers. Processor seconds are
those of all processes together: on two idle cores half of it passes.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time

from dp2bench.datasets.passersby.generation import cache
from dp2bench.datasets.passersby.generation.workers import shared_workers


def worked() -> float:
    """Processor seconds of the children that ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", default=["smoke", "mini"])
    parser.add_argument("--names", nargs="+", default=cache.generated_names())
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print("| dataset | size | pictures | wall | processor | on disk |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in options.size:
        wall, before = 0.0, worked() + time.process_time()
        with shared_workers():
            for name in options.names:
                with tempfile.TemporaryDirectory() as folder:
                    os.environ["DP2BENCH_CACHE"] = folder
                    data = cache.create(name, size)
                    begin = time.perf_counter()
                    data.prepare()
                    took = time.perf_counter() - begin
                    pictures = sum(len(data.samples(split)) for split in data.meta.splits)
                    weight = sum(item.bytes for item in cache.contents()) / 1e6
                print(f"| {name} | {size} | {pictures:,} | {took:.1f} s | | {weight:,.1f} MB |", flush=True)
                wall += took
        processor = worked() + time.process_time() - before  # of the workers, now that they ended
        print(f"| all | {size} | | {wall:.1f} s | {processor:.0f} s | |", flush=True)


if __name__ == "__main__":
    main()
