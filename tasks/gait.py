"""Who walks there: re-identification by gait, on folders of tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.chance import p_value, quantile
from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError, PictureError
from dp2bench.core.results import CLUSTER, Metric, Scenario
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.intervals import cluster_interval, lift

if TYPE_CHECKING:
    from dp2bench.attacks.gait import Walks
    from dp2bench.core.attacks import Extract

SILHOUETTES = ("segmented", "given")
FOLDS = 4
_Clips = dict[tuple[str, str], list[NDArray[np.uint8]]]
PERMUTATIONS = 200
FEWEST = 2 * FOLDS
"""People with two clips or more without whom nothing can be learned."""
_FRAME = (128, 64)
_ABOVE = 0.02
"""How far gait must come above chance on clear pictures before a share of that means anything."""


class Gait(Task):
    """Gait energy images and an LDA, in four folds: learned from the walks of three quarters of the people, as the method leaves them, and
    asked about the rest, of whom the first half of the clips look for the others. The floor deals the clips' names out anew.

    Pictures are named ``person/clip/frame``, frames in the order of their names; each shows one person. `passersby-video` is not read:
    its walkers share one way of walking, so that gait tells nobody apart there.

    Args:
        silhouettes: ``segmented`` by the embedded detector's body network, or ``given`` where frames are silhouettes, light on dark.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="gait",
        version="1",
        kind="privacy",
        main_score="anonymized.rank-1",
        layouts=("folder",),
        metrics={
            "mAP": Metric(higher_is_better=False, title="mean average precision of clips"),
            **{
                f"rank-{k}": Metric(
                    higher_is_better=False, title=f"clips whose person is among the first {k} answers"
                )
                for k in (1, 5)
            },
        },
        scenarios={
            "anonymized": Scenario(
                description="learned from walks as the method leaves them, and asked about such"
            ),
            "clear": Scenario(description="control: nothing is anonymized", clear_only=True),
        },
        columns=("anonymized.rank-1",),
        description="Re-identification by the way people walk: gait energy images of folders of tracks.",
        reference="Han and Bhanu, TPAMI 2006 (gait energy images); arXiv 2211.06597.",
    )

    def __init__(self, *, silhouettes: str = SILHOUETTES[0]) -> None:
        if silhouettes not in SILHOUETTES:
            raise Dp2benchError(
                f"gait: silhouettes cannot be {silhouettes!r}.", f"Choose of: {', '.join(SILHOUETTES)}."
            )
        self.silhouettes = silhouettes

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {"silhouettes": self.silhouettes}

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`."""
        return (dataset.meta.splits[0],)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Units are clips, named ``person::person/clip``."""
        from dp2bench.attacks.gait import described
        from dp2bench.attacks.networks import extractor

        extract = extractor(
            context.cache, device=context.device, threads=context.threads, progress=context.progress
        )
        versions = {"clear": self._clips(clear), "anonymized": self._clips(anonymized)}
        both = versions["clear"].keys() & versions["anonymized"].keys()  # the same people in the same folds
        found = {}
        for scenario, clips in versions.items():
            walks = self._walks({k: v for k, v in clips.items() if k in both}, clear.meta.name, extract)
            found[scenario] = _ranked(walks.names, walks.identities, described(walks), context)
        _record(found, context)

    def _clips(self, dataset: Dataset) -> _Clips:
        """Readable frames by person and clip."""
        from dp2bench.attacks.views import resized

        clips: _Clips = {}
        (split,) = self.splits(dataset)
        for sample in sorted(dataset.samples(split), key=lambda s: s.id):
            parts = PurePosixPath(sample.id).parts
            if len(parts) < 3:
                raise DatasetError(
                    f"{sample.id} is not named person/clip/frame.",
                    "Give a folder of people, each a folder of clips, each a folder of frames.",
                )
            try:
                picture = dataset.read(sample)
            except PictureError:  # counted by the coverage
                continue
            if self.silhouettes == "segmented":
                picture = resized(picture, _FRAME)
            clips.setdefault((parts[0], "/".join(parts[1:-1])), []).append(picture)
        return clips

    def _walks(self, clips: _Clips, dataset: str, extract: Extract) -> Walks:
        """Silhouettes of people with several clips. DatasetError where they are too few."""
        from dp2bench.attacks.gait import Walks
        from dp2bench.attacks.networks import OUTLINE_SIZE, OUTLINES

        people = sorted({person for person, _ in clips})
        several = [p for p in people if sum(person == p for person, _ in clips) > 1]
        if len(several) < FEWEST:
            raise DatasetError(
                f"{dataset} has {len(several)} people with two clips or more; {FEWEST} are needed.",
                "Take a larger folder of tracks.",
            )
        kept = [key for key in clips if key[0] in several]
        if self.silhouettes == "segmented":
            chances = extract(OUTLINES, np.concatenate([np.stack(clips[k]) for k in kept]))
            masks = chances.reshape(len(chances), *OUTLINE_SIZE[::-1]) > 0.5
            parted = np.split(masks, np.cumsum([len(clips[k]) for k in kept])[:-1])
        else:
            parted = [np.stack([p.max(2) > 127 for p in clips[k]]) for k in kept]
        return Walks(
            tuple("/".join(k) for k in kept),
            np.array([1 + several.index(k[0]) for k in kept], np.int64),
            tuple(parted),
        )


class _Ranked:
    """What a version's clips find: units by metric, clusters, and what dealt-out names find."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, float]] = {"mAP": {}, "rank-1": {}, "rank-5": {}}
        self.people: dict[str, str] = {}
        self.nulls: dict[str, list[NDArray[np.float64]]] = {metric: [] for metric in self.units}

    def null(self, metric: str) -> NDArray[np.float64]:
        """(P,) of all folds together."""
        out: NDArray[np.float64] = np.sum(self.nulls[metric], 0) / len(self.units[metric])
        return out


def _ranked(
    names: Sequence[str], people: NDArray[np.int64], rows: NDArray[np.float32], context: RunContext
) -> _Ranked:
    from dp2bench.attacks.gait import folds, match
    from dp2bench.metrics.floors import permutation_floor
    from dp2bench.metrics.ranking import rank

    first = np.zeros(len(people), np.bool_)
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        first[own[: len(own) // 2]] = True
    out = _Ranked()
    for k, asked in enumerate(folds(people, FOLDS, derive_seed(context.seed, "folds"))):
        query, gallery = np.flatnonzero(asked & first), np.flatnonzero(asked & ~first)
        distances = match(rows[~asked], people[~asked], rows[query], rows[gallery])
        labels = people[query], people[gallery], np.zeros(len(query), int), np.ones(len(gallery), int)
        ranking = rank(distances, *labels, threads=context.threads)
        floor = permutation_floor(
            distances,
            *labels,
            permutations=PERMUTATIONS,
            seed=derive_seed(context.seed, "floor", k),
            derange=False,
            threads=context.threads,
        )
        clips = [names[i] for i in query.tolist()]
        places = ranking.first_match_rank
        for metric, units in (
            ("mAP", ranking.average_precision),
            ("rank-1", places <= 1),
            ("rank-5", places <= 5),
        ):
            out.units[metric] |= dict(zip(clips, units.astype(float).tolist(), strict=True))
            out.nulls[metric].append(floor.values(metric) * len(query))
        out.people |= {c: c.split("/")[0] for c in clips}
    return out


def _record(found: Mapping[str, _Ranked], context: RunContext) -> None:
    for metric in ("mAP", "rank-1", "rank-5"):
        clear = float(np.mean(list(found["clear"].units[metric].values())))
        for scenario, ranked in found.items():
            units, null = ranked.units[metric], ranked.null(metric)
            value, chance = float(np.mean(list(units.values()))), float(null.mean())
            share = None
            if scenario != "clear" and clear > chance + _ABOVE:
                share = lift(value, chance, clear)
            context.record(
                metric,
                {f"{ranked.people[clip]}{CLUSTER}{clip}": v for clip, v in units.items()},
                scenario=scenario,
                chance=chance,
                chance_high=quantile(null),
                p_value=p_value(null, value),
                lift=share,
                ci95=cluster_interval(
                    list(units.values()),
                    [ranked.people[clip] for clip in units],
                    seed=derive_seed(context.seed, "identities"),
                ),
            )
