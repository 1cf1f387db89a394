"""Who lives in Passersby: how the attributes of its people are spread.

Run: python benchmarks/passersby_statistics.py docs/images/passersby-statistics.svg
"""

from __future__ import annotations

import sys
from collections import Counter

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dp2bench.datasets.passersby.rendering.body import kit
from dp2bench.datasets.passersby.rendering.identities import SKINS, make_identity

PEOPLE = 2000
CATEGORIES = {
    "hair_style": "hair or hat",
    "beard": "beard",
    "top": "upper garment",
    "pattern": "its pattern",
    "bottom": "lower garment",
    "bottom_pattern": "its pattern (lower)",
    "bag": "bag",
}


def main(out: str) -> None:
    """Draw the figure and print the counts."""
    people = [make_identity("reid-train", i).attributes() for i in range(PEOPLE)]
    plt.rcParams.update(
        {"font.size": 8, "svg.hashsalt": "dp2bench", "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, axes = plt.subplots(3, 4, figsize=(10, 6.6), layout="constrained")
    rest = iter(axes.flat)
    for name, title in CATEGORIES.items():
        axis, counts = next(rest), Counter(p[name] for p in people).most_common()
        axis.barh([k for k, _ in counts][::-1], [100 * n / PEOPLE for _, n in counts][::-1], color="#4477aa")
        axis.set(title=title, xlabel="% of people")
        print(f"{title}: " + ", ".join(f"{k} {100 * n / PEOPLE:.0f} %" for k, n in counts))
    tones = np.array(SKINS) / 255
    nearest = [int(np.argmin(((tones - np.array(p["skin"])) ** 2).sum(1))) for p in people]
    axis = next(rest)
    axis.bar(
        range(len(tones)),
        100 * np.bincount(nearest, minlength=len(tones)) / PEOPLE,
        color=tones,
        edgecolor="#555555",
    )
    axis.set(title="skin, nearest tone", ylabel="% of people", xticks=[])
    for name in kit().phenotype_names[:4]:
        axis = next(rest)
        axis.hist([p[f"body_{name}"] for p in people], bins=20, color="#66ccee", edgecolor="white")
        axis.set(title=f"body: {name}", xlabel="0 to 1, as the body model counts")
    for axis in rest:
        axis.remove()
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
