"""The command line: one file a command; heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import sys

import typer

from dp2bench.cli import anonymize, compare, doctor, evaluate, list_, report, run
from dp2bench.core.errors import Dp2benchError

app = typer.Typer(
    name="dp2bench",
    help="How much identity is left in anonymised pictures of people, and how much use is lost.\n\nStart with: dp2bench run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("anonymize")(anonymize.anonymize)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("accept")(compare.accept)
app.command("list")(list_.list_)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from dp2bench import __version__

        typer.echo(f"dp2bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    del version


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a result is missing or a comparison failed, 2 the input cannot be used, 130 stopped by Ctrl-C."""
    try:
        app(standalone_mode=True)
    except Dp2benchError as error:
        from rich.console import Console
        from rich.markup import escape

        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {escape(error.problem)}", highlight=False)
        if error.remedy:
            console.print(f"[bold]What to do:[/] {escape(error.remedy)}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Finished steps are kept: the same command goes on from here.\n")
        sys.exit(130)
