"""dp2bench detect."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.contracts import Detector, Progress
    from dp2bench.core.types import Image, People
    from dp2bench.datasets.folder import Folder


def detect(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A picture, a video, or a folder of pictures.")
    ],
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
) -> None:
    """Find the people and write them down, to be looked at, edited, and used by `dp2bench anonymize --detections`.

    People in a video are tracked, and frames in which a detector missed them are bridged. Exit code 1 when a file could not be read.

    For example:

    dp2bench detect photos/ --detector centerface --out faces.json --preview look/

    dp2bench anonymize photos/ safe/ --method blur-face --detections faces.json
    """
    from rich.console import Console

    from dp2bench.cli.arguments import check_paths, key_values
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.folder import Folder
    from dp2bench.datasets.video import is_video_name

    check_paths(source, out)
    as_json = out.suffix.lower() == ".json"
    if not as_json and out.is_dir() and any(out.iterdir()):
        raise Dp2benchError(f"The folder {out} is not empty.", "Choose a new folder.")
    if not as_json and out.is_file():
        raise Dp2benchError(f"{out} is a file.", "Choose a folder, or a name that ends in .json.")
    arguments = key_values("--detector-argument", detector_argument) | ({"careful": True} if careful else {})
    finder = registry.create("detectors", detector, arguments)
    console = Console()
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    with TerminalObserver(console) as observer, ExitStack() as stack:
        progress = observer.progress(f"detect with {detector}")
        names: list[str] = []
        if source.is_file() and is_video_name(source):
            rows = _frames(source, out, finder, max_gap, preview, progress, arguments)
        else:
            folder = Folder(source)
            names = [sample.id for sample in folder.samples("all")]
            rows = _pictures(folder, finder, progress, unreadable, preview)
        put = _writer(
            out,
            names,
            as_json,
            {"detector": detector, "revision": finder.meta.revision, "arguments": arguments},
            stack,
        )
        for name, image, people in rows:
            put(name, people, (image.shape[0], image.shape[1]))
            counts["pictures"] += 1
            counts["people"] += len(people)
            counts["empty"] += len(people) == 0
    for problem in unreadable:
        console.print(f"[yellow]left out:[/] {problem}", highlight=False, soft_wrap=True)
    console.print(
        f"{counts['pictures']} pictures, {counts['people']} people found by {detector}, {counts['empty']} pictures without anybody; "
        f"{len(unreadable)} files left out. Written: {out}",
        highlight=False,
        soft_wrap=True,
    )
    _what_next(console, source, out)
    if unreadable:
        raise typer.Exit(1)


def _pictures(
    folder: Folder, detector: Detector, progress: Progress, unreadable: list[str], preview: Path | None
) -> Iterator[tuple[str, Image, People]]:
    from dp2bench.core.errors import PictureError
    from dp2bench.core.images import read_image, write_image
    from dp2bench.detection.export import overlay

    samples = folder.samples("all")
    bound = detector.for_dataset(folder)
    for done, sample in enumerate(samples, 1):
        try:
            image = read_image(sample.path)
        except PictureError as error:
            unreadable.append(str(error))
            continue
        people = bound.detect([image], [sample])[0]
        if preview is not None:
            write_image(preview / f"{sample.id}.jpg", overlay(image, people))
        yield sample.id, image, people
        progress(done, len(samples))


def _frames(
    source: Path,
    out: Path,
    detector: Detector,
    max_gap: int,
    preview: Path | None,
    progress: Progress,
    arguments: dict[str, Any],
) -> Iterator[tuple[str, Image, People]]:
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.video import SegmentWriter, Video, join
    from dp2bench.detection.export import overlay
    from dp2bench.pipelines.video import find_people, key_of, sample_of

    video = Video(source)
    work = out.with_name(f".{out.name}.work")
    found = find_people(
        video, detector, work / key_of(source, detector, arguments), max_gap=max_gap, progress=progress
    )
    if found.failed:
        index, reason = next(iter(found.failed.items()))
        raise Dp2benchError(
            f"{len(found.failed)} frames of {source} have no detections; the first is frame {index}: {reason}.",
            "`dp2bench anonymize` writes such frames grey; a file of detections would leave the people in them visible.",
        )
    if preview is not None:
        preview.mkdir(parents=True, exist_ok=True)
    with (
        nullcontext() if preview is None else SegmentWriter(work / "preview.nut", video.info, "libx264")
    ) as drawing:
        for frame in video:
            people = found.people(frame.index)
            if drawing is not None:
                drawing.write(overlay(frame.image, people), frame.pts)
            yield sample_of(source, frame.index).id, frame.image, people
    if preview is not None:
        join([work / "preview.nut"], preview / f"{source.stem}.mp4", video.info)
    shutil.rmtree(work)


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


def _what_next(console: Console, source: Path, out: Path) -> None:
    console.print(
        f"Use them: dp2bench anonymize {source} OUT --method METHOD --detections {out}",
        highlight=False,
        soft_wrap=True,
    )
