"""The command line: one file a command; heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import functools
import importlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from dp2bench.core.errors import Dp2benchError, disk_error
from dp2bench.core.memory import keep_freed_memory

RENAMED_FLAGS = {"anonymised": "anonymized", "bridge": "max-gap"}
"""Flags of earlier versions, which still work and are not shown."""
COMMANDS = {
    "run": ("run:run", "Run a suite: anonymize, attack, score, and print the overview."),
    "plan": ("plan:plan", "Say what a suite needs and costs, before anything runs."),
    "rehearse": (
        "rehearse:rehearse",
        "Run a whole suite on tiny data and random weights, before anybody has the real ones.",
    ),
    "anonymize": (
        "anonymize:anonymize",
        "Anonymize a picture, a video, a folder, a dataset, or what a camera sees.",
    ),
    "detect": (
        "detect:detect",
        "Find the people and write them down, to be looked at, edited, and used by `dp2bench anonymize --detections`.",
    ),
    "evaluate": ("evaluate:evaluate", "Score a folder that any other tool anonymized."),
    "check": ("check:check", "Check that a method, ours or yours, holds what every method must hold."),
    "report": ("report:report", "Write the report of one run, or of several side by side."),
    "compare": ("compare:compare", "Compare two runs: noise passes, a leak fails."),
    "accept": ("compare:accept", "Accept a run's results as those to compare with."),
    "list": (
        "list_:list_",
        "List the methods, tasks, datasets, detectors, attacks, surface templates or suites that are installed.",
    ),
    "demo": (
        "demo:demo",
        "Try methods on a photograph, a short video or a camera, on a local page.",
    ),
    "verify-mark": (
        "verify_mark:verify_mark",
        "Say whether pictures carry the watermark of a key (`dp2bench anonymize --watermark KEY`).",
    ),
    "doctor": (
        "doctor:doctor",
        "Show what is installed, what this machine offers, and what each part still needs.",
    ),
    "history": (
        "history:app",
        "Print a score over time, with its commit and coverage. Every `dp2bench run` records its results.",
    ),
    "weights": ("weights:app", "Trained weights: what is published, what is here, and how it gets here."),
    "data": (
        "data:app",
        "Datasets that are made on this machine: list, make, verify, delete; and surface templates.",
    ),
    "train": (
        "train:app",
        "Train generators, the embedded detector and attackers, on your own data or on the embedded people.",
    ),
    "edits": (
        "edits:app",
        "Directions that change what a generator synthesises: list them, search one for a text.",
    ),
}
"""Where each command stands in this package, and the first line of its help: no command is imported for another's sake."""


def _current_flag(name: str) -> str:
    return RENAMED_FLAGS.get(name, name)


def _interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """A command that ends on Ctrl-C with a word on how to go on."""

    @functools.wraps(function)
    def interruptible(*args: object, **kwargs: object) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            sys.stderr.write("\nStopped. What is finished is kept: the same command goes on from here.\n")
            raise typer.Exit(130) from None

    return interruptible


class _Commands(Mapping[str, Any]):
    """`COMMANDS`, each made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name][0].partition(":")
        found = getattr(importlib.import_module(f"dp2bench.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            group = typer.main.get_group(found)
            group.name = name
            return group
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(name)(_interruptible(found))
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(TyperGroup):
    """The whole command line. Its own help is written without rich, whose import takes longer than all the rest."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _Commands()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, what it is for, options, commands."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Names with their first lines."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


app = typer.Typer(
    name="dp2bench",
    cls=_Group,
    help="How much identity is left in anonymized pictures of people, and how much utility is lost.\n\nStart with: dp2bench run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _current_flag},
)


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


def _end_in_order() -> None:
    """Have SIGTERM and SIGHUP, which end a program where it stands, end it as errors do: recordings and fetched originals are deleted."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def end(number: int, _: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)  # what is being deleted is deleted
        sys.exit(128 + number)

    for number in numbers:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, end)


def _main() -> None:
    """Carry out a command.

    Exit codes: 0 done, 1 a result is missing or a comparison failed, 2 the input cannot be used, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    keep_freed_memory()
    _end_in_order()
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
        for line in error.details:
            tell(console, line)
        if error.remedy:
            tell(console, error.remedy, label="What to do:", style="bold")
        sys.exit(2)
    finally:
        # What was asked for is done or has failed: a Ctrl-C that arrives while Python shuts down must not
        # turn the exit code into "killed" (an ignored signal stays ignored during shutdown, a handler does not).
        signal.signal(signal.SIGINT, signal.SIG_IGN)
