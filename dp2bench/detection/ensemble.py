"""DeepPrivacy2's detection: detectors of different modality, and what they offer a generator together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dp2bench.core import registry
from dp2bench.core.contracts import ComponentMeta, Dataset, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, Image, People, Sample, SurfaceMap, fill_boxes
from dp2bench.detection import checkpoints, matching
from dp2bench.detection.compact.detectors import EmbeddedFace, EmbeddedMask, EmbeddedSurface
from dp2bench.detection.compact.predictor import PERSON_SCORE, CompactPredictor
from dp2bench.detection.keypoints import WithKeypoints, assign_keypoints
from dp2bench.detection.rcnn.detectors import CSEDetector, MaskRCNNDetector
from dp2bench.inpainting import crops as cutting
from dp2bench.weights.catalogue import MissingWeightsError

_BODY_CROP = (288, 160)

Preset = Literal["published", "published-market1501"]
_PUBLISHED: Mapping[str, Any] = {
    "mask_rcnn": "official", "cse": "official", "face": "dsfd", "keep_unmatched": False, "max_detections": 100,
}  # fmt: skip
_SCORES: Mapping[str, tuple[float, float, float]] = {
    "published": (0.3, 0.3, 0.3),
    "published-market1501": (0.1, 0.3, 0.5),
}
"""From which the repository's configurations take persons, surfaces and faces."""


class Ensemble(Detector):
    """Persons with a surface, persons without, and faces of nobody else's.

    A person whose mask matches a surface detection gets the union of both masks and the surface. The published code
    drops surface detections that match no mask, and faces inside the box of a dilated person even where that person
    has a face already, so that they stay visible; here nobody is dropped unless ``keep_unmatched`` is False.

    Args:
        instance: finds persons with masks.
        surface: finds persons with masks and surfaces.
        face: finds faces (``faces``, or ``boxes`` where it gives none).
        keypoints: finds keypoints, which go to the persons and faces that they belong to; see `keypoints.assign_keypoints`.
        iou: from which a mask and a surface detection are one person.
        keep_unmatched: nobody whom any detector found is dropped; False reproduces the published code.

    """

    def __init__(
        self,
        instance: Detector,
        surface: Detector | None = None,
        face: Detector | None = None,
        keypoints: Detector | None = None,
        *,
        iou: float = matching.COMBINE_IOU,
        keep_unmatched: bool = True,
    ) -> None:
        if not 0 < iou <= 1:
            raise ValueError(f"iou must be in (0, 1], got {iou}")
        self.instance, self.surface, self.face, self.keypoints = instance, surface, face, keypoints
        self.iou = iou
        self.keep_unmatched = keep_unmatched
        metas = [d.meta for d in self._detectors]
        self.meta = ComponentMeta(
            "deepprivacy2",
            "+".join(["1", *(f"{m.name}:{m.revision}" for m in metas)]),
            tuple(w for m in metas for w in m.weights),
        )

    @property
    def _detectors(self) -> list[Detector]:
        return [d for d in (self.instance, self.surface, self.face, self.keypoints) if d is not None]

    @property
    def uses_annotations(self) -> bool:
        """Whether a part takes its people from a dataset's annotations, so that the time it takes says nothing."""
        return any(d.uses_annotations for d in self._detectors)

    def with_keypoint_detector(self, keypoints: Detector) -> Ensemble:
        """The same ensemble with this detector of keypoints."""
        return Ensemble(
            self.instance,
            self.surface,
            self.face,
            keypoints,
            iou=self.iou,
            keep_unmatched=self.keep_unmatched,
        )

    def for_dataset(self, dataset: Dataset) -> Ensemble:
        """The same detector for one dataset."""
        return Ensemble(
            self.instance.for_dataset(dataset),
            None if self.surface is None else self.surface.for_dataset(dataset),
            None if self.face is None else self.face.for_dataset(dataset),
            None if self.keypoints is None else self.keypoints.for_dataset(dataset),
            iou=self.iou,
            keep_unmatched=self.keep_unmatched,
        )

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture: persons in the order of ``instance``, then what only others found."""
        return [self._detect(image, sample) for image, sample in zip(images, samples, strict=True)]

    def _detect(self, image: Image, sample: Sample) -> People:
        # One picture at a time: full-size masks of a whole batch, three times over, would fill the memory.
        return self.combined(*self.parts(image, sample), image)

    def parts(self, image: Image, sample: Sample) -> tuple[People, People, People, People]:
        """What ``instance``, ``surface``, ``face`` and ``keypoints`` find, each by itself."""
        instance, surface, face, keypoints = (
            People.none((image.shape[0], image.shape[1])) if d is None else d.detect([image], [sample])[0]
            for d in (self.instance, self.surface, self.face, self.keypoints)
        )
        return instance, surface, face, keypoints

    def combined(
        self, instance: People, surface: People, face: People, keypoints: People, image: Image
    ) -> People:
        """The people of `parts`: those of ``instance`` come first, in its order."""
        size = (image.shape[0], image.shape[1])
        people = combine(instance, surface, face, size, iou=self.iou, keep_unmatched=self.keep_unmatched)
        return people if self.keypoints is None else assign_keypoints(people, keypoints)


def deepprivacy2(*, preset: Preset | None = None, **given: Any) -> Ensemble:
    """The ensemble: of the published networks where one is named, else of the networks that the package embeds.

    Args:
        preset: ``published``: the published networks as the repository has them: scores from 0.3, 100 detections a picture at most,
            and surfaces that match no mask dropped. ``published-market1501``: the same with the scores of its configurations for
            Market-1501, which are the paper's: persons 0.1, surfaces 0.3, faces 0.5. What is given beside it goes before it.
        given: arguments of `ensemble`.

    """
    if preset is None:
        return ensemble(**given)
    if preset not in get_args(Preset):
        raise ValueError(f"preset is {' or '.join(get_args(Preset))}, not {preset!r}")
    person, surface, face = _SCORES[preset]
    usual = {**_PUBLISHED, "person_score": person, "surface_score": surface}
    if given.get("face", "dsfd") == "dsfd":
        usual["face_arguments"] = {"score_threshold": face, **given.pop("face_arguments", {})}
    return ensemble(**{**usual, **given})


def ensemble(
    *,
    mask_rcnn: str | Path | None = None,
    cse: str | Path | None = None,
    face: str | None = None,
    face_arguments: Mapping[str, Any] | None = None,
    keypoints: str | None = None,
    keypoints_arguments: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    person_score: float | None = None,
    surface_score: float = 0.3,
    max_detections: int | None = None,
    short: int = 800,
    long: int = 1333,
    device: str | None = None,
    **given: Any,
) -> Ensemble:
    """`deepprivacy2` without presets.

    Args:
        mask_rcnn: path to Mask R-CNN's checkpoint, a name of the catalogue of weights, or ``official`` for the published one in
            the user's folder of weights, which is also taken where only ``cse`` is given.
        cse: path to the CSE network's checkpoint, in the same way.
        face: registered name of a detector of faces. None is none beside the published networks, and ``embedded-face`` beside the
            embedded ones.
        face_arguments: its arguments.
        keypoints: registered name of a detector of keypoints, e.g. ``torchvision-keypoint-rcnn``; None is none.
        keypoints_arguments: its arguments.
        weights: path to weights of the embedded networks; None takes the package's.
        person_score: detections of persons must score higher; None is 0.1 for Mask R-CNN's, as in the paper's evaluation, and
            `PERSON_SCORE` for the embedded network's.
        surface_score: CSE's must score higher.
        max_detections: people that each of the published networks keeps in a picture, all where None; see `MaskRCNNDetector`.
        short: pixels that a picture's shorter side is scaled to for the published networks,
        long: unless the longer would then exceed this.
        device: torch device of all but ``face`` and ``keypoints``.
        given: further arguments of `Ensemble`.

    """
    missing: list[str] = []
    faces = _named("face", face, face_arguments, "centerface", missing)
    points = _named("keypoints", keypoints, keypoints_arguments, "torchvision-keypoint-rcnn", missing)
    if mask_rcnn is None and cse is None:
        if missing:
            raise MissingWeightsError(missing, "The detector 'deepprivacy2'")
        score_threshold = PERSON_SCORE if person_score is None else person_score
        predictor = CompactPredictor(weights=weights, person_score=score_threshold, device=device)
        return Ensemble(
            EmbeddedMask(predictor=predictor),
            EmbeddedSurface(predictor=predictor),
            faces or EmbeddedFace(predictor=predictor),
            points,
            **given,
        )
    if weights is not None:
        raise Dp2benchError(
            "The ensemble got weights of the embedded networks, and weights of others.",
            "Leave out `weights`, or `mask_rcnn` and `cse`.",
        )
    paths: list[Path] = []
    published: tuple[tuple[type[MaskRCNNDetector | CSEDetector], str | Path | None], ...] = (
        (MaskRCNNDetector, mask_rcnn),
        (CSEDetector, cse),
    )
    for kind, asked in published:
        try:
            paths.append(checkpoints.find(asked, kind.name, kind.official))
        except MissingWeightsError as error:
            missing += error.names
    if missing:
        raise MissingWeightsError(
            list(dict.fromkeys(missing)),
            "The detector 'deepprivacy2'",
            "Or leave out `mask_rcnn` and `cse`: the embedded networks need no download.",
        )
    common: dict[str, Any] = {
        "device": device,
        "max_detections": max_detections,
        "short": short,
        "long": long,
    }
    return Ensemble(
        MaskRCNNDetector(
            weights=paths[0], score_threshold=0.1 if person_score is None else person_score, **common
        ),
        CSEDetector(weights=paths[1], score_threshold=surface_score, **common),
        faces,
        points,
        **given,
    )


def _named(
    part: str, name: str | None, arguments: Mapping[str, Any] | None, example: str, missing: list[str]
) -> Detector | None:
    """The detector of a part of the ensemble, by registered name; None too where its weights are not there, which then are in ``missing``."""
    if name is not None:
        try:
            made: Detector = registry.create("detectors", name, dict(arguments or {}))
        except MissingWeightsError as error:
            missing += error.names
            return None
        return made
    if arguments:
        raise Dp2benchError(
            f"The ensemble got {part}_arguments and no {part} to give them to.",
            f"Name the detector: {part}: {example}.",
        )
    return None


def combine(
    instance: People,
    surface: People,
    face: People,
    size: tuple[int, int],
    *,
    iou: float = matching.COMBINE_IOU,
    keep_unmatched: bool = False,
) -> People:
    """One picture's people from three detectors' answers; see `Ensemble`. ``size`` is (H, W)."""
    masks, others = matching.masks_of(instance, size), matching.masks_of(surface, size)
    pairs = matching.match(matching.pairwise_iou(masks, others), iou)
    boxes, scores = instance.boxes.copy(), instance.scores.copy()
    surfaces: list[SurfaceMap | None] = list(instance.surfaces)
    masks = masks.copy()
    for i, j in pairs:
        masks[i] |= others[j]
        tight = _tight(masks[i], boxes[i])
        boxes[i, :2] = np.minimum(tight[:2], surface.boxes[j, :2])
        boxes[i, 2:] = np.maximum(tight[2:], surface.boxes[j, 2:])
        surfaces[i] = surface.surfaces[j]
    if keep_unmatched:
        alone = sorted(set(range(len(surface))) - {j for _, j in pairs})
        boxes = np.concatenate((boxes, surface.boxes[alone]))
        scores = np.concatenate((scores, surface.scores[alone]))
        masks = np.concatenate((masks, others[alone]))
        surfaces += [surface.surfaces[j] for j in alone]
    persons = People.of(boxes, masks=masks, surfaces=surfaces, scores=scores)
    return _with_faces(persons, *_faces(face), size, keep_unmatched=keep_unmatched)


def _with_faces(
    persons: People,
    faces: NDArray[np.float32],
    face_scores: NDArray[np.float32],
    size: tuple[int, int],
    *,
    keep_unmatched: bool,
) -> People:
    """Persons with the faces inside them, and the other faces as detections of their own.

    A face belongs to the smallest person around it who has none yet.
    """
    who, outer = _dilated_boxes(persons, size)
    inside = matching.covered(faces, outer)
    areas = (outer[:, 2:] - outer[:, :2]).prod(1)
    own = np.full((len(persons), 4), np.nan, np.float32)
    free = []
    for i in range(len(faces)):
        around = np.flatnonzero(inside[i])
        without = [j for j in around if np.isnan(own[who[j], 0])]
        if without:
            own[who[min(without, key=lambda j: areas[j])]] = faces[i]
        elif not len(around) or keep_unmatched:
            free.append(i)
    assert persons.masks is not None
    return People.of(
        np.concatenate((persons.boxes, faces[free])),
        masks=np.concatenate((persons.masks, fill_boxes(faces[free], size))),
        faces=np.concatenate((own, faces[free])),
        surfaces=(*persons.surfaces, *(None for _ in free)),
        categories=np.concatenate((persons.categories, np.full(len(free), Category.FACE, np.int8))),
        scores=np.concatenate((persons.scores, face_scores[free])),
    )


def _dilated_boxes(persons: People, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(K,) indices of the persons who get a crop, and (K, 4) the pixels' box of their dilated masks."""
    who, boxes = [], []
    for region in cutting.plan_crops(persons, size, "body", _BODY_CROP).regions:
        x, y, w, h = cutting.bounds(region.crop_mask)
        x0, y0, x1, y1 = region.box
        rows, columns = region.crop_mask.shape
        boxes.append(
            (
                x0 + x * (x1 - x0) // columns,
                y0 + y * (y1 - y0) // rows,
                x0 + (x + w) * (x1 - x0) // columns,
                y0 + (y + h) * (y1 - y0) // rows,
            )
        )
        who.append(region.person)
    return np.array(who, np.int64), np.array(boxes, np.int64).reshape(-1, 4)


def _faces(found: People) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((N, 4) faces, (N,) scores) of those who have one."""
    faces = found.boxes if found.faces is None else found.faces
    seen = np.isfinite(faces).all(1)
    return faces[seen], found.scores[seen]


def _tight(mask: NDArray[np.bool_], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) box of a mask's pixels, or the given one where there are none."""
    x, y, w, h = cutting.bounds(mask.view(np.uint8))
    return np.array([x, y, x + w, y + h], np.float32) if w else box


def with_keypoints(
    *,
    detector: str,
    arguments: Mapping[str, Any] | None = None,
    keypoints: str = "torchvision-keypoint-rcnn",
    keypoints_arguments: Mapping[str, Any] | None = None,
) -> Detector:
    """Any detector's people with another detector's keypoints, both by registered name; the ensemble takes ``keypoints`` itself.

    Args:
        detector: finds the people.
        arguments: its arguments.
        keypoints: finds keypoints.
        keypoints_arguments: its arguments.

    """
    missing: list[str] = []
    who = _named("detector", detector, arguments, detector, missing)
    points = _named("keypoints", keypoints, keypoints_arguments, keypoints, missing)
    if who is None or points is None:
        raise MissingWeightsError(list(dict.fromkeys(missing)), "The detector 'with-keypoints'")
    return who.with_keypoint_detector(points) if isinstance(who, Ensemble) else WithKeypoints(who, points)
