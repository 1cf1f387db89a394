"""dp2bench anonymize."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp2bench.cli.anonymize_pictures import anonymize_pictures, anonymize_remote, as_urls
from dp2bench.cli.work import Work

if TYPE_CHECKING:
    from dp2bench.core.contracts import Dataset
    from dp2bench.core.credentials import Credentials
    from dp2bench.pipelines.workers import Job


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
    from dp2bench.core.remote import local_path
    from dp2bench.datasets.video import Selection, VideoOptions, encoder_for, is_camera, is_video_name
    from dp2bench.pipelines.workers import Component, Job

    console = Console()
    camera = is_camera(source)
    urls = None if camera else as_urls(source, target, dataset, detections)
    if urls is None:
        if not camera:
            check_paths(source, target)
        check_preview(source, target, preview)
    else:
        check_preview(local_path(urls[0]), local_path(urls[1]), preview)
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
    if watermark is not None:
        settings["watermark"] = hashlib.sha256(watermark.encode()).hexdigest()[:8]
    if edit:
        settings["edits"] = [*edit, f"strength {strength:g}"]
    work = Work(
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
        from dp2bench.cli.anonymize_videos import anonymize_camera, anonymize_one_video

        encoder_for(target, codec)
        with signing_with(job.credentials):
            done = (
                anonymize_camera(work, source, target)
                if camera
                else anonymize_one_video(work, source, target)
            )
    else:
        told = {
            "source": urls[0] if urls else source.resolve(),
            "method": [method, repr(how.meta)],
            "detector": repr(who.meta),
            "dataset": dataset,
            "seed": seed,
            "threads": threads,
            "version": __version__,
            "detections": None if detections is None else content_sha256(detections),
            "video": [max_gap, no_audio, keep_readable, repr(options)],
            "credentials": job.credentials and hashlib.sha256(job.credentials.chain.encode()).hexdigest()[:8],
        }
        with signing_with(job.credentials):
            if urls is not None:
                done = anonymize_remote(work, *urls, settings | told)
            else:
                assert opened is not None
                done = anonymize_pictures(work, opened, source, target, settings | told)
    if not done:
        raise typer.Exit(1)


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
