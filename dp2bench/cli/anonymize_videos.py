"""Videos of `dp2bench anonymize`: one, those of a folder, or a camera's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dp2bench.cli.outcomes import nobody_found, tell_film
from dp2bench.cli.work import Films, Work

if TYPE_CHECKING:
    from dp2bench.datasets.folder import Folder
    from dp2bench.pipelines.resume_log import ResumeLog


def videos_of_folder(
    work: Work, folder: Folder, target: Path, journal: ResumeLog | None, observer: Any
) -> Films:
    """Anonymize the videos of a folder, each into a file of its name; where a format is not written, Matroska's is added."""
    from dp2bench.core.hashing import content_of
    from dp2bench.datasets.video import ENCODERS, VideoError
    from dp2bench.pipelines.anonymize import video_target
    from dp2bench.pipelines.video import work_folder

    films = Films()
    for source in folder.listing.videos:
        name = source.relative_to(folder.root).as_posix()
        made = video_target(target / name)
        if made.suffix.lower() not in ENCODERS or made.name != source.name:
            films.renamed.append(f"{name} is written as {made.name}.")
        row = journal.finished(f"video/{name}", source, made) if journal is not None else None
        if row is not None:
            films.reports.append(row["report"])
            continue
        original = None if journal is None else content_of(source)  # before: it may be written to meanwhile
        try:
            report = _anonymize_film(work, source, made, observer.progress, name)
        except VideoError as error:
            films.left_out.append(str(error))
            # Nobody goes on from it, and it tells who was seen where.
            shutil.rmtree(work_folder(made), ignore_errors=True)
            continue
        films.reports.append(report)
        if journal is not None and original is not None:
            journal.finish(f"video/{name}", original, made, report=report)
        if work.job.preview is not None:
            from dp2bench.cli.previews import video_preview

            video_preview(source, made, work.job.preview / name, work.options.selection)
    return films


def anonymize_one_video(work: Work, source: Path, target: Path, *, kept: bool = True) -> bool:
    """Anonymize a video and say what became of it; ``kept`` unless IN is gone afterwards. Whether nothing failed and nobody was missed."""
    from dp2bench.cli.progress import TerminalObserver

    begun = time.perf_counter()
    with TerminalObserver(work.console) as observer:
        try:
            report = _anonymize_film(work, source, target, observer.progress)
        except KeyboardInterrupt:
            observer.bars.stop()
            goes_on = "What is finished is kept: the same command goes on from here."
            work.say(f"Stopped. {goes_on if kept else 'The recording is deleted, and nothing was written.'}")
            raise typer.Exit(130) from None
    whole = tell_film(work, report, seconds=time.perf_counter() - begun)
    whole &= not nobody_found(work, report["people_in_frames"])
    if report["broken"]:
        work.say(f"What follows is not in {target}.")
    if work.job.preview is not None:
        from dp2bench.cli.previews import video_preview

        video_preview(source, target, work.job.preview, work.options.selection)
    return whole


def _anonymize_film(
    work: Work,
    source: Path,
    target: Path,
    progress_of: Callable[[str], Any],
    name: str = "",
) -> dict[str, Any]:
    from dp2bench.pipelines.video import anonymize_video

    return anonymize_video(
        source,
        work.who,
        work.how,
        target,
        work.job.seed,
        max_gap=work.max_gap,
        audio=work.audio,
        keep_readable=work.keep_readable,
        options=work.options,
        name=name,
        settings=work.settings,
        progress_of=progress_of,
    )


def anonymize_camera(work: Work, camera: Path, target: Path) -> bool:
    """Record, anonymize, and delete the recording."""
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.errors import writing
    from dp2bench.datasets.video import record
    from dp2bench.pipelines.video import work_folder

    selection = work.options.selection
    folder = target.with_name(f".{target.name}.camera")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writing(folder):
            folder.mkdir(mode=0o700, parents=True)
            recording = folder / "camera.mkv"
            with TerminalObserver(work.console) as observer:
                record(str(camera), recording, selection.end, observer.progress("record; Ctrl-C ends it"))
        return anonymize_one_video(work, recording, target, kept=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(work_folder(target), ignore_errors=True)
