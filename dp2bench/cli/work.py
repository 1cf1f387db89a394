"""What `dp2bench anonymize` was asked to do, whatever it is done to, and what became of videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.contracts import Anonymizer, Detector
    from dp2bench.datasets.video import VideoOptions
    from dp2bench.pipelines.workers import Job


@dataclass
class Work:
    """What is to be done, whatever it is done to."""

    console: Console
    who: Detector
    how: Anonymizer
    job: Job
    workers: int
    threads: int
    settings: Mapping[str, Any]
    max_gap: int
    options: VideoOptions
    audio: bool = field(kw_only=True)
    keep_readable: bool = field(kw_only=True)

    def say(self, text: str, label: str = "", style: str = "") -> None:
        """See `tell`."""
        from dp2bench.cli.terminal import tell

        tell(self.console, text, label=label, style=style)


@dataclass
class Films:
    """What became of a folder's videos."""

    reports: list[Mapping[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
