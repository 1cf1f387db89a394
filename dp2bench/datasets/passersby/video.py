"""`passersby-video`: people who cross a square, filmed by a fixed camera, with the track of each; made on first use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from dp2bench.core.errors import DatasetError
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.passersby.base import RenderedScenes
from dp2bench.datasets.passersby.video_builder import (
    CLIPS,
    SIZES,
    SPLIT,
    TRACKS,
    ClipWriter,
    VideoBuilder,
    video_info,
)
from dp2bench.datasets.video import Video


class PassersbyVideo(RenderedScenes):
    """Rendered people who cross a square, filmed by a fixed camera; `People.track_ids` are their identities.

    Samples are frames, ``0000/000012`` the 13th of the first clip; reading them in order is quick. Labels: ``clip``,
    ``frame``, ``seconds``. Grain, exposure and background stand still.

    Args:
        size: ``smoke`` (2 s), ``mini`` (20 s at 10 frames a second, 640 x 360) or ``large`` (24 clips at 25, 1280 x 720);
            by default that of the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    layout: ClassVar[str] = "video"
    builder = VideoBuilder

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        self.root = self._bind(size, root)
        self.meta = self._describe((SPLIT,), "Rendered passers-by who cross a square, with tracks")
        self._samples: list[Sample] | None = None
        self._playing: tuple[Path, int, Iterator[tuple[int, Image]]] | None = None

    def samples(self, split: str) -> Sequence[Sample]:
        """The frames of every clip; the only split is ``all``."""
        if split != SPLIT:
            raise DatasetError(f"{self.meta.name} has no split {split!r}.", f"Its only split is {SPLIT!r}.")
        if self._samples is None:
            self.prepare()
            rate = SIZES[self.size].rate
            clips = sorted((self.root / CLIPS).glob("*.mp4"))
            if not clips:
                raise DatasetError(
                    f"{self.root / CLIPS} holds no clips.", "Give the root of a rewritten copy, or none."
                )
            self._samples = [
                Sample(
                    SampleId(f"{clip.stem}/{frame:06d}"),
                    clip / f"{frame:06d}",
                    {"clip": clip.stem, "frame": frame, "seconds": frame / rate},
                )
                for clip in clips
                for frame, _ in self._numbered(clip)
            ]
        return self._samples

    def _numbered(self, clip: Path) -> Iterator[tuple[int, Image]]:
        video = Video(clip)
        for frame in video:
            yield round(frame.pts * video.info.time_base * SIZES[self.size].rate), frame.image

    def read(self, sample: Sample) -> Image:
        """See `Dataset.read`. A frame that follows the one read before costs one decoding, any other a whole clip's."""
        clip, wanted = sample.path.parent, int(sample.path.name)
        if self._playing is None or self._playing[0] != clip or self._playing[1] >= wanted:
            self._playing = clip, -1, self._numbered(clip)
        for number, image in self._playing[2]:
            self._playing = clip, number, self._playing[2]
            if number == wanted:
                return image
        self._playing = None
        raise DatasetError(f"{clip} has no frame {wanted}.", "Use one of the dataset's samples.")

    def people(self, sample: Sample) -> People:
        """The exact people of a frame with their tracks, nearest last; also for the samples of a copy."""
        return replace(super().people(sample), track_ids=np.array(self.identities(sample), np.int64))

    def _picture(self, sample: Sample) -> tuple[str, str]:
        return SPLIT, sample.id

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> PassersbyVideo:
        """A copy with these pictures as its frames, in the order of `samples`; tracks are copied.

        Raises:
            DatasetError: a picture is not one of this dataset or comes out of order, or ``out`` is this dataset.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        known = {s.id: i for i, s in enumerate(self.samples(SPLIT))}
        for folder in (CLIPS, TRACKS):
            (out / folder).mkdir(parents=True, exist_ok=True)
        writer: ClipWriter | None = None
        name, last = "", -1
        try:
            for _, sample_id, image in images:
                if known.get(sample_id, -1) <= last:
                    raise DatasetError(
                        f"{self.meta.name} has no frame {sample_id} after the one before it.",
                        "Hand over frames in the order of the samples.",
                    )
                last = known[sample_id]
                clip, _, frame = sample_id.partition("/")
                if writer is None or clip != name:
                    if writer is not None:
                        writer.__exit__(None, None, None)
                    name, writer = clip, ClipWriter(out / CLIPS / f"{clip}.mp4", video_info(SIZES[self.size]))
                    tracks = (self.original / TRACKS / f"{clip}.txt").read_bytes()
                    (out / TRACKS / f"{clip}.txt").write_bytes(tracks)
                assert image is not None  # `written` names no file
                writer.write(image, int(frame))
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, error.__traceback__)
            raise
        if writer is not None:
            writer.__exit__(None, None, None)
        return self.open(out)

    def verify(self) -> None:
        """Compare every file with the manifest (original), and decode the clips; raises DatasetError."""
        if self.is_original:
            self.generated.verify()
        self.samples(SPLIT)

    def fingerprint(self) -> str:
        """sha256 over version and clips."""
        digest = hashlib.sha256(self.meta.version.encode())
        self.prepare()
        for clip in sorted((self.root / CLIPS).glob("*.mp4")):
            digest.update(f"{clip.name}\0".encode() + hashlib.sha256(clip.read_bytes()).digest())
        return digest.hexdigest()
