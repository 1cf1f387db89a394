"""dp2bench check."""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD", help="A method (`dp2bench list methods`) or package.module:Class."),
    ],
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", "-a", help="A setting of the method, key=value; may be repeated."),
    ] = None,
) -> None:
    """Check that a method, ours or yours, holds what every method must hold.

    Among others: pixels outside the declared region stay untouched; the seed alone decides; order and company change nothing;
    nobody is left silently; and, for a method that claims not to see what it replaces, that no pixel under a hole reaches its
    output. Exit code 1 if a check fails.

    Example: dp2bench check mypackage.methods:MyAnonymizer
    """
    from rich.console import Console
    from rich.markup import escape

    from dp2bench.cli.arguments import key_values
    from dp2bench.core import conformance, registry, templates

    console = Console()
    arguments = key_values("--argument", argument)
    made = registry.create("methods", method, arguments)  # a wrong name or argument is no failed check
    body = templates.get("passersby-13380")
    examples = conformance.Examples(body.name, len(body))
    told = made.meta
    claim = "may see what it replaces" if told.uses_masked_pixels else "does not see what it replaces"
    seeded = "the seed changes nothing" if told.deterministic else "the seed decides"
    console.print(
        f"{escape(told.name)}: scope {told.scope}; says that it {claim}; {seeded}.", highlight=False
    )
    failed = []
    colours = {"pass": "green", "fail": "bold red", "skip": "yellow"}
    width = max(map(len, conformance.CHECKS))
    for outcome in conformance.run(lambda: registry.create("methods", method, arguments), examples):
        text = f"[{colours[outcome.status]}]{outcome.status}[/]  {outcome.check:{width}}"
        if outcome.status == "pass":
            text += f"  [dim]{_first_line(conformance.CHECKS[outcome.check])}[/]"
        console.print(text, highlight=False, no_wrap=True, overflow="ellipsis")
        if outcome.detail:
            console.print(f"      {escape(outcome.detail)}", highlight=False)
        if outcome.status == "fail":
            failed.append(outcome.check)
    if failed:
        console.print(f"\n[bold red]{escape(method)} fails:[/] {', '.join(failed)}", highlight=False)
        raise typer.Exit(1)
    console.print(f"\n{escape(method)} passes.", highlight=False)


def _first_line(check: object) -> str:
    from rich.markup import escape

    return escape((check.__doc__ or "").strip().splitlines()[0].rstrip("."))
