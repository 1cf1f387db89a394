"""Time and memory of `dp2bench.metrics.ranking.rank` beside torchreid's Python evaluation.

Run: python benchmarks/ranking.py --size market
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dp2bench.metrics.ranking import rank

SIZES = {"small": (336, 1_591, 75), "market": (3_368, 15_913, 750)}


def seconds(call: Callable[[], object], runs: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def peak_mib() -> float:
    """Largest resident memory of this process so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--torchreid-runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    queries, gallery, people = SIZES[arguments.size]
    random = np.random.default_rng(0)
    q_ids, q_cams = random.integers(1, people + 1, queries), random.integers(1, 7, queries)
    g_ids, g_cams = random.integers(0, people + 1, gallery), random.integers(1, 7, gallery)
    distances = random.random((queries, gallery), np.float32)
    for q in range(queries):
        distances[q] -= np.float32(0.4) * (g_ids == q_ids[q])
    data = (distances, q_ids, g_ids, q_cams, g_cams)
    ours = rank(*data)
    our_seconds = seconds(lambda: rank(*data, threads=arguments.threads), arguments.runs)
    our_peak = peak_mib()
    warnings.simplefilter("ignore")
    from torchreid.reid.metrics.rank import evaluate_rank

    before = peak_mib()
    theirs = []
    their_seconds = seconds(
        lambda: theirs.append(evaluate_rank(*data, use_cython=False)), arguments.torchreid_runs
    )
    their_cmc, their_map = theirs[0]
    print(
        f"machine     {processor()}, {os.cpu_count()} processors, {platform.system()}, numpy {np.__version__}"
    )
    print(f"size        {queries} queries x {gallery} gallery, float32 ({distances.nbytes / 2**20:.0f} MiB)")
    print(f"ours        {our_seconds:.3f} s (median of {arguments.runs}, {arguments.threads} threads)")
    print(f"torchreid   {their_seconds:.3f} s (median of {arguments.torchreid_runs})")
    print(f"ratio       {their_seconds / our_seconds:.0f}")
    print(f"peak        ours {our_peak:.0f} MiB, torchreid {peak_mib():.0f} MiB ({before:.0f} before it ran)")
    print(f"difference  mAP {abs(ours.mean_average_precision - their_map):.1e}, ", end="")
    print(f"CMC {np.abs(ours.cmc - their_cmc).max():.1e}")


if __name__ == "__main__":
    main()
