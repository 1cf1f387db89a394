"""Attacks that rank: from what they see of a picture to distances, and from distances to scores with floors."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.learning import Projection, Rows, centred, cosine_distances, discriminant
from dp2bench.core.attacks import Attack, Measurement, Scenario, Split, Version, View
from dp2bench.core.contracts import RunContext
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.floors import permutation_floor
from dp2bench.metrics.ranking import NoRightAnswerError, rank

RANKS = (1, 5, 10)
PERMUTATIONS = 200
CONTROL = Scenario("clear", "clear", "clear")
"""With nothing anonymized."""
ADAPTED = (
    Scenario("anonymized", "anonymized", "anonymized"),
    Scenario("anonymized", "clear", "anonymized"),
)
"""The two main scenarios of an attacker who learned from the method's output."""
_SIDES: tuple[tuple[Version, Version], ...] = (
    ("anonymized", "anonymized"),
    ("clear", "anonymized"),
    ("anonymized", "clear"),
)
GRID = (
    *ADAPTED,
    *(
        Scenario(train, query, gallery)
        for train in ("anonymized", "both", "clear")
        for query, gallery in _SIDES
        if (train, gallery) != ("anonymized", "anonymized")
    ),
)
"""Every train x query x gallery in which something is anonymized, the main ones first."""


def measure_ranking(
    distances: NDArray[np.float32],
    query: View,
    gallery: View,
    scenario: Scenario,
    context: RunContext,
    *,
    clear: dict[str, float] | None = None,
    permutations: int = PERMUTATIONS,
) -> list[Measurement]:
    """Mean average precision and rank-K of distances (Q, G), each beside its floor.

    Args:
        distances: smaller is more alike.
        query: Q pictures.
        gallery: G pictures.
        scenario: names the measurements.
        context: its seed draws the permutations.
        clear: by metric, what the same attack scores on clear pictures.
        permutations: of the floor.

    """
    labels = query.identities, gallery.identities, query.cameras, gallery.cameras
    ranking = rank(distances, *labels, threads=context.threads)
    floor = permutation_floor(
        distances,
        *labels,
        permutations=permutations,
        seed=derive_seed(context.seed, "floor", str(scenario)),
        threads=context.threads,
    )
    valid = np.flatnonzero(ranking.valid)
    names = [query.names[i] for i in valid]
    people = dict(zip(names, query.identities[valid].tolist(), strict=True))
    first = ranking.first_match_rank[valid]
    values = {"mAP": ranking.average_precision[valid]} | {f"rank-{k}": (first <= k) * 1.0 for k in RANKS}
    return [
        Measurement(
            metric=metric,
            value=float(units.mean()),
            units=dict(zip(names, units.tolist(), strict=True)),
            clusters=people,
            scenario=str(scenario),
            null=floor.values(metric),
            chance=floor.mean(metric),
            clear=(clear or {}).get(metric),
            ranking=distances if metric == "mAP" else None,
        )
        for metric, units in values.items()
    ]


def chosen_shrinkage(
    rows: Rows, people: NDArray[np.int64], cameras: NDArray[np.int64], candidates: Sequence[float]
) -> float:
    """The shrinkage whose LDA, learned on half of the identities, finds the other half best (mean average precision, both ways)."""
    if len(candidates) == 1:
        return candidates[0]
    _, order = np.unique(people, return_inverse=True)
    reached = np.zeros(len(candidates))
    for fold in (0, 1):
        held = order % 2 == fold
        labels = people[held], people[held], cameras[held], cameras[held]
        for i, shrinkage in enumerate(candidates):
            seen = discriminant(rows[~held], people[~held], shrinkage)(rows[held])
            with contextlib.suppress(NoRightAnswerError):  # nobody of this half is seen by two cameras
                reached[i] += rank(cosine_distances(seen, seen), *labels).mean_average_precision
    return candidates[int(reached.argmax())]


class RetrievalAttack(Attack):
    """Describes each picture by numbers, learns by LDA which of them tell people apart, and ranks by cosine.

    A subclass says what it sees (`describe`); each camera's mean is taken off first.
    """

    scenarios: ClassVar[Sequence[Scenario]] = ADAPTED
    shrinkages: ClassVar[Sequence[float]] = (0.3,)
    """Of the LDA; of several the one that does best on train identities, see `chosen_shrinkage`."""
    learns: ClassVar[bool] = True
    """Whether an LDA is learned; otherwise what is seen is compared as it is."""

    def __init__(self) -> None:
        self.projections: dict[str, Projection] = {}

    @abstractmethod
    def describe(self, split: Split, version: Version) -> Rows:
        """(N, D) of the pictures of one version."""

    def _seen(self, split: Split, version: Version) -> Rows:
        """What is described, without the cameras' means."""
        view = split.view(version)
        described = view.rows(f"{self.meta.name} {version}", lambda: self.describe(split, version))
        return centred(described, view.cameras)

    def fit(self, train: Split, context: RunContext) -> None:
        """One LDA for each kind of train split that a scenario names, the control's among them."""
        if not self.learns:
            return
        seen: dict[Version, Rows] = {v: self._seen(train, v) for v in ("clear", "anonymized")}
        labels = train.clear.identities
        known = labels > 0
        for kind in dict.fromkeys(s.train for s in (*self.scenarios, CONTROL)):
            versions: tuple[Version, ...] = ("clear", "anonymized") if kind == "both" else (kind,)
            rows = np.concatenate([seen[v][known] for v in versions])
            people, cameras = (np.tile(x[known], len(versions)) for x in (labels, train.clear.cameras))
            shrinkage = chosen_shrinkage(rows, people, cameras, self.shrinkages)
            self.projections[kind] = discriminant(rows, people, shrinkage)

    def distances(self, query: Split, gallery: Split) -> Iterator[tuple[Scenario, NDArray[np.float32]]]:
        """(Q, G) of each scenario, the control last."""
        sides = [{v: self._seen(s, v) for v in ("clear", "anonymized")} for s in (query, gallery)]
        for scenario in (*self.scenarios, CONTROL):
            q, g = sides[0][scenario.query], sides[1][scenario.gallery]
            if self.learns:
                project = self.projections[scenario.train]
                q, g = project(q), project(g)
            yield scenario, cosine_distances(q, g)

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`: every scenario, the control last."""
        *attacks, (_, clear) = self.distances(query, gallery)
        control = measure_ranking(clear, query.clear, gallery.clear, CONTROL, context)
        reached = {m.metric: m.value for m in control}
        found: list[Measurement] = []
        for scenario, distances in attacks:
            views = query.view(scenario.query), gallery.view(scenario.gallery)
            found += measure_ranking(distances, *views, scenario, context, clear=reached)
        return [*found, *control]

    def validate(self, query: Split, gallery: Split, context: RunContext) -> dict[str, float]:
        """How far mean average precision lies above its floor, by scenario, the control's among them: the worst attacker, and the best one
        on clear pictures, are chosen by this, on train identities.
        """
        found = {}
        for scenario, distances in self.distances(query, gallery):
            views = query.view(scenario.query), gallery.view(scenario.gallery)
            precision = measure_ranking(distances, *views, scenario, context, permutations=10)[0]
            found[str(scenario)] = precision.value - (precision.chance or 0.0)
        return found
