"""The report as one HTML page that needs no network: tables that sort, charts, pictures before and after, and where it all comes from."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dp2bench.core.results import Result, canonical_json
from dp2bench.reports import cache, charts, pictures, published_comparison, tables
from dp2bench.reports.chart import Chart
from dp2bench.reports.first_screen import HEIGHT, first_screen
from dp2bench.reports.groups import Group, anchors, groups, known_people
from dp2bench.reports.load import Report, Run
from dp2bench.reports.sheets import sheets
from dp2bench.reports.texts import failure_text
from dp2bench.reports.trade_off import trade_off


@dataclass(frozen=True)
class Cell:
    """A table's cell: what it says, what it sorts by (a number or its text), and how many columns it fills."""

    text: str
    sort: float | str
    span: int = 1
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts. ``spans`` is a row of (title, columns) above the header; the first column names the row."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    spans: Sequence[tuple[str, int]] = ()


def _plain(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Table:
    """A table of text; what begins with a number sorts by it."""
    return Table(caption, header, [[Cell(text, _sort_key(text)) for text in row] for row in rows])


def _sort_key(text: str) -> float | str:
    try:
        return float(text.split(maxsplit=1)[0].rstrip("%"))
    except (ValueError, IndexError):
        return text


def _scores(group: Group, names: Sequence[str], caption: str) -> Table:
    header, rows = tables.grid(group, names)
    # the people stand first: a score says little without them, and the end of a wide table is out of sight
    header.insert(1, header.pop())
    cells = []
    for row in rows:
        if len(row) == len(header):
            row.insert(1, row.pop())
        line = [Cell(text, _sort_key(text)) for text in row]
        if len(row) < len(header):
            line[1] = Cell(row[1], "", span=len(header) - 1)
        cells.append(line)
    return Table(caption, header, cells)


def _coverage(report: Report) -> list[Table]:
    """What became of the people, a table for each dataset and detector."""
    found: dict[tuple[str, str], dict[str, Result]] = {}
    for group in groups(report.results, report.names):
        for label, result in zip(group.labels, group.results, strict=True):
            if result.coverage is not None:
                found.setdefault((group.dataset, result.spec.detector), {}).setdefault(label, result)
    header = [
        "method", "pictures", "people known", "anonymized", "share", "left as they are", "never found", "failed open",
        "unreadable files", "why",
    ]  # fmt: skip
    sections = []
    for (dataset, detector), results in found.items():
        rows = []
        for label, result in results.items():
            c = result.coverage
            if c is None:
                continue
            share = "–" if c.share is None else f"{int(1000 * c.share) / 10:.1f} %"
            reasons = "; ".join(f"{k}: {v}" for k, v in sorted(c.missed_reasons.items()))
            texts = [
                label, c.pictures, known_people(c), c.anonymized, share, c.missed,
                "unknown" if c.undetected is None else c.undetected, c.failed_open, c.unreadable, reasons or "–",
            ]  # fmt: skip
            rows.append([str(text) for text in texts])
        sections.append(_plain(header, rows, f"{dataset}, people found by {detector}"))
    return sections


def _facts(report: Report) -> list[tuple[str, str]]:
    """What the results have in common, and where they differ."""
    sources = [r.provenance for r in report.results if r.provenance is not None]

    def distinct(values: Sequence[object]) -> str:
        return ", ".join(dict.fromkeys("unknown" if v is None else str(v) for v in values))

    dirty = {None: "", False: "", True: " with changes that are not committed"}
    facts = [
        ("dp2bench", distinct([p.dp2bench for p in sources])),
        ("Git commit", distinct([f"{p.git_commit or 'unknown'}{dirty[p.git_dirty]}" for p in sources])),
        ("Python", distinct([p.python for p in sources])),
        ("Platform", distinct([p.platform for p in sources])),
        ("Device", distinct([f"{p.device}, {p.threads} threads" for p in sources])),
        ("Seeds", distinct([" ".join(map(str, r.spec.seeds)) for r in report.results])),
    ]
    packages = dict.fromkeys(name for p in sources for name in p.packages)
    facts += [(name, distinct([p.packages.get(name) for p in sources])) for name in packages]
    return [(name, text) for name, text in facts if text]


def _details(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Everything that one result says of itself, by result."""
    found = []
    for result, name in zip(report.results, report.names, strict=True):
        spec, p = result.spec, result.provenance
        title = f"{spec.method} on {spec.dataset}, {spec.task}"
        if len(report.runs) > 1:
            title += f" ({name})"
        lines = [
            ("Result", result.run_id),
            ("Method", canonical_json(dict(spec.method_arguments))),
            ("Detector", spec.detector),
        ]
        if p is not None:
            lines += [
                ("Dataset", f"{spec.dataset}, version {p.dataset_version}, contents {p.dataset_fingerprint}"),
                ("Task", canonical_json(dict(p.task))),
                ("Settings as passed", canonical_json(dict(p.arguments_passed))),
                ("Settings in effect", canonical_json(dict(p.arguments_effective))),
                ("Method says of itself", canonical_json(dict(p.method))),
                ("Weights", "; ".join(f"{k}: sha256 {v}" for k, v in sorted(p.weights.items())) or "none"),
            ]
        if result.error is not None:
            lines.append(("Error", f"{result.error.step}: {result.error.kind}: {result.error.message}"))
        found.append((title, lines))
    return found


def _again(run: Run) -> dict[str, str]:
    """Commands that make a run once more, and its suite."""
    sources = [r.provenance for r in run.results if r.provenance is not None]
    commits = {p.git_commit for p in sources if p.git_commit}
    lines = [f"git checkout {commit}" for commit in sorted(commits)[:1]]
    lines += ["pip install -e ."]
    if run.command:
        p = sources[0] if sources else None
        # results of torch depend on the number of threads, and what was picked by default is not in the command
        lines.append(run.command + (f" --threads {p.threads} --device {p.device}" if p is not None else ""))
    suite = yaml.safe_dump(dict(run.specification), sort_keys=False, allow_unicode=True)
    return {"commands": "\n".join(lines), "suite": suite if run.specification else "", "name": run.name}


def _scenarios(group: Group) -> list[tuple[str, str]]:
    """What the scenarios of a group mean, as its task says."""
    declared = {name: s.description for r in group.results for name, s in r.scenarios.items()}
    order = dict.fromkeys(score.scenario for r in group.results for score in r.scores)
    return [(name, declared[name]) for name in order if declared.get(name)]


def _warnings(report: Report, gathered: Sequence[Group]) -> list[str]:
    found = []
    for group in gathered:
        for label, result in zip(group.labels, group.results, strict=True):
            if result.status != "ok":
                found.append(f"{label}, {group.task} on {group.dataset}: {failure_text(result, 400)}")
        if len({r.provenance.dataset_fingerprint for r in group.results if r.provenance is not None}) > 1:
            found.append(
                f"{group.dataset}, {group.task}: the rows were computed on different pictures and do not compare."
            )
    if any(r.provenance is not None and r.provenance.git_dirty for r in report.results):
        found.append("Some results were computed by code that was not committed: nobody can get it back.")
    return found


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script (BSD-3-Clause); to bundle it takes seconds."""
    version = metadata.version("vl-convert-python")
    bundle = (cache.remembered(f"vega-{version}", _bundled)["vega.js"] or b"").decode()
    return f"/*!\n{_read('vega-licence.txt')}*/\n" + bundle.replace("</script", "<\\/script")


def _bundled() -> dict[str, bytes]:
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return {"vega.js": script.encode()}


def _read(name: str) -> str:
    return (resources.files("dp2bench.reports") / "templates" / name).read_text("utf-8")


def render(report: Report) -> str:
    """The page as HTML. Equal results give equal text."""
    environment = Environment(
        loader=PackageLoader("dp2bench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    gathered = groups(report.results, report.names)
    sections = []
    for group, anchor in zip(gathered, anchors(gathered), strict=True):
        evidence = [report.evidence[i] for i in group.indices]
        task = next((r.provenance.task for r in group.results if r.provenance is not None), {})
        first = group.main_score.name if group.main_score is not None else None
        # the main score in front, the control on clear pictures at the end
        names = sorted(group.main_names, key=lambda n: (n != first, group.clear_only(n)))
        main = _scores(group, names, f"{group.dataset}: {group.name}, main scores")
        every = _scores(group, group.score_names, f"{group.dataset}: {group.name}, all scores")
        sections.append(
            {
                "title": f"{group.name} on {group.dataset}",
                "kind": group.kind,
                "anchor": anchor,
                "reference": task.get("reference", ""),
                "main": main,
                "every": every if set(group.main_names) != set(group.score_names) else None,
                "notes": tables.footer(group, report.command),
                "charts": charts.of_group(report, group, anchor),
                "sheets": sheets(group, evidence, pictures.BUDGET // max(1, len(gathered))),
                "scenarios": _scenarios(group),
            }
        )
    sides = [
        section
        for run, name in zip(report.runs, report.run_names, strict=True)
        for section in pictures.side_by_side(run, name, budget=pictures.BUDGET // len(report.runs))
    ]
    numbers, absent = published_comparison.published(report.results, report.expected)
    against = trade_off(report)
    drawn: list[Chart] = [c for s in sections for c in s["charts"]]
    return environment.get_template("page.html.j2").render(
        report=report,
        title=report.title,
        description=report.description,
        counts=_counts(report),
        warnings=_warnings(report, gathered),
        first=first_screen(report),
        height=HEIGHT,
        trade_off=against,
        sections=sections,
        sides=sides,
        coverage=_coverage(report),
        published=_plain(
            published_comparison.HEADER,
            published_comparison.rows(numbers),
            "Published numbers, ours beside them",
        ),
        measured=sum(bool(number.ours) for number in numbers),
        absent=absent,
        facts=_facts(report),
        details=_details(report),
        again=[_again(run) for run in report.runs],
        specs={c.name: {**c.spec, "description": c.alt} for c in [*([against] if against else []), *drawn]},
        css=Markup(_read("page.css")),  # noqa: S704 - our own file
        script=Markup(_read("page.js")),  # noqa: S704 - our own file
        vega=Markup(_vega()),  # noqa: S704 - the library's bundle
    )


def _counts(report: Report) -> str:
    def count(values: Sequence[object], one: str) -> str:
        n = len(set(values))
        return f"{n} {one}" if n == 1 else f"{n} {one}s"

    specs = [r.spec for r in report.results]
    return " · ".join(
        [
            count([s.method for s in specs], "method"),
            count([s.dataset for s in specs], "dataset"),
            count([s.task for s in specs], "task"),
            count([seed for s in specs for seed in s.seeds], "seed"),
            *([count([run.folder for run in report.runs], "run")] if len(report.runs) > 1 else []),
        ]
    )
