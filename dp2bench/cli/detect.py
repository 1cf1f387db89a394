"""dp2bench detect."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dp2bench.core.contracts import Detector, Progress
    from dp2bench.core.types import People
    from dp2bench.datasets.folder import Folder


def detect(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A picture, a video, or a folder of both.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="FILE.json: COCO JSON with masks, keypoints, faces, surfaces, tracks. Any other name: a folder of PNG masks, "
            "one value a person.",
        ),
    ],
    detector: Annotated[
        str, typer.Option(help="Who finds the people (`dp2bench list detectors`).")
    ] = "photo",
    detector_argument: Annotated[
        list[str] | None,
        typer.Option(
            "--detector-argument", "-d", help="A setting of the detector, key=value; may be repeated."
        ),
    ] = None,
    careful: Annotated[
        bool,
        typer.Option(
            "--careful",
            help="Also find everything that may be a person, with its box. For the detector photo.",
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures (or the video) with the people drawn in.", show_default=False),
    ] = None,
    max_gap: Annotated[
        int,
        typer.Option(
            min=0, help="Video: a person whom no detector sees for up to so many frames is still there."
        ),
    ] = 15,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes that look into a folder's pictures; each loads the detector."),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of each process. By default the processors, shared out among the workers. Networks round "
            "differently on another number.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find the people and write them down, to be looked at, edited, and used by `dp2bench anonymize --detections`.

    People in a video are tracked, and frames in which a detector missed them are bridged. Exit code 1 when a file could not be read.

    For example:

    dp2bench detect photos/ --detector centerface --out faces.json --preview look/

    dp2bench anonymize photos/ safe/ --method blur-face --detections faces.json
    """
    from rich.console import Console

    from dp2bench.cli.arguments import careful_argument, check_paths, check_preview, key_values
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.cli.terminal import tell, tell_each
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.machine import limit_threads, threads_each
    from dp2bench.datasets.folder import Folder
    from dp2bench.datasets.video import is_video_name

    check_paths(source, out)
    check_preview(source, out, preview)
    threads = threads or threads_each(workers)
    limit_threads(threads)
    as_json = out.suffix.lower() == ".json"
    if not as_json and out.is_dir() and any(out.iterdir()):
        raise Dp2benchError(f"The folder {out} is not empty.", "Choose a new folder.")
    if not as_json and out.is_file():
        raise Dp2benchError(f"{out} is a file.", "Choose a folder, or a name that ends in .json.")
    arguments = key_values("--detector-argument", detector_argument)
    arguments |= careful_argument(detector, careful=careful)
    finder = registry.create("detectors", detector, arguments)
    console = Console()
    work = _Work(finder, out, preview, max_gap, arguments, detector, workers, threads)
    counts: Counter[str] = Counter()
    with TerminalObserver(console) as observer, ExitStack() as stack:
        progress = observer.progress(f"detect with {detector}")
        alone = source.is_file() and is_video_name(source)
        folder = None if alone else Folder(source)
        names: list[str] = [sample.id for sample in folder.samples("all")] if folder else []
        rows = _folder(work, folder, progress) if folder else _frames(work, source, source.name, progress)
        put = _writer(
            out,
            names,
            as_json,
            {"detector": detector, "revision": finder.meta.revision, "arguments": arguments},
            stack,
        )
        for name, size, people in rows:
            put(name, people, size)
            counts["pictures"] += 1
            counts["people"] += len(people)
            counts["empty"] += len(people) == 0
    tell_each(console, work.left_out, label="left out:", style="yellow", most=10_000)
    tell(
        console,
        f"{counts['pictures']} pictures, {counts['people']} people found by {detector}, {counts['empty']} pictures without anybody; "
        f"{len(work.left_out)} files left out. Written: {out}",
    )
    tell(console, f"Use them: dp2bench anonymize {source} OUT --method METHOD --detections {out}")
    if work.left_out:
        raise typer.Exit(1)


@dataclass
class _Work:
    """What is to be done, whatever people are looked for in."""

    who: Detector
    out: Path
    preview: Path | None
    max_gap: int
    arguments: dict[str, Any]
    detector: str
    workers: int
    threads: int
    left_out: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the intermediate results of a video lie."""
        return self.out.with_name(f".{self.out.name}.work")


def _folder(work: _Work, folder: Folder, progress: Progress) -> Iterator[tuple[str, tuple[int, int], People]]:
    """The pictures of a folder and the frames of its videos."""
    from dp2bench.core.errors import DatasetError, PictureError
    from dp2bench.datasets.video import VideoError
    from dp2bench.pipelines.stream import detect_files, files_of, found_by
    from dp2bench.pipelines.workers import Component, Job, in_workers

    work.left_out += folder.listing.left_out
    total = len(folder.listing.pictures)
    if not total and not folder.listing.videos:
        raise DatasetError(f"The folder {folder.root} holds no pictures and no videos.", "Put some there.")
    files = files_of(folder, ["all"])
    if work.workers > 1:
        who = Component("detectors", work.detector, work.arguments)
        job = Job(Component("datasets", "folder", {"root": folder.root}), who, preview=work.preview)
        stream = in_workers(job, work.workers, work.threads)(files, False)
    else:
        finder = work.who.for_dataset(folder)
        stream = detect_files(folder, files, found_by(finder), preview=work.preview)
    for done, file in enumerate(stream, 1):
        if file.error is not None:
            if not isinstance(file.error, PictureError):
                raise file.error
            if str(file.error) not in work.left_out:
                work.left_out.append(str(file.error))
        else:
            for sample, size, people in zip(file.file.samples, file.sizes, file.people, strict=True):
                yield sample.id, size, people
        progress(done, total)
    for video in folder.listing.videos:
        try:
            yield from _frames(work, video, video.relative_to(folder.root).as_posix(), progress)
        except VideoError as error:
            work.left_out.append(str(error))
            shutil.rmtree(work.folder, ignore_errors=True)


def _frames(
    work: _Work, source: Path, name: str, progress: Progress
) -> Iterator[tuple[str, tuple[int, int], People]]:
    """The frames of a video, called by ``name``, with the people tracked in them."""
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.video import SegmentWriter, Video, join
    from dp2bench.detection.preview import draw_frame
    from dp2bench.pipelines.video import find_people, key_of, sample_of

    video = Video(source)
    folder = work.folder
    store = folder / key_of(source, work.who, work.arguments)
    found = find_people(video, work.who, store, name=name, max_gap=work.max_gap, progress=progress)
    if found.failed:
        index, reason = next(iter(found.failed.items()))
        raise Dp2benchError(
            f"{len(found.failed)} frames of {source} have no detections; the first is frame {index}: {reason}.",
            "`dp2bench anonymize` writes such frames grey; a file of detections would leave the people in them visible.",
        )
    shown = None if work.preview is None else work.preview / f"{name}.mp4"
    if shown is not None:
        shown.parent.mkdir(parents=True, exist_ok=True)
    drawn = folder / "preview.nut"
    with nullcontext() if shown is None else SegmentWriter(drawn, video.info, "libx264") as drawing:
        for frame in video:
            people = found.people(frame.index)
            if drawing is not None:
                drawing.write(draw_frame(frame.image, people), frame.pts)
            yield sample_of(source, frame.index, name).id, found.size, people
    if shown is not None:
        join([drawn], shown, video.info)
    shutil.rmtree(folder)


def _writer(
    out: Path, names: list[str], as_json: bool, info: dict[str, Any], stack: ExitStack
) -> Callable[[str, People, tuple[int, int]], None]:
    """Who writes the people of each picture; ``names`` are the pictures', where they are known before."""
    from dp2bench.core.paths import check_distinct
    from dp2bench.detection import export as saving

    if as_json:
        return stack.enter_context(saving.CocoWriter(out, info)).add
    style = saving.id_mask_style(names)
    check_distinct((saving.id_mask_name(name, style) for name in names), out)

    def write(name: str, people: People, size: tuple[int, int]) -> None:
        saving.write_id_mask(out / saving.id_mask_name(name, style), people, size)

    return write
