"""The rooms of the house, who may use whom, and the drawing of it in docs/architecture.md.

Run: python docs/architecture.py   (draws docs/images/architecture.svg from the imports; tests hold both)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import dp2bench
from dp2bench.engine.imports import Import, imports_of

ROOMS = {
    "core": "types, contracts, registry, seeds, results",
    "networks": "backbones, fitting, checkpoints",
    "weights": "catalogue, fetching, safe reading, embedded files",
    "inpainting": "crops, stitching, the anonymizer around inpainters",
    "metrics": "pure functions of arrays",
    "datasets": "readers and writers of formats; rendered people",
    "detection": "detectors, ensembles, tracking, annotation files",
    "deepprivacy2": "the paper: methods, generators, training",
    "attacks": "who tries to re-identify",
    "downstream": "trainers of what uses anonymized pictures",
    "pipelines": "pictures and video from file to file",
    "engine": "suite, plan, steps, cache, history",
    "tasks": "one file a benchmark task",
    "baselines": "one file an anonymizer",
    "reports": "tables, figures, page, gate",
    "suites": "what is measured",
    "rehearsal": "the paper's suites on tiny data and random weights",
    "demo": "a page of this machine to try methods on",
    "api": "the Python interface",
    "cli": "one file a command",
}
ARROWS = {
    "core": set(),
    "networks": {"core", "weights"},
    "weights": {"core"},
    "inpainting": {"core"},
    "metrics": {"core", "networks", "weights"},
    "datasets": {"core", "inpainting"},
    "detection": {"core", "networks", "weights", "inpainting", "metrics", "datasets"},
    "deepprivacy2": {"core", "networks", "weights", "inpainting", "metrics", "datasets", "detection"},
    "attacks": {"core", "networks", "weights", "metrics", "datasets", "detection", "inpainting"},
    "downstream": {"core", "networks", "weights", "metrics", "datasets"},
    "pipelines": {"core", "datasets", "detection", "inpainting", "metrics"},
    "engine": {"core", "metrics", "pipelines", "weights"},
    "baselines": {"core", "inpainting"},
    "reports": {"core"},
    "suites": set(),
    "rehearsal": {"core", "weights", "datasets", "detection", "deepprivacy2", "attacks", "engine"},
}
"""What each room may import, wherever the import stands."""
ARROWS["tasks"] = {*ARROWS} - {"engine", "baselines", "reports", "suites", "rehearsal"}
ARROWS["demo"] = {"core", "datasets", "detection", "deepprivacy2", "pipelines"}
ARROWS["api"] = {*ARROWS, "cli"} - {"api"}
ARROWS["cli"] = {*ARROWS}
LEVELS = (
    ("core",),
    ("networks", "weights", "inpainting", "metrics"),
    ("datasets", "detection"),
    ("deepprivacy2", "attacks", "downstream", "pipelines"),
    ("baselines", "tasks", "engine", "suites", "reports"),
    ("rehearsal", "demo"),
    ("api", "cli"),
)
"""Rooms of one storey of the drawing, the lowest first."""


STYLE = (
    "<style>rect{fill:#eef3fa;stroke:#33507a}text{fill:#1c2b41;text-anchor:middle}"
    "path{stroke:#8aa0bf;fill:none}.n{font-weight:bold;font-size:15px}.t{font-size:11px}</style>"
)
MARKER = (
    '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" style="fill:#8aa0bf"/></marker></defs>'
)


def modules() -> list[str]:
    """Every module of the package, the mapped ones included."""
    found = [m.name for m in walk_packages(dp2bench.__path__, "dp2bench.")]
    for name in (
        "tasks",
        "baselines",
        "reports",
        "suites",
    ):  # in a development install these folders lie elsewhere
        package = import_module(f"dp2bench.{name}")
        found += [
            package.__name__,
            *(m.name for m in walk_packages(package.__path__, f"{package.__name__}.")),
        ]
    return sorted({m for m in found if not m.endswith("__main__") and "migrations" not in m})


def room(module: str) -> str:
    """The room of a module: its folder, or itself where it stands alone; '' for the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "dp2bench" else ""


def imports_across() -> list[tuple[str, Import]]:
    """Each import of a module in another room, with the importing module."""
    return [
        (module, i)
        for module in modules()
        for i in imports_of(module)
        if i.module.startswith("dp2bench.")
        and room(i.module) not in {room(module), ""}
        and room(i.module) in ROOMS
    ]


def draw() -> str:
    """The drawing as SVG: storeys, rooms, and an arrow from each room to those it imports and no other of its imports does."""
    uses: dict[str, set[str]] = {name: set() for name in ROOMS}
    for module, i in imports_across():
        uses[room(module)].add(room(i.module))
    width, box, high, gap = 1080, (190, 62), 118, 20
    place: dict[str, tuple[float, float]] = {}
    for level, names in enumerate(reversed(LEVELS)):
        left = (width - len(names) * box[0] - (len(names) - 1) * gap) / 2
        for i, name in enumerate(names):
            place[name] = (left + i * (box[0] + gap), 16 + level * high)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {16 + len(LEVELS) * high}" font-family="sans-serif">',
        STYLE,
        MARKER,
    ]
    for name, used in uses.items():
        direct = {u for u in used if not any(u in uses[other] for other in used - {u})}
        for other in sorted(direct):
            (x, y), (to_x, to_y) = place[name], place[other]
            start, end = (x + box[0] / 2, y + box[1]), (to_x + box[0] / 2, to_y)
            if y == to_y:  # neighbours
                start = (x + (box[0] if to_x > x else 0), y + box[1] / 2)
                end = (to_x + (0 if to_x > x else box[0]), to_y + box[1] / 2)
            lines.append(
                f'<path d="M{start[0]:.0f} {start[1]:.0f} L{end[0]:.0f} {end[1]:.0f}" marker-end="url(#a)"/>'
            )
    for name, (x, y) in place.items():
        words = _wrapped(ROOMS[name])
        lines.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{box[0]}" height="{box[1]}" rx="6"/>')
        lines.append(f'<text class="n" x="{x + box[0] / 2:.0f}" y="{y + 20:.0f}">{name}</text>')
        lines += [
            f'<text class="t" x="{x + box[0] / 2:.0f}" y="{y + 37 + 14 * i:.0f}">{line}</text>'
            for i, line in enumerate(words)
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _wrapped(text: str, most: int = 32) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


DRAWING = Path(__file__).parent / "images" / "architecture.svg"

if __name__ == "__main__":
    DRAWING.write_text(draw(), "utf-8")
