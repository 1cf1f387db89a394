"""Whose face is still recognised: verification and rank-1 by a face embedding with real weights, on photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.chance import p_value, quantile
from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError, PictureError
from dp2bench.core.hashing import content_sha256
from dp2bench.core.layouts import PICTURES
from dp2bench.core.results import CLUSTER, Metric
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.floors import relabel
from dp2bench.metrics.intervals import cluster_interval, lift
from dp2bench.tasks.image_quality import test_split

if TYPE_CHECKING:
    from dp2bench.core.types import Image

PERMUTATIONS = 200
SAME_PERSON = 0.6
"""Euclidean distance under which two faces are taken for the same person, see `dp2bench.networks.face_embedding`."""


class FaceIdentity(Task):
    """Faces are found in the clear pictures by CenterFace and aligned by its five points; the same place of the output is compared, as an
    attacker would who knows where the face was.

    ``verified``: the output is nearer to the person's clear face than the threshold. ``rank-1``: of all clear faces the person's is the
    nearest. Floors compare outputs with another person's face, and deal names out anew. Whoever has no identity in the dataset is somebody of their own.

    Args:
        split: of the dataset; by default the one that the field tests on.
        threshold: distance of embeddings under which two faces are one person.
        smallest: pixels of a face's height in the clear picture; smaller ones are left out.
        limit: the most pictures; of more, evenly spaced ones are taken.
        weights: a file of `dp2bench weights convert face-embedding`; by default the one in the folder of weights.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="face-identity",
        version="1",
        kind="privacy",
        main_score="verified",
        layouts=PICTURES,
        metrics={
            "verified": Metric(
                higher_is_better=False,
                title="faces verified as the same person",
                description="Share of faces whose output is taken for the same person as their clear picture.",
            ),
            "rank-1": Metric(
                higher_is_better=False,
                title="faces found among all clear faces",
                description="Share of faces whose output is nearest to a clear face of their person.",
            ),
        },
        columns=("verified", "rank-1"),
        description="Whose face a network with real weights still recognises: verification, and rank-1 among all faces.",
        reference="King, dlib's face recognition ResNet, 2017; verification as in arXiv 1909.04538 (DeepPrivacy) and others.",
    )

    def __init__(
        self,
        *,
        split: str | None = None,
        threshold: float = SAME_PERSON,
        smallest: int = 40,
        limit: int = 2000,
        weights: str | None = None,
    ) -> None:
        self.split, self.threshold = split, float(threshold)
        self.smallest, self.limit = int(smallest), int(limit)
        self.weights = weights
        if self.threshold <= 0 or self.limit < 1:
            raise Dp2benchError(
                f"face-identity: threshold {threshold} and limit {limit} must be positive.",
                f"Leave them out for {SAME_PERSON} and 2000.",
            )
        if weights is not None and not Path(weights).expanduser().is_file():
            raise Dp2benchError(
                f"There is no file {weights} (weights of face-identity).",
                "Make it with `dp2bench weights convert face-embedding PACKAGE`, and leave weights out.",
            )

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        file = None if self.weights is None else content_sha256(Path(self.weights).expanduser())
        return {
            "split": self.split,
            "threshold": self.threshold,
            "smallest": self.smallest,
            "limit": self.limit,
            "weights": file,
        }

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`."""
        return (test_split(dataset, self.split),)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Units are faces, named ``person::sample:face``; intervals draw people, or pictures where nobody is named."""
        from dp2bench.networks import face_embedding
        from dp2bench.weights import packages

        file = packages.installed(face_embedding.NAME) if self.weights is None else Path(self.weights)
        network = face_embedding.load(file.expanduser(), context.device)
        (split,) = self.splits(clear)
        faces = self._faces(clear, anonymized, split, context)
        before, after = (face_embedding.embed(network, crops) for crops in (faces.clear, faces.anonymized))
        record(faces.names, np.array(faces.people), faces.clusters, before, after, self.threshold, context)

    def _faces(self, clear: Dataset, anonymized: Dataset, split: str, context: RunContext) -> _Faces:
        from dp2bench.detection.centerface import CenterFace
        from dp2bench.networks import face_embedding

        finder = CenterFace(long=1280, score_threshold=0.6)
        others = {s.id: s for s in anonymized.samples(split)}
        samples = [s for s in clear.samples(split) if s.id in others and s.labels.get("identity", 1) > 0]
        if len(samples) > self.limit:
            samples = [samples[i] for i in np.linspace(0, len(samples) - 1, self.limit).round().astype(int)]
        faces = _Faces()
        for done, sample in enumerate(samples, 1):
            context.progress(done, len(samples))
            try:
                pair = clear.read(sample), anonymized.read(others[sample.id])
            except PictureError:  # counted by the coverage
                continue
            if pair[0].shape != pair[1].shape:
                raise DatasetError(
                    f"{sample.id} is {pair[0].shape[1]}x{pair[0].shape[0]} pixels, its output "
                    f"{pair[1].shape[1]}x{pair[1].shape[0]}.",
                    "Compare pictures of the same size: a face is looked for where it was.",
                )
            boxes, _, points = finder.faces(pair[0])
            for i, five in enumerate(points[boxes[:, 3] - boxes[:, 1] >= self.smallest]):
                named = sample.labels.get("identity")
                faces.names.append(f"{sample.id}:{i}")
                faces.people.append(-len(faces.people) - 1 if named is None else int(named))
                faces.clusters.append(str(sample.id if named is None else named))
                for kept, picture in zip((faces.clear, faces.anonymized), pair, strict=True):
                    kept.append(face_embedding.align(picture, five))
        if len(set(faces.people)) < 2:
            raise DatasetError(
                f"The {split} split of {clear.meta.name} shows the faces of {len(set(faces.people))} people, {self.smallest} pixels "
                "high or more.",
                "Take photographs with larger faces, or lower `smallest`.",
            )
        return faces


class _Faces:
    """The faces of a split: names, people, what intervals draw, and aligned crops."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.people: list[int] = []
        self.clusters: list[str] = []
        self.clear: list[Image] = []
        self.anonymized: list[Image] = []


def record(
    names: Sequence[str],
    people: NDArray[np.int64],
    clusters: Sequence[str],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    threshold: float,
    context: RunContext,
) -> None:
    """Record how many outputs are verified, and how many are nearest to their person's clear face.

    Args:
        names: of N faces.
        people: (N,) whose they are.
        clusters: what intervals draw.
        before: (N, D) embeddings of the clear faces.
        after: (N, D) of the same faces in the output.
        threshold: Euclidean distance under which two faces are one person.
        context: takes the scores.

    """
    lengths = [(x.astype(np.float64) ** 2).sum(1) for x in (before, after)]
    squares = lengths[0][:, None] + lengths[1][None] - 2 * before.astype(np.float64) @ after.T
    near = squares < threshold**2
    nearest = squares.argmin(0)
    faces = np.arange(len(people))
    random = np.random.default_rng(derive_seed(context.seed, "floor"))
    # whoever is nearest, somebody has that name; but no output is verified against its own face by chance
    dealt = [random.permutation(people) for _ in range(PERMUTATIONS)]
    orders = [relabel(people, np.zeros_like(people), random) for _ in range(PERMUTATIONS)]
    for metric, units, null in (
        ("verified", near.diagonal(), [near[o, faces].mean() for o in orders]),
        ("rank-1", people[nearest] == people, [(people[nearest] == other).mean() for other in dealt]),
    ):
        value, chance = float(units.mean()), float(np.mean(null))
        context.record(
            metric,
            {f"{c}{CLUSTER}{n}": float(u) for c, n, u in zip(clusters, names, units, strict=True)},
            chance=chance,
            chance_high=quantile(null),
            p_value=p_value(null, value),
            # a face that is not anonymized is the clear one
            lift=lift(value, chance, 1.0) if chance < 1 else None,
            ci95=cluster_interval(
                units.astype(float), clusters, seed=derive_seed(context.seed, "identities")
            ),
        )
