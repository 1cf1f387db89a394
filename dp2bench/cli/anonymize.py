"""dp2bench anonymize."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.contracts import Anonymizer, ComponentMeta, Dataset, Detector
    from dp2bench.core.seeds import Seed
    from dp2bench.core.types import Anonymized, Image, People, Sample
    from dp2bench.pipelines.anonymize import CoverageCounter

_SHOWN = 12


def anonymize(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A picture, a video, a folder of pictures, or a dataset's folder (with --dataset).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="Where the anonymized picture, video, folder or dataset goes. Must not exist yet as a folder with files, but for those "
            "of the same command, stopped.",
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
    keep_readable: Annotated[
        bool,
        typer.Option(
            "--keep-readable",
            help="Video: of one that is broken or cut off, which is refused otherwise, take what comes before.",
        ),
    ] = False,
) -> None:
    """Anonymize a picture, a video, a folder, or a dataset.

    Files that are no picture are reported and left out, never copied through; video frames that fail are written grey. Exit code 1
    when anything was left out, anybody missed, or annotations need a look. A folder or video that was stopped goes on when the same command is given again.

    For example:

    dp2bench anonymize street.png safe.png --method deepprivacy2

    dp2bench anonymize photos/ anonymized/ --method blur-face --detector centerface

    dp2bench anonymize clip.mp4 --out safe.mp4 --method mask-out --detector mask-rcnn -d weights=model.pkl

    dp2bench anonymize photos/ safe/ --method blur --detections edited.json
    """
    from rich.console import Console

    from dp2bench import __version__
    from dp2bench.cli.arguments import check_paths, key_values, saved_detections
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.hashing import content_sha256

    if (out is None) == (out_option is None):
        what = "There is no OUT." if out is None else "OUT is given twice."
        raise Dp2benchError(what, "Write `dp2bench anonymize IN OUT --method METHOD`.")
    target = out or out_option
    assert target is not None
    console = Console()
    check_paths(source, target)
    from dp2bench.datasets.video import is_video_name

    how = registry.create("methods", method, key_values("--argument", method_argument))
    arguments = key_values("--detector-argument", detector_argument)
    opened = _opened(source, dataset, subset=subset)
    if detections is None:
        usual = _usual_detector(opened) if dataset else "photo"
        arguments |= {"careful": True} if careful else {}
        who = registry.create("detectors", how.meta.detector or detector or usual, arguments)
    else:
        who = saved_detections(detections, arguments)
    settings: dict[str, Any] = {
        "detector_arguments": detector_argument or [],
        "method_arguments": method_argument or [],
    }
    if source.is_file() and is_video_name(source):
        _video(
            console,
            source,
            target,
            who,
            how,
            seed,
            max_gap,
            preview,
            settings,
            audio=not no_audio,
            keep_readable=keep_readable,
        )
    else:
        settings |= {
            "method": [method, repr(how.meta)],
            "detector": repr(who.meta),
            "seed": seed,
            "version": __version__,
        }
        if detections is not None:
            settings["detections"] = content_sha256(detections)
        _pictures(console, opened, source, target, who, how, seed, preview, method, settings)


def _opened(source: Path, dataset: str | None, *, subset: bool) -> Dataset:
    """The pictures to anonymize; a named dataset is verified."""
    from dp2bench.cli.arguments import of_any_number
    from dp2bench.core import registry
    from dp2bench.datasets.folder import Folder

    if dataset is None:
        return Folder(source)
    opened: Dataset = registry.create(
        "datasets", dataset, {"root": source, **(of_any_number(dataset) if subset else {})}
    )
    opened.verify()
    return opened


def _usual_detector(dataset: Dataset) -> str:
    """The detector of a dataset's pictures where none is named: its annotations, or none of a network for crops of people."""
    first = next((sample for split in dataset.meta.splits for sample in dataset.samples(split)), None)
    return "full-image" if first is None or dataset.people(first) is None else "annotations"


def _pictures(
    console: Console,
    opened: Dataset,
    source: Path,
    target: Path,
    who: Detector,
    how: Anonymizer,
    seed: int,
    preview: Path | None,
    method: str,
    settings: dict[str, Any],
) -> None:
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.folder import Folder
    from dp2bench.datasets.video import is_video_name
    from dp2bench.pipelines.anonymize import ResumeLog, anonymize_dataset

    alone = isinstance(opened, Folder) and source.is_dir()
    journal = ResumeLog(target, settings) if alone else None
    if journal:
        console.print(f"Going on: {len(journal)} pictures are finished.", highlight=False)
    if not alone and source.is_dir() and target.is_dir() and any(target.iterdir()):
        raise Dp2benchError(
            f"The folder {target} is not empty.",
            "Choose a new folder, so that nothing of an earlier run is mixed in.",
        )
    who = who.for_dataset(opened)  # annotations are held against the pictures before anything is written
    doubtful = _print_remarks(console, who)
    if preview is not None:
        shared: list[Sample] = []
        who, how = _RecordingDetector(who, shared), _Previewing(how, shared, preview)
    with TerminalObserver(console) as observer:
        try:
            counter = anonymize_dataset(
                opened, who, how, target, seed, observer.progress(f"anonymize with {method}"), journal
            )
        except KeyboardInterrupt:
            observer.bars.stop()
            rest = (
                "the same command goes on from here."
                if alone
                else "delete it or choose another OUT to start again."
            )
            console.print(
                f"Stopped. What is in {target} is anonymized and whole; {rest}",
                soft_wrap=True,
                highlight=False,
            )
            raise typer.Exit(130) from None
    for problem in counter.unreadable:
        console.print(f"[yellow]left out:[/] {problem}", highlight=False, soft_wrap=True)
    videos = [p for p in sorted(source.rglob("*")) if is_video_name(p)] if alone else []
    if videos:
        console.print(
            f"[yellow]left out:[/] {len(videos)} videos ({videos[0].name}, …): give each by itself.",
            highlight=False,
            soft_wrap=True,
        )
    coverage = counter.coverage()
    summary = (
        f"{coverage.pictures} pictures, {coverage.found} people found by {who.meta.name}{_by_certainty(counter)}, "
        f"{coverage.anonymized} anonymized, "
        f"{coverage.missed} missed; {coverage.pictures_without_detection} pictures without anybody found, "
        f"{coverage.unreadable} files left out."
    )
    console.print(summary, highlight=False, soft_wrap=True)
    for reason, count in coverage.missed_reasons.items():
        console.print(f"[red]missed:[/] {count} people: {reason}", highlight=False, soft_wrap=True)
    _list_without_face(console, counter, method)
    _warn_of_unlike(console, counter, who.meta.name)
    nobody = _nobody_found(console, who, coverage.found)
    if coverage.unreadable or coverage.missed or videos or nobody or doubtful:
        raise typer.Exit(1)


def _print_remarks(console: Console, who: Detector) -> bool:
    """Say what annotations say of themselves: which category is people, and what is not as it should be; whether there is any of that."""
    from rich.markup import escape

    doubts: tuple[str, ...] = getattr(who, "doubts", ())
    for remark in getattr(who, "remarks", ()):
        console.print(escape(remark), highlight=False, soft_wrap=True)
    for doubt in doubts:
        console.print(f"[yellow]check this:[/] {escape(doubt)}", highlight=False, soft_wrap=True)
    return bool(doubts)


def _nobody_found(console: Console, who: Detector, people: int) -> bool:
    """Whether annotations that name people found nobody, which is said."""
    named = 0 if people else getattr(who, "people_named", 0)
    if named:
        console.print(
            f"[red]nobody found:[/] the annotations name {named} people, and none of them here.",
            highlight=False,
            soft_wrap=True,
        )
    return bool(named)


def _by_certainty(counter: CoverageCounter) -> str:
    return (
        f" ({counter.found - counter.doubtful} certain, {counter.doubtful} doubtful)"
        if counter.doubtful
        else ""
    )


def _list_without_face(console: Console, counter: CoverageCounter, method: str) -> None:
    """Who keeps his or her face because none was found, and what to do about it."""
    from dp2bench.inpainting.crops import NO_FACE

    rows = [
        (name, [person for person, reason in reasons.items() if reason == NO_FACE])
        for pictures in counter.left.values()
        for name, reasons in pictures.items()
    ]
    rows = [(name, people) for name, people in rows if people]
    if not rows:
        return
    for name, people in rows[:_SHOWN]:
        numbers = ", ".join(map(str, people))
        console.print(f"  {name}: no face found of person {numbers}", highlight=False, soft_wrap=True)
    if len(rows) > _SHOWN:
        console.print(f"  … and in {len(rows) - _SHOWN} more pictures", highlight=False)
    console.print(
        f"  They may be seen from behind. If not: use a method that covers bodies (`{method.removesuffix('-face')}`), or draw the faces in "
        "by hand: `dp2bench detect IN --out people.json`, edit, `--detections people.json`. `--preview` shows who has which number.",
        highlight=False,
        soft_wrap=True,
    )


def _warn_of_unlike(console: Console, counter: CoverageCounter, detector: str) -> None:
    """Pictures in which nobody was found with certainty: the detector may have learned from others."""
    if not counter.unlike:
        return
    name, best = next(iter(counter.unlike.items()))
    advice = (
        "cover more with --careful"
        if detector == "photo"
        else "use --detector photo, which learned from photographs"
    )
    console.print(
        f"[yellow]look at:[/] {len(counter.unlike)} pictures in which nobody was found with certainty, e.g. {name} (best score {best:.2f}). "
        f"They may be unlike what {detector} learned from. See who is covered with --preview, or {advice}.",
        highlight=False,
        soft_wrap=True,
    )


def _video(
    console: Console,
    source: Path,
    target: Path,
    who: Detector,
    how: Anonymizer,
    seed: int,
    max_gap: int,
    preview: Path | None,
    settings: dict[str, Any],
    *,
    audio: bool,
    keep_readable: bool,
) -> None:
    from rich.markup import escape

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.pipelines.video import anonymize_video

    with TerminalObserver(console) as observer:
        try:
            report = anonymize_video(
                source,
                who,
                how,
                target,
                seed,
                max_gap=max_gap,
                audio=audio,
                keep_readable=keep_readable,
                settings=settings,
                progress_of=observer.progress,
            )
        except KeyboardInterrupt:
            observer.bars.stop()
            console.print(
                "Stopped. What is finished is kept: the same command goes on from here.", highlight=False
            )
            raise typer.Exit(130) from None
    blank = sum(map(len, report["blanked_frames"].values()))
    console.print(
        f"{report['frames']} frames, {report['tracks']} tracks, {report['people_in_frames']} people in frames found by {who.meta.name} "
        f"({report['bridged']} of them bridged), {report['anonymized']} anonymized, {report['missed']} missed; "
        f"{len(report['frames_without_people'])} frames without anybody found, {blank} frames written grey. Sound: {report['sound']}.",
        highlight=False,
        soft_wrap=True,
    )
    for reason, count in report["missed_reasons"].items():
        console.print(f"[red]missed:[/] {count} people in frames: {reason}", highlight=False, soft_wrap=True)
    for reason, frames in report["blanked_frames"].items():
        console.print(
            f"[yellow]grey:[/] {len(frames)} frames, the first is {frames[0]}: {reason}",
            highlight=False,
            soft_wrap=True,
        )
    for start, end in report["gaps"]:
        console.print(
            f"[yellow]gap:[/] the source has no picture between {start:.2f} and {end:.2f} s; frames may have been lost there.",
            highlight=False,
            soft_wrap=True,
        )
    if report["broken"]:
        console.print(
            f"[red]cut short:[/] {escape(report['broken'])} What follows is not in {target}.",
            highlight=False,
            soft_wrap=True,
        )
    if preview is not None:
        _video_preview(source, target, preview)
    nobody = _nobody_found(console, who, report["people_in_frames"])
    if report["missed"] or blank or report["broken"] or nobody:
        raise typer.Exit(1)


def _video_preview(source: Path, target: Path, folder: Path) -> None:
    """Frames at even distances, before beside after."""
    import numpy as np

    from dp2bench.core.images import write_image
    from dp2bench.datasets.video import Video

    before, after = Video(source), Video(target)
    every = max(1, after.info.expected_frames // _SHOWN)
    for b, a in zip(after, before, strict=False):  # the source may be broken after the last frame
        if a.index % every == 0:
            write_image(folder / f"{a.index:08d}.jpg", np.concatenate((a.image, b.image), 1))


class _RecordingDetector:
    """A detector that says which picture it was asked about last."""

    def __init__(self, detector: Detector, noted: list[Sample]) -> None:
        self._detector, self._noted = detector, noted
        self.meta: ComponentMeta = detector.meta
        self.people_named = getattr(detector, "people_named", 0)

    @property
    def uses_annotations(self) -> bool:
        return self._detector.uses_annotations

    def for_dataset(self, dataset: Dataset) -> _RecordingDetector:
        return _RecordingDetector(self._detector.for_dataset(dataset), self._noted)

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        self._noted[:] = samples
        return self._detector.detect(images, samples)


class _Previewing:
    """A method that also writes a picture of what it got and what it made of it."""

    def __init__(self, method: Anonymizer, noted: list[Sample], folder: Path) -> None:
        self._method, self._noted, self._folder = method, noted, folder
        self.meta = method.meta

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        import numpy as np

        from dp2bench.core.images import write_image
        from dp2bench.detection.export import overlay

        result = self._method.anonymize(image, people, seed=seed)
        drawn = overlay(image, people, missed=[m.person for m in result.missed])
        both = np.concatenate((drawn, result.image), 1)
        write_image(self._folder / f"{self._noted[-1].id}.jpg", both)
        return result
