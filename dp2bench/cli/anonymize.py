"""dp2bench anonymize."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.contracts import Anonymizer, Dataset, Detector
    from dp2bench.core.credentials import Credentials
    from dp2bench.core.listing import Listing
    from dp2bench.datasets.folder import Folder
    from dp2bench.pipelines.anonymize import CoverageCounter
    from dp2bench.pipelines.resume_log import ResumeLog
    from dp2bench.pipelines.video import VideoOptions
    from dp2bench.pipelines.workers import Job

_SHOWN = 12


def anonymize(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A picture, a video, a folder of pictures and videos, a dataset's folder (with --dataset), or a camera "
            "(/dev/video0, v4l2:DEVICE, avfoundation:DEVICE, dshow:DEVICE), which records until --end or Ctrl-C. A folder may be a URL "
            "(s3://bucket/folder).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="Where the anonymized picture, video, folder or dataset goes. Must not be a folder with files yet, except those of the "
            "same command, stopped. A folder may be a URL.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="A method (`dp2bench list methods`) or package.module:Class."),
    ] = ...,  # type: ignore[assignment]
    out_option: Annotated[
        Path | None, typer.Option("--out", "-o", help="OUT, for those who like it named.", show_default=False)
    ] = None,
    method_argument: Annotated[
        list[str] | None,
        typer.Option("--argument", "-a", help="A setting of the method, key=value; may be repeated."),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="How people should look: attribute=value (`dp2bench edits list`), a text that was searched, or a direction's file; "
            "may be repeated, and end in :strength.",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="Strength of edits that state none; negative for the opposite.")
    ] = 0.5,
    watermark: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Mark invisibly what is synthesised; `dp2bench verify-mark` finds the mark with the same key. @FILE reads the key from a file.",
            show_default=False,
        ),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="CERTIFICATE",
            help="Sign the output with content credentials (C2PA): a PEM file of certificates, the signing one first; needs --credentials-key.",
            show_default=False,
        ),
    ] = None,
    credentials_key: Annotated[
        Path | None,
        typer.Option(help="PEM file of the private key of the signing certificate.", show_default=False),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Who finds the people (`dp2bench list detectors`). By default a method's own; else for a dataset its annotations or, "
            "where it has none, full-image; else photo, for photographs.",
            show_default=False,
        ),
    ] = None,
    detector_argument: Annotated[
        list[str] | None,
        typer.Option(
            "--detector-argument", "-d", help="A setting of the detector, key=value; may be repeated."
        ),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            help="Take the people from this COCO JSON or folder of PNG masks (`dp2bench detect` writes both), perhaps edited.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Read IN as this dataset, e.g. market1501, and write the same layout."),
    ] = None,
    subset: Annotated[
        bool,
        typer.Option(
            "--subset", help="With --dataset: IN may hold fewer pictures than were published of that dataset."
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of before (people drawn in) and after.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random methods.")] = 0,
    max_gap: Annotated[
        int,
        typer.Option(
            min=0, help="Video: a person whom no detector sees for up to so many frames is still there."
        ),
    ] = 15,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Video: leave the sound out. Voices are not anonymized.")
    ] = False,
    careful: Annotated[
        bool,
        typer.Option(
            "--careful",
            help="Also cover the box of everything that may be a person: fewer people stay, more of the background goes. For the detector "
            "photo.",
        ),
    ] = False,
    mask_dilation: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Replace more than people's pixels, so that less of their outline is left: masks are dilated by this share of a "
            "person's size (the square root of the box's area; e.g. 0.1), or to the whole `box`.",
            show_default=False,
        ),
    ] = None,
    keep_readable: Annotated[
        bool,
        typer.Option(
            "--keep-readable",
            help="Video: of one that is broken or cut off, which is refused otherwise, take what comes before.",
        ),
    ] = False,
    start: Annotated[float, typer.Option(min=0, help="Video: begin at this second.")] = 0.0,
    end: Annotated[
        float | None,
        typer.Option(help="Video: end at this second; of a camera, after so many.", show_default=False),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Video: frames a second at most; others are dropped.", show_default=False),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            help="Video: pixels of the longer side at most; larger frames are scaled down.",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(help="Video: h264, h265 or vp9. By default h264, in .webm vp9.", show_default=False),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=63,
            help="Video: the encoder's constant rate factor; lower is better.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes that work on the pictures of a folder or dataset; each loads the method.",
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of each process. By default the processors, shared out among the workers, or what OUT was begun with. Networks round "
            "differently on another number.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Anonymize a picture, a video, a folder, a dataset, or what a camera sees.

    Files that cannot be read are named and left out, never copied through; video frames that fail are written grey. Exit code 1 when
    anything was left out, anybody missed, or annotations need a look. What was stopped, in whatever way, goes on when the same command is
    given again.

    For example:

    dp2bench anonymize street.png safe.png --method deepprivacy2

    dp2bench anonymize photos/ anonymized/ --method blur-face --detector centerface

    dp2bench anonymize clip.mp4 --out safe.mp4 --method mask-out --detector mask-rcnn -d weights=model.pkl

    dp2bench anonymize photos/ safe/ --method blur --detections edited.json
    """
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.machine import limit_threads, threads_each
    from dp2bench.core.paths import begun_with

    if (out is None) == (out_option is None):
        what = "There is no OUT." if out is None else "OUT is given twice."
        raise Dp2benchError(what, "Write `dp2bench anonymize IN OUT --method METHOD`.")
    target = out or out_option
    assert target is not None
    threads = threads or begun_with(target).get("threads") or threads_each(workers)
    limit_threads(threads)  # before libraries are loaded, which read it then

    from rich.console import Console

    from dp2bench import __version__
    from dp2bench.cli.arguments import (
        careful_argument,
        check_paths,
        check_preview,
        dilated,
        key_values,
        saved_detections,
    )
    from dp2bench.core.credentials import signing_with
    from dp2bench.core.hashing import content_sha256
    from dp2bench.datasets.video import Selection, encoder_for, is_camera, is_video_name
    from dp2bench.pipelines.video import VideoOptions
    from dp2bench.pipelines.workers import Component, Job

    console = Console()
    camera = is_camera(source)
    urls = None if camera else _urls(source, target, dataset, detections)
    if urls is None:
        if not camera:
            check_paths(source, target)
        check_preview(source, target, preview)
    selection = Selection(start, math.inf if end is None else end, fps, max_size)
    options = VideoOptions(selection, codec, quality)
    if watermark is not None:
        from dp2bench.cli.arguments import secret

        watermark = secret(watermark)
    arguments = {**key_values("--argument", method_argument), **_edits(method, edit, strength)}
    job = Job(
        Component("datasets", dataset or "folder", {"root": source, **_any_number(dataset, subset=subset)}),
        Component("detectors", "full-image"),
        Component("methods", method, arguments),
        watermark,
        _credentials(credentials, credentials_key),
        seed,
        preview=preview,
    )
    how = job.make_method()
    arguments = key_values("--detector-argument", detector_argument)
    is_video = camera or (source.is_file() and is_video_name(source))
    opened = None if is_video or urls else _opened(job, checked=dataset is not None)
    if detections is None:
        usual = _usual_detector(opened) if dataset and opened else "photo"
        chosen = how.meta.detector or detector or usual
        found = Component("detectors", chosen, arguments | careful_argument(chosen, careful=careful))
    else:
        found = saved_detections(detections, arguments)
    if mask_dilation is not None:
        found = dilated(found, mask_dilation)
    who = found.make()
    settings: dict[str, Any] = {
        "detector_arguments": [*(detector_argument or []), *(["careful=true"] if careful else [])],
        "method_arguments": method_argument or [],
    }
    if edit:
        settings["edits"] = [*edit, f"strength {strength:g}"]
    work = _Work(
        console,
        who,
        how,
        replace(job, detector=found),
        workers,
        threads,
        settings,
        max_gap,
        options,
        audio=not no_audio,
        keep_readable=keep_readable,
    )
    if is_video:
        encoder_for(target, codec)
        with signing_with(job.credentials):
            done = _camera(work, source, target) if camera else _video(work, source, target)
    else:
        told = {
            "source": urls[0] if urls else source.resolve(),
            "method": [method, repr(how.meta)],
            "watermark": watermark and hashlib.sha256(watermark.encode()).hexdigest()[:8],
            "detector": repr(who.meta),
            "dataset": dataset,
            "seed": seed,
            "threads": threads,
            "version": __version__,
            "detections": None if detections is None else content_sha256(detections),
            "video": [max_gap, no_audio, keep_readable, repr(options)],
        }
        with signing_with(job.credentials):
            if urls is not None:
                done = _remote(work, *urls, settings | told)
            else:
                assert opened is not None
                done = _pictures(work, opened, source, target, settings | told)
    if not done:
        raise typer.Exit(1)


@dataclass
class _Work:
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


def _edits(method: str, edit: Sequence[str] | None, strength: float) -> dict[str, Any]:
    """The method's arguments for edits; a Dp2benchError where it takes none."""
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError

    if not edit:
        return {}
    if not registry.accepts("methods", method, "edit"):
        raise Dp2benchError(
            f"The method {method!r} synthesises nothing that could be edited.",
            "Use --edit with --method deepprivacy2.",
        )
    return {"edit": list(edit), "strength": strength}


def _credentials(certificate: Path | None, key: Path | None) -> Credentials | None:
    """What is signed with, tried before anything is written."""
    from dp2bench.core import credentials
    from dp2bench.core.errors import Dp2benchError

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Dp2benchError(
            "A signature needs a certificate and its key.", "Give both --credentials and --credentials-key."
        )
    return credentials.load(certificate, key)


def _any_number(dataset: str | None, *, subset: bool) -> Mapping[str, Any]:
    """The dataset's argument for --subset."""
    if dataset is None or not subset:
        return {}
    from dp2bench.engine.evaluation import of_any_number

    return of_any_number(dataset)


def _opened(job: Job, *, checked: bool) -> Dataset:
    """The pictures to anonymize; a dataset is ``checked``."""
    opened: Dataset = job.dataset.make()
    if checked:
        opened.verify()
    return opened


def _usual_detector(dataset: Dataset) -> str:
    """The detector of a dataset's pictures where none is named: its annotations, or none of a network for crops of people."""
    first = next((sample for split in dataset.meta.splits for sample in dataset.samples(split)), None)
    return "full-image" if first is None or dataset.people(first) is None else "annotations"


def _pictures(work: _Work, opened: Dataset, source: Path, target: Path, settings: Mapping[str, Any]) -> bool:
    """Anonymize a folder, a picture or a dataset and say what became of it. Whether nothing was left out and nobody missed."""
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.folder import Folder
    from dp2bench.pipelines.anonymize import anonymize_dataset, resumable
    from dp2bench.pipelines.resume_log import ResumeLog
    from dp2bench.pipelines.workers import in_workers

    folder = opened if isinstance(opened, Folder) else None
    if folder is not None:
        _refuse_nothing(work, folder)
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
    doubtful = _print_remarks(work, who)
    films = _Films()
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
            if folder is not None:
                films = _videos_of_folder(work, folder, target, journal, observer)
        except KeyboardInterrupt:
            observer.bars.stop()
            whole = f"What is in {target} is anonymized and whole; " if journal else ""
            work.say(f"Stopped. {whole}the same command goes on from here.")
            raise typer.Exit(130) from None
    if journal is not None:
        journal.close()
    return _told(work, counter, None if folder is None else folder.listing, films) and not doubtful


def _urls(source: Path, target: Path, dataset: str | None, detections: Path | None) -> tuple[str, str] | None:
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


def _remote(work: _Work, source: str, target: str, settings: Mapping[str, Any]) -> bool:
    """Anonymize a folder of an object store and say what became of it. Whether nothing was left out and nobody missed."""
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.listing import Listing
    from dp2bench.datasets.folder import Folder
    from dp2bench.pipelines.anonymize import CoverageCounter, anonymize_dataset, check_names
    from dp2bench.pipelines.remote_folder import RemoteFolder
    from dp2bench.pipelines.workers import Component, in_workers

    remote = RemoteFolder(source, target, settings)
    counter, films = CoverageCounter(), _Films()
    listing = Listing(left_out=remote.refused)
    with TerminalObserver(work.console) as observer:
        progress = observer.progress(f"anonymize with {work.how.meta.name}")

        def one_batch(here: Path, out: Path) -> dict[str, Any]:
            folder = Folder(here)
            check_names(folder, out)
            made, filmed = CoverageCounter(), _Films()
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
                filmed = _videos_of_folder(work, folder, out, None, observer)
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
                f"Stopped. What is in {target} is anonymized and whole; the same command goes on from here."
            )
            raise typer.Exit(130) from None
    remote.close()
    return _told(work, counter, listing, films)


def _refuse_nothing(work: _Work, folder: Folder) -> None:
    """Say why a folder holds nothing that can be anonymized."""
    from dp2bench.cli.terminal import tell_each
    from dp2bench.core.errors import DatasetError

    if not folder.listing.pictures and not folder.listing.videos:
        tell_each(work.console, folder.listing.left_out, label="left out:", style="yellow")
        raise DatasetError(
            f"The folder {folder.root} holds no pictures and no videos that can be read.",
            "Put some there; JPEG, PNG, WebP, GIF, TIFF, BMP, HEIF, AVIF, JPEG 2000 and the usual videos are read.",
        )


@dataclass
class _Films:
    """What became of a folder's videos."""

    reports: list[Mapping[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)


def _videos_of_folder(
    work: _Work, folder: Folder, target: Path, journal: ResumeLog | None, observer: Any
) -> _Films:
    """Anonymize the videos of a folder, each into a file of its name; where a format is not written, Matroska's is added."""
    from dp2bench.core.hashing import content_of
    from dp2bench.datasets.video import ENCODERS, VideoError
    from dp2bench.pipelines.anonymize import video_target

    films = _Films()
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
            continue
        films.reports.append(report)
        if journal is not None and original is not None:
            journal.finish(f"video/{name}", original, made, report=report)
        if work.job.preview is not None:
            from dp2bench.cli.previews import video_preview

            video_preview(source, made, work.job.preview / name, work.options.selection)
    return films


def _told(work: _Work, counter: CoverageCounter, listing: Listing | None, films: _Films) -> bool:
    """Say what became of pictures and videos; whether nothing was left out and nobody missed."""
    from dp2bench.cli.terminal import tell_each
    from dp2bench.core.listing import said_of_others

    left_out = [*counter.unreadable, *films.left_out]
    if listing is not None:
        left_out += listing.left_out
    tell_each(work.console, left_out, label="left out:", style="yellow", most=10_000)
    tell_each(work.console, films.renamed, label="renamed:", style="yellow")
    if listing is not None:
        for link, place in listing.linked:
            work.say(f"{link} leads out of the folder, to {place}.", "followed:", "yellow")
    for what, names in sorted(counter.lost.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        work.say(f"{what} of {names[0]}{more}.", "not kept:", "yellow")
    missed = counter.missed.total()
    if counter.pictures or not films.reports:
        work.say(
            f"{counter.pictures} pictures, {counter.found} people found by {work.who.meta.name}{_by_certainty(counter)}, "
            f"{counter.found - missed} anonymized, {missed} missed; "
            f"{counter.empty} pictures without anybody found, {len(left_out)} files left out."
        )
    for reason, count in sorted(counter.missed.items()):
        work.say(f"{count} people: {reason}", "missed:", "red")
        _list_missed(work, counter, reason)
    _warn_of_unlike(work, counter)
    whole = True
    for report in films.reports:
        whole &= _told_of_film(work, report, f"{report['source']}: ")
    if films.reports and not counter.pictures and left_out:
        work.say(f"{len(left_out)} files left out.")
    if listing is not None and listing.others:
        work.say(f"Neither pictures nor videos, and not copied: {said_of_others(listing.others)} files.")
        if listing.describing:
            work.say(
                f"{said_of_others(listing.describing)} of them lie beside pictures and may say who is in them: "
                "faces, names, places. Do not publish them with the others."
            )
    people = counter.found + sum(report["people_in_frames"] for report in films.reports)
    return whole and not left_out and not missed and not _nobody_found(work, people)


def _print_remarks(work: _Work, who: Detector) -> bool:
    """Say what annotations say of themselves: which category is people, and what is not as it should be; whether there is any of that."""
    for remark in who.remarks:
        work.say(remark)
    for doubt in who.doubts:
        work.say(doubt, "check this:", "yellow")
    return bool(who.doubts)


def _nobody_found(work: _Work, people: int) -> bool:
    """Whether annotations found nobody at all, which is said: they may be of other pictures."""
    named = work.who.people_named
    if people or named is None:
        return False
    who = f"{named} people, and none of them here" if named else "nobody"
    work.say(
        f"the annotations name {who}. Check that they are of these pictures; a detector looks for itself (--detector).",
        "nobody found:",
        "red",
    )
    return True


def _by_certainty(counter: CoverageCounter) -> str:
    return (
        f" ({counter.found - counter.doubtful} certain, {counter.doubtful} doubtful)"
        if counter.doubtful
        else ""
    )


def _list_missed(work: _Work, counter: CoverageCounter, reason: str) -> None:
    """Who was missed for a reason, and, of those who keep their face because none was found, what to do about it."""
    from dp2bench.inpainting.crops import NO_FACE

    rows = [
        (name, [person for person, why in reasons.items() if why == reason])
        for pictures in counter.left.values()
        for name, reasons in pictures.items()
    ]
    rows = [(name, people) for name, people in rows if people]
    what = "no face found of person" if reason == NO_FACE else "person"
    for name, people in rows[:_SHOWN]:
        work.say(f"  {name}: {what} {', '.join(map(str, people))}")
    if len(rows) > _SHOWN:
        work.say(f"  … and in {len(rows) - _SHOWN} more pictures")
    if reason != NO_FACE:
        return
    if work.who.meta.name == "full-image":
        work.say("  Of pictures that are faces, cut out: --detector full-image -d faces=true.")
        return
    bodies = work.how.meta.name.removesuffix("-face")
    work.say(
        f"  They may be seen from behind. If not: use a method that covers bodies (`{bodies}`), or draw the faces in "
        "by hand: `dp2bench detect IN --out people.json`, edit, `--detections people.json`. `--preview` shows who has which number."
    )


def _warn_of_unlike(work: _Work, counter: CoverageCounter) -> None:
    """Pictures in which nobody was found with certainty: the detector may have learned from others."""
    if not counter.unlike:
        return
    name, best = next(iter(counter.unlike.items()))
    detector = work.job.detector.arguments.get("detector", work.job.detector.name)  # within a wrapper
    advice = (
        "cover more with --careful"
        if detector == "photo"
        else "use --detector photo, which learned from photographs"
    )
    work.say(
        f"{len(counter.unlike)} pictures in which nobody was found with certainty, e.g. {name} (best score {best:.2f}). "
        f"They may be unlike what {detector} learned from. See who is covered with --preview, or {advice}.",
        "look at:",
        "yellow",
    )


def _video(work: _Work, source: Path, target: Path, *, kept: bool = True) -> bool:
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
    whole = _told_of_film(work, report, seconds=time.perf_counter() - begun)
    whole &= not _nobody_found(work, report["people_in_frames"])
    if report["broken"]:
        work.say(f"What follows is not in {target}.")
    if work.job.preview is not None:
        from dp2bench.cli.previews import video_preview

        video_preview(source, target, work.job.preview, work.options.selection)
    return whole


def _anonymize_film(
    work: _Work,
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


def _told_of_film(
    work: _Work, report: Mapping[str, Any], title: str = "", seconds: float | None = None
) -> bool:
    """Say what became of a video; whether nothing failed and nobody was missed."""
    blank = sum(map(len, report["blanked_frames"].values()))
    speed = "" if not seconds else f" {report['frames'] / seconds:.1f} frames a second."
    work.say(
        f"{title}{report['frames']} frames, {report['tracks']} tracks, {report['people_in_frames']} people in frames found by "
        f"{report['detector']} ({report['bridged']} of them bridged), {report['anonymized']} anonymized, {report['missed']} missed; "
        f"{len(report['frames_without_people'])} frames without anybody found, {blank} frames written grey. "
        f"Sound: {report['sound']}.{speed}"
    )
    for reason, count in report["missed_reasons"].items():
        work.say(f"{title}{count} people in frames: {reason}", "missed:", "red")
    for reason, frames in report["blanked_frames"].items():
        work.say(f"{title}{len(frames)} frames, the first is {frames[0]}: {reason}", "grey:", "yellow")
    for start, end in report["gaps"]:
        work.say(
            f"{title}the source has no picture between {start:.2f} and {end:.2f} s; frames may have been lost there.",
            "gap:",
            "yellow",
        )
    if report["not_kept"]:
        work.say(f"{title}{', '.join(report['not_kept'])}.", "not kept:", "yellow")
    if report["broken"]:
        work.say(report["broken"], "cut short:", "red")
    return not (report["missed"] or blank or report["broken"])


def _camera(work: _Work, camera: Path, target: Path) -> bool:
    """Record, anonymize, and delete the recording."""
    import shutil

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.errors import writing
    from dp2bench.datasets.video import record

    selection = work.options.selection
    folder = target.with_name(f".{target.name}.camera")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writing(folder):
            folder.mkdir(parents=True)
            recording = folder / "camera.mkv"
            with TerminalObserver(work.console) as observer:
                record(str(camera), recording, selection.end, observer.progress("record; Ctrl-C ends it"))
        return _video(work, recording, target, kept=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(target.with_name(f".{target.name}.work"), ignore_errors=True)
