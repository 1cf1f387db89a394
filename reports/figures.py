"""Pictures of a run: identity left against method, and the same people under every method."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from dp2bench.reports import charts
from dp2bench.reports.chart import COLOURS, MARKERS, Chart, shorten
from dp2bench.reports.groups import Group, groups, printable
from dp2bench.reports.load import Report, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """One look for every figure; a user's matplotlibrc must not change the bytes."""
    import matplotlib as mpl

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "pdf.fonttype": 42,
        "savefig.bbox": "standard",
        "svg.hashsalt": "dp2bench",
        "svg.fonttype": "none",
    }
    defaults: Any = {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith("backend")}
    with mpl.rc_context(defaults | style):
        yield


_METADATA: Mapping[str, Mapping[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def _saved(figure: Any, kinds: Sequence[str]) -> dict[str, bytes]:
    out = {}
    for kind in kinds:
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata=dict(_METADATA[kind]))
        out[kind] = stream.getvalue()
    return out


def vector(chart: Chart) -> Mapping[str, bytes]:
    """``pdf`` and ``svg`` of a chart, for print; empty where it has no drawing for print. Equal results give equal bytes."""
    with _style():
        figure = _drawn(chart)
        return {} if figure is None else _saved(figure, ("pdf", "svg"))


def _drawn(chart: Chart) -> Figure | None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if chart.draw is None:
        return None
    figure = Figure(figsize=chart.size, layout="constrained")
    FigureCanvasAgg(figure)
    chart.draw(figure)
    return figure


def matplotlib_figures(report: Report) -> dict[str, Figure]:
    """Every figure that the report has for print, by name, to be looked at or changed."""
    with _style():
        drawn = {"identity-left": _identity_left(report)}
        drawn |= {chart.name: _drawn(chart) for chart in charts.of_report(report)}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def png(figure: Figure) -> bytes:
    """A figure as the report saves it."""
    with _style():
        return _saved(figure, ("png",))["png"]


def identity_left(report: Report) -> Mapping[str, bytes]:
    """``png``, ``pdf`` and ``svg``: main scenarios' scores with 95 % intervals and chance, a row for each method.

    Empty where no dataset and task has a privacy score in fractions. Equal results give equal bytes.
    """
    with _style():
        figure = _identity_left(report)
        return {} if figure is None else _saved(figure, ("png", "pdf", "svg"))


def _identity_left(report: Report) -> Figure | None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [
        (group, names)
        for group in groups(report.results, report.names)
        if group.kind == "privacy" and (names := _fraction_names(group))
    ]
    if not drawn:
        return None
    heights = [max(1.0, 0.42 * len(group.results) + 0.15 * len(names)) for group, names in drawn]
    figure = Figure(figsize=(7.2, sum(heights) + 1.15 * len(drawn)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, (group, names) in zip(panels, drawn, strict=True):
        _dots(panel, group, names)
    return figure


def _fraction_names(group: Group) -> list[str]:
    # where higher is better the score measures usefulness, not identity left
    return [
        name
        for name in group.main_names
        if not group.clear_only(name)
        and (metric := group.metric(name)).unit == "fraction"
        and not metric.higher_is_better
    ]


def _dots(panel: Any, group: Group, names: list[str]) -> None:
    step = 0.56 / max(1, len(names) - 1) if len(names) > 1 else 0.0
    clear = next((n for n in group.main_names if group.clear_only(n)), None)
    if clear is not None:
        values = {s.value for r in group.results if r.status == "ok" and (s := r.find(clear)) is not None}
        for i, value in enumerate(sorted(values)):
            panel.axvline(
                100 * value,
                color="0.25",
                linestyle=":",
                linewidth=1,
                label=clear if i == 0 else None,
                zorder=1,
            )
    chances = [
        100 * score.chance
        for name in names
        for result in group.results
        if (score := result.find(name)) is not None and score.chance is not None
    ]
    if chances:
        # chance is estimated for each method and scenario anew; a visible difference is shown as a range
        low, high = min(chances), max(chances)
        if high - low > 0.5:
            panel.axvspan(low, high, color="0.8", linewidth=0, label="chance (range)", zorder=0)
        else:
            panel.axvline(
                (low + high) / 2, color="0.25", linestyle="--", linewidth=1, label="chance", zorder=1
            )
    labelled = set()
    for row, result in enumerate(group.results):
        if result.status != "ok":
            panel.text(4, row, result.status, va="center", ha="left", color="0.35", style="italic")
            continue
        hidden = False
        for i, name in enumerate(names):
            score = result.find(name)
            if score is None:
                continue
            if not printable(result, score):
                hidden = True
                continue
            y = row + (i - (len(names) - 1) / 2) * step
            value = 100 * score.value
            low, high = (100 * score.ci95[0], 100 * score.ci95[1]) if score.ci95 else (value, value)
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            panel.errorbar(
                [value],
                [y],
                xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
                fmt=marker,
                color=colour,
                markersize=5,
                capsize=2.5,
                linewidth=1.2,
                zorder=3,
                label=None if name in labelled else name,
            )
            labelled.add(name)
        if hidden:
            panel.text(4, row, "no coverage", va="center", ha="left", color="0.35", style="italic")
    panel.set_yticks(range(len(group.results)), [shorten(label) for label in group.labels])
    panel.set_ylim(len(group.results) - 0.5, -0.5)
    panel.set_xlim(-2, 102)
    metric = ", ".join(dict.fromkeys(group.first(name)[1].metric for name in names))
    panel.set_xlabel(f"identity left: {metric} in percent, 95 % interval (left is more private)")
    panel.set_title(f"{group.dataset}: {group.name}", loc="left", fontsize=9)
    panel.grid(axis="x", color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    if labelled or clear is not None:
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)


_CELL = (96, 192)
_LABEL_WIDTH = 150
_GAP = 6


def contact_sheet(run: Run, people: int = 8) -> bytes | None:
    """PNG with the same people in columns under every method in rows; None where the run kept no pictures.

    The clear pictures come first. Different identities are preferred where file names begin with one, as in
    Market-1501.
    """
    root = run.folder / "pictures"
    if not root.is_dir():
        return None
    # an earlier run into this folder may have left pictures of methods and datasets that this one lacks
    rows = [name for name in dict.fromkeys(["clear", *run.methods]) if (root / name).is_dir()]
    datasets = {result.spec.dataset for result in run.results}
    files = {
        name: {p.relative_to(root / name).as_posix() for p in (root / name).rglob("*") if p.is_file()}
        for name in rows
    }
    everything = sorted(key for key in set().union(*files.values()) if key.partition("/")[0] in datasets)
    keys = columns_of_people(_of_one_person(everything, files, root), files, people)
    if not keys:
        return None
    width = _LABEL_WIDTH + len(keys) * (_CELL[0] + _GAP)
    sheet = Image.new("RGB", (width, _GAP + len(rows) * (_CELL[1] + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for r, name in enumerate(rows):
        top = _GAP + r * (_CELL[1] + _GAP)
        draw.text((_GAP, top + _CELL[1] // 2), _wrap(name, font), fill="black", font=font, anchor="lm")
        for c, key in enumerate(keys):
            left = _LABEL_WIDTH + c * (_CELL[0] + _GAP)
            sheet.paste(_cell(root / name / key, font), (left, top))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _of_one_person(keys: list[str], files: Mapping[str, set[str]], root: Path) -> list[str]:
    """Pictures of datasets whose pictures are upright, as crops of one person are; all, where none is: streets show little of anybody."""
    upright: dict[str, bool] = {}
    for key in keys:
        dataset = key.partition("/")[0]
        if dataset not in upright:
            where = next(root / name / key for name, have in files.items() if key in have)
            try:
                with Image.open(where) as picture:
                    upright[dataset] = picture.height > picture.width
            except OSError:  # not a picture: its cell says so
                upright[dataset] = False
    return [key for key in keys if upright[key.partition("/")[0]]] or keys


def columns_of_people(keys: list[str], files: Mapping[str, set[str]], people: int) -> list[str]:
    """Which pictures to show: those that most methods have first, and of each person one before any person's second."""
    keys = sorted(keys, key=lambda key: (-sum(key in have for have in files.values()), key))
    identities: set[str] = set()
    fresh: list[str] = []
    again: list[str] = []
    for key in keys:
        folder, _, file = key.rpartition("/")
        identity = f"{folder.split('/')[0]}/{file.split('_')[0]}"
        (again if identity in identities else fresh).append(key)
        identities.add(identity)
    return sorted((fresh + again)[:people])


def _wrap(text: str, font: Any) -> str:
    lines = [""]
    for char in text:
        if font.getlength(lines[-1] + char) > _LABEL_WIDTH - 2 * _GAP:
            lines.append("")
        lines[-1] += char
    return "\n".join(lines)


def _cell(path: Path, font: Any) -> Image.Image:
    cell = Image.new("RGB", _CELL, "#DDDDDD")
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", _CELL)
            shown = picture.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        text = "unreadable" if path.is_file() else "missing"
        ImageDraw.Draw(cell).text((_CELL[0] // 2, _CELL[1] // 2), text, fill="black", font=font, anchor="mm")
        return cell
    scale = min(_CELL[0] / shown.width, _CELL[1] / shown.height)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    cell.paste(
        shown.resize(size, Image.Resampling.BICUBIC), ((_CELL[0] - size[0]) // 2, (_CELL[1] - size[1]) // 2)
    )
    return cell
