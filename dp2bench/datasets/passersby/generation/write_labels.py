"""Make every dataset in its small sizes and write the hashes of their labels, which come with the package, anew.

Run after a new version of a dataset: ``python -m dp2bench.datasets.passersby.generation.write_labels``
"""

from __future__ import annotations

import json

from dp2bench.datasets.passersby.generation import cache, labels
from dp2bench.datasets.passersby.generation.workers import shared_workers


def write() -> None:
    """Write the file of `labels.shipped_hashes`, making what is not in the cache."""
    hashes = {}
    with shared_workers():
        for name in cache.generated_names():
            for size in labels.SIZES:
                generated = cache.create(name, size).generated
                generated.prepare()
                hashes[generated.root.name] = labels.kind_hashes(generated.root)
    labels.shipped_hashes_file().write_text(json.dumps(hashes, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    write()
