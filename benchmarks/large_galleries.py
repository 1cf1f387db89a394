"""CMC and mAP against the size of the gallery, with time and peak memory: `dp2bench.metrics.large_galleries.rank_features`.

    python benchmarks/large_galleries.py [--sizes 20000 100000 500000 1000000] [--figure docs/images/large-galleries.svg]

3,368 queries and 15,913 pictures of 750 people by six cameras, as many as Market-1501 has, and distractors for the rest. Features
are generated, not a network's: each person is a point of 512 dimensions with noise around it, so that the curve's shape is that of this
noise and says nothing of a method. The features lie in a memory-mapped file, and each size is ranked by a process of its own. *MB* is
the most memory at a time, pages of that file included, which the system takes back when it needs them; *own MB* is without them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

QUERIES, MATES, PEOPLE, CAMERAS, DIMENSIONS = 3_368, 15_913, 750, 6, 512
NOISE = 2.3
RANKS = (1, 5, 10)


def generate(folder: Path, largest: int) -> None:
    """Write features and labels of the largest gallery; smaller ones are its beginnings."""
    rng = np.random.default_rng(0)
    people = rng.standard_normal((PEOPLE + 1, DIMENSIONS), np.float32)
    cameras = rng.standard_normal((CAMERAS + 1, DIMENSIONS), np.float32)
    ids = {"query": rng.integers(1, PEOPLE + 1, QUERIES), "gallery": np.zeros(largest, np.int64)}
    ids["gallery"][:MATES] = rng.integers(1, PEOPLE + 1, MATES)
    for part, who in ids.items():
        where = rng.integers(1, CAMERAS + 1, len(who))
        np.save(folder / f"{part}-labels.npy", np.stack((who, where)))
        features = np.lib.format.open_memmap(folder / f"{part}.npy", "w+", np.float32, (len(who), DIMENSIONS))
        for start in range(0, len(who), 20_000):
            rows = slice(start, start + 20_000)
            noise = rng.standard_normal(features[rows].shape, np.float32)
            own = people[who[rows]] * (who[rows] > 0)[:, None]
            other = rng.standard_normal(features[rows].shape, np.float32) * (who[rows] == 0)[:, None]
            features[rows] = own + other + 0.3 * cameras[where[rows]] + NOISE * noise


def measure(folder: Path, size: int) -> dict[str, float]:
    """Rank in this process; seconds, MB at most, and scores."""
    from dp2bench.metrics.large_galleries import rank_features

    query, gallery = (np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("query", "gallery"))
    q_ids, q_cams = np.load(folder / "query-labels.npy")
    g_ids, g_cams = np.load(folder / "gallery-labels.npy")[:, :size]
    small = rank_features(query[:50], gallery[:MATES], q_ids[:50], g_ids[:MATES], q_cams[:50], g_cams[:MATES])
    assert small.valid.any()  # compiled now
    done = threading.Event()
    own: list[float] = []
    watching = threading.Thread(
        target=lambda: [own.append(_status("RssAnon")) for _ in iter(lambda: done.wait(0.05), True)]
    )
    watching.start()
    begin, used = time.perf_counter(), time.process_time()
    scores = rank_features(np.asarray(query), gallery[:size], q_ids, g_ids, q_cams, g_cams)
    seconds, processor = time.perf_counter() - begin, time.process_time() - used
    done.set()
    watching.join()
    return {
        "size": size,
        "seconds": seconds,
        "processor": processor,
        "memory": _status("VmHWM"),
        "own": max(own),
        "mAP": 100 * scores.mean_average_precision,
        **{f"rank-{k}": 100 * float(scores.cmc[k - 1]) for k in RANKS},
    }


def _status(field: str) -> float:
    """MB that Linux says of this process: ``VmHWM`` at most until now, ``RssAnon`` without the pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Scores against the gallery's size."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dp2bench", "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        panel = figure.subplots()
        for name, marker, colour in zip(
            ("rank-10", "rank-5", "rank-1", "mAP"),
            "^sDo",
            ("#56B4E9", "#009E73", "#D55E00", "#0072B2"),
            strict=True,
        ):
            panel.plot(
                [r["size"] for r in rows], [r[name] for r in rows], marker=marker, color=colour, label=name
            )
        panel.set(
            xscale="log",
            ylim=(0, 100),
            xlabel="pictures in the gallery",
            ylabel="percent; higher is less private",
        )
        panel.set_xticks([r["size"] for r in rows], [f"{int(r['size']):,}" for r in rows])
        panel.minorticks_off()
        panel.grid(color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000, 500_000, 1_000_000])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="of the features; a temporary one by default")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.folder, given.one)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        generate(folder, max(given.sizes))
        print(f"{QUERIES:,} queries, {DIMENSIONS} dimensions, {os.cpu_count()} processors")
        print(f"{'gallery':>10}{'wall s':>9}{'processor s':>13}{'MB':>7}{'own MB':>8}{'mAP':>7}", end="")
        print("".join(f"{f'rank-{k}':>9}" for k in RANKS))
        for size in sorted(given.sizes):
            command = [sys.executable, __file__, "--one", str(size), "--folder", str(folder)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            rows.append(row)
            print(
                f"{size:10,}{row['seconds']:9.1f}{row['processor']:13.1f}{row['memory']:7.0f}{row['own']:8.0f}"
                f"{row['mAP']:7.2f}" + "".join(f"{row[f'rank-{k}']:9.2f}" for k in RANKS),
                flush=True,
            )
    if given.figure:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()
