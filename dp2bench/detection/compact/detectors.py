"""The detectors that come with the package: person masks, body surfaces and faces, by the compact networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.types import Image, People, Sample
from dp2bench.detection.centerface import as_people
from dp2bench.detection.compact.predictor import CompactPredictor, Predictions


class _Embedded(Detector):
    """One modality of the embedded networks. See `CompactPredictor` for the arguments."""

    name = ""

    def __init__(self, *, predictor: CompactPredictor | None = None, **arguments: Any) -> None:
        self.predictor = CompactPredictor(**arguments) if predictor is None else predictor
        self.meta = ComponentMeta(self.name, "1", (self.predictor.described,))

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first."""
        del samples
        return [self._people(image, self.predictor.predict(image)) for image in images]

    def _people(self, image: Image, predictions: Predictions) -> People:
        raise NotImplementedError


class EmbeddedMask(_Embedded):
    """Persons with masks, by the network that the package embeds."""

    name = "embedded-mask"

    def _people(self, image: Image, predictions: Predictions) -> People:
        return People.of(predictions.boxes, masks=predictions.masks, scores=predictions.scores)


class EmbeddedSurface(_Embedded):
    """Persons with masks and surfaces, by the network that the package embeds, where it is sure enough of the surface."""

    name = "embedded-surface"

    def _people(self, image: Image, predictions: Predictions) -> People:
        known = [i for i, surface in enumerate(predictions.surfaces) if surface is not None]
        return People.of(
            predictions.boxes[known],
            masks=predictions.masks[known],
            surfaces=[predictions.surfaces[i] for i in known],
            scores=predictions.scores[known],
        )


class EmbeddedFace(_Embedded):
    """Faces, by the network that the package embeds; each is a detection of its own."""

    name = "embedded-face"

    def _people(self, image: Image, predictions: Predictions) -> People:
        return as_people(predictions.faces, predictions.face_scores, (image.shape[0], image.shape[1]))
