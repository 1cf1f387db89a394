"""The command line: one file a command; heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable

import typer

from dp2bench.cli import (
    anonymize,
    check,
    compare,
    data,
    detect,
    doctor,
    edits,
    evaluate,
    history,
    list_,
    report,
    run,
    train,
    verify_mark,
    weights,
)
from dp2bench.core.errors import Dp2benchError, disk_error
from dp2bench.core.memory import keep_freed_memory

RENAMED_FLAGS = {"anonymised": "anonymized", "bridge": "max-gap"}
"""Flags of earlier versions, which still work and are not shown."""


def _current_flag(name: str) -> str:
    return RENAMED_FLAGS.get(name, name)


app = typer.Typer(
    name="dp2bench",
    help="How much identity is left in anonymized pictures of people, and how much use is lost.\n\nStart with: dp2bench run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _current_flag},
)


def _command(name: str, function: Callable[..., None]) -> None:
    """Register a command that ends on Ctrl-C with a word on how to go on."""

    @functools.wraps(function)
    def interruptible(*args: object, **kwargs: object) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            sys.stderr.write("\nStopped. What is finished is kept: the same command goes on from here.\n")
            raise typer.Exit(130) from None

    app.command(name)(interruptible)


_command("run", run.run)
_command("anonymize", anonymize.anonymize)
_command("detect", detect.detect)
_command("evaluate", evaluate.evaluate)
_command("check", check.check)
_command("report", report.report)
_command("compare", compare.compare)
_command("accept", compare.accept)
app.add_typer(history.app, name="history")
app.add_typer(weights.app, name="weights")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(edits.app, name="edits")
_command("list", list_.list_)
_command("verify-mark", verify_mark.verify_mark)
_command("doctor", doctor.doctor)


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
    """Entry point, see `_main`; a Ctrl-C that falls between its lines is one too."""
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(130)


def _main() -> None:
    """Carry out a command. Exit codes: 0 done, 1 a result is missing or a comparison failed, 2 the input cannot be used, 130 stopped by Ctrl-C."""
    keep_freed_memory()
    try:
        app(standalone_mode=True)
    except (Dp2benchError, OSError) as raised:
        error = raised if isinstance(raised, Dp2benchError) else disk_error(raised, doing="used")
        if error is None:
            raise
        from rich.console import Console

        from dp2bench.cli.terminal import tell

        console = Console(stderr=True)
        tell(console, error.problem, label="Error:", style="bold red")
        if error.remedy:
            tell(console, error.remedy, label="What to do:", style="bold")
        sys.exit(2)
    finally:
        # What was asked for is done or has failed: a Ctrl-C that arrives while Python shuts down must not
        # turn the exit code into "killed" (an ignored signal stays ignored during shutdown, a handler does not).
        signal.signal(signal.SIGINT, signal.SIG_IGN)
