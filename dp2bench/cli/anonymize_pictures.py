"""Folders, pictures and datasets of `dp2bench anonymize`, here or in an object store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from dp2bench.cli.outcomes import tell_outcome, tell_remarks
from dp2bench.cli.work import Films, Work

if TYPE_CHECKING:
    from dp2bench.core.contracts import Dataset
    from dp2bench.core.listing import Listing


def anonymize_pictures(
    work: Work, opened: Dataset, source: Path, target: Path, settings: Mapping[str, Any]
) -> bool:
    """Anonymize a folder, a picture or a dataset and say what became of it. Whether nothing was left out and nobody missed."""
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.folder import Folder
    from dp2bench.pipelines.anonymize import anonymize_dataset, resumable
    from dp2bench.pipelines.resume_log import ResumeLog
    from dp2bench.pipelines.workers import in_workers

    folder = opened if isinstance(opened, Folder) else None
    if folder is not None and not folder.listing.pictures and not folder.listing.videos:
        _refuse_nothing(work, str(folder.root), folder.listing)
    journal = None
    if source.is_dir() and (folder is not None or resumable(opened, target)):
        journal = ResumeLog(target, settings)
        if len(journal):
            work.say(f"Going on: {len(journal)} files are finished.")
    elif source.is_dir() and target.is_dir() and any(target.iterdir()):
        raise Dp2benchError(
            f"The folder {target} is not empty.",
            "Choose a new folder, so that nothing of an earlier run is mixed in.",
        )
    who = work.who.for_dataset(opened)  # annotations are held against the pictures before anything is written
    doubtful = tell_remarks(work, who)
    films = Films()
    with TerminalObserver(work.console) as observer:
        try:
            progress = observer.progress(f"anonymize with {work.how.meta.name}")
            counter = anonymize_dataset(
                opened,
                who,
                work.how,
                target,
                work.job.seed,
                progress,
                journal,
                work.job.preview,
                None
                if work.workers == 1
                else lambda out: in_workers(replace(work.job, out=out), work.workers, work.threads),
            )
            if folder is not None and folder.listing.videos:
                from dp2bench.cli.anonymize_videos import videos_of_folder

                films = videos_of_folder(work, folder, target, journal, observer)
        except KeyboardInterrupt:
            observer.bars.stop()
            whole = f"What is in {target} is anonymized and whole; " if journal else ""
            work.say(f"Stopped. {whole}the same command goes on from here.")
            raise typer.Exit(130) from None
    if journal is not None:
        journal.close()
    return tell_outcome(work, counter, None if folder is None else folder.listing, films) and not doubtful


def as_urls(
    source: Path, target: Path, dataset: str | None, detections: Path | None
) -> tuple[str, str] | None:
    """IN and OUT as URLs where one of them is one."""
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.remote import remote_url

    given = remote_url(source), remote_url(target)
    if given == (None, None):
        return None
    for option, value in (("--dataset", dataset), ("--detections", detections)):
        if value is not None:
            raise Dp2benchError(
                f"{option} does not go with a URL.", "Copy IN to this machine, or leave the option out."
            )
    if given[0] is None and not source.is_dir():
        raise Dp2benchError(f"{source} is no folder.", "Where OUT is a URL, IN is a folder.")
    here, there = (
        url or f"file://{path.resolve()}" for url, path in zip(given, (source, target), strict=True)
    )
    return here, there


def anonymize_remote(work: Work, source: str, target: str, settings: Mapping[str, Any]) -> bool:
    """Anonymize a folder of an object store and say what became of it. Whether nothing was left out and nobody missed."""
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.listing import Listing
    from dp2bench.datasets.folder import Folder
    from dp2bench.pipelines.anonymize import CoverageCounter, anonymize_dataset, check_names
    from dp2bench.pipelines.remote_folder import RemoteFolder
    from dp2bench.pipelines.workers import Component, in_workers

    remote = RemoteFolder(source, target, settings)
    counter, films = CoverageCounter(), Films()
    listing = Listing(left_out=remote.refused)
    with TerminalObserver(work.console) as observer:
        progress = observer.progress(f"anonymize with {work.how.meta.name}")

        def one_batch(here: Path, out: Path) -> dict[str, Any]:
            folder = Folder(here)
            check_names(folder, out)
            made, filmed = CoverageCounter(), Films()
            if folder.listing.pictures:
                job = replace(work.job, dataset=Component("datasets", "folder", {"root": here}), out=out)
                made = anonymize_dataset(
                    folder,
                    work.who.for_dataset(folder),
                    work.how,
                    out,
                    work.job.seed,
                    lambda done, _: progress(counter.pictures + done, remote.files),
                    preview=work.job.preview,
                    in_workers=None
                    if work.workers == 1
                    else lambda _: in_workers(job, work.workers, work.threads),
                )
            if folder.listing.videos:
                from dp2bench.cli.anonymize_videos import videos_of_folder

                filmed = videos_of_folder(work, folder, out, None, observer)
            found = folder.listing
            return {
                "counted": made.noted(),
                "films": {"reports": filmed.reports, "left_out": filmed.left_out, "renamed": filmed.renamed},
                "listing": {
                    "left_out": found.left_out,
                    "others": dict(found.others),
                    "describing": dict(found.describing),
                },
            }

        try:
            for said in remote.run(one_batch):
                counter.include(said["counted"])
                for name, some in said["films"].items():
                    getattr(films, name).extend(some)
                listing.left_out += said["listing"]["left_out"]
                listing.others.update(said["listing"]["others"])
                listing.describing.update(said["listing"]["describing"])
                progress(counter.pictures, remote.files)
        except KeyboardInterrupt:
            observer.bars.stop()
            work.say(
                f"Stopped. What is in {remote.target.url} is anonymized and whole; the same command goes on from here."
            )
            raise typer.Exit(130) from None
    remote.close()
    if not (counter.pictures or films.reports or films.left_out or counter.unreadable):
        _refuse_nothing(work, source, listing)
    return tell_outcome(work, counter, listing, films)


def _refuse_nothing(work: Work, place: str, listing: Listing) -> NoReturn:
    """Say why a folder holds nothing that can be anonymized."""
    from dp2bench.cli.terminal import tell_each
    from dp2bench.core.errors import DatasetError

    tell_each(work.console, listing.left_out, label="left out:", style="yellow")
    raise DatasetError(
        f"The folder {place} holds no pictures and no videos that can be read.",
        "Put some there; JPEG, PNG, WebP, GIF, TIFF, BMP, HEIF, AVIF, JPEG 2000 and the usual videos are read.",
    )
