"""Who tries to re-identify: every attack on one method, and the worst of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dp2bench.core import registry
from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.figures import Curve, Curves, PeopleSheet, Sighting, write_data
from dp2bench.core.layouts import REID
from dp2bench.core.results import CLUSTER, Metric, Scenario
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.intervals import cluster_interval, lift
from dp2bench.tasks.market1501_reid import easiest

if TYPE_CHECKING:
    from dp2bench.core.attacks import Attack, Measurement, Split

MINI = ("adaptive", "ensemble", "silhouette", "inside", "rim", "pose", "tracing", "attributes", "swap")
"""The attacks that take seconds once features are there."""
SPLITS = ("train", "query", "gallery")
WORST = "worst"
CLEAR = "clear-clear-clear"
_VERSIONS = {"clear": "clear", "anonymized": "anonymized", "both": "clear and anonymized"}
_SCENARIOS: Mapping[str, tuple[str, str, str]] = {
    f"{train}-{query}-{gallery}": (train, query, gallery)
    for train in _VERSIONS
    for query in ("clear", "anonymized")
    for gallery in ("clear", "anonymized")
    if "anonymized" in (query, gallery)
}
"""What the attacker learned from, queries and gallery of each scenario in which something is anonymized."""
_FOLDS = 2
_ABOVE = 0.02
"""How far an attack must come above chance on clear pictures before a share of that means anything."""


@dataclass
class _Outcome:
    """What one attack found, and how it did on train identities that it had not learned from."""

    attack: Attack
    found: Sequence[Measurement]
    validated: Mapping[str, float]


class PrivacyAttacks(Task):
    """Attacks that learn from the train split, anonymized by the method, and look for people they never saw.

    The headline, ``worst``, is the attack and scenario that did best on held-out *train* identities; its score on the test identities
    is reported, so that choosing among many does not flatter it. Scenarios are called train-query-gallery, subsets by the attack.
    A floor permutes identities among the queries of a camera; intervals draw identities. Lift is the share of what the best attack finds
    in clear pictures that is left (for attacks that rank nobody: of what the same attack finds).

    Args:
        attacks: names of plug-ins (`dp2bench list attacks`), or ``package.module:Class``.
        height: of the pictures that attackers look at, in pixels.
        width: of the same.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="privacy-attacks",
        version="2",
        kind="privacy",
        main_score=f"{WORST}.mAP",
        layouts=REID,
        metrics={
            "mAP": Metric(
                higher_is_better=False,
                title="identity left (mAP)",
                description="Mean average precision of finding a person's other pictures.",
            ),
            **{
                f"rank-{k}": Metric(
                    higher_is_better=False, title=f"queries whose person is among the first {k} answers"
                )
                for k in (1, 5, 10)
            },
            "balanced-accuracy": Metric(
                higher_is_better=False,
                title="attributes told",
                description="Mean recall of yes and no; 50 % by chance.",
            ),
            "shown": Metric(
                higher_is_better=False,
                title="pictures that show another real person",
                description="Pictures as close to somebody else's clear picture as one clear picture in a hundred is.",
            ),
            "traced": Metric(
                higher_is_better=False,
                title="outputs traced to their originals",
                description="Share of other originals of the camera whose colours are less like the output's; 50 % by chance.",
            ),
            "linked": Metric(
                higher_is_better=False,
                title="pairs of outputs told to be of one person (AUC)",
                description="Area under the ROC curve over pairs of outputs by different cameras; 50 % by chance.",
            ),
            "member-told": Metric(
                higher_is_better=False,
                title="train people told from others (AUC)",
                description="Area under the ROC curve of how near outputs are to their originals; 50 % by chance.",
            ),
            "reproduced": Metric(
                higher_is_better=False,
                title="outputs nearest to a train picture",
                description="Share of outputs whose nearest real picture is of the train split; 50 % by chance.",
            ),
            "detected": Metric(
                higher_is_better=False,
                title="outputs told from real pictures (AUC)",
                description="Area under the ROC curve of a classifier that learned from other people; 50 % by chance.",
            ),
        },
        scenarios={
            WORST: Scenario(description="the worst attacker, chosen on train identities"),
            CLEAR: Scenario(description="control: nothing is anonymized", clear_only=True),
            **{
                name: Scenario(
                    description=f"learned from {_VERSIONS[train]} pictures; {query} queries in a gallery of {gallery} pictures"
                )
                for name, (train, query, gallery) in _SCENARIOS.items()
            },
        },
        figures=(
            PeopleSheet(
                title="Found most easily by the worst attacker",
                caption="The people whom the worst attacker recognised best under each method: the query on the left, then the "
                "gallery's first answers.",
                file="found.json",
            ),
            Curves(
                title="How soon the right person comes, attack by attack",
                caption="Share of queries whose person is among the first k answers of the gallery, and by chance; higher means less private.",
                file="cmc.json",
                x="rank k",
                y="found by rank k",
                x_range=(1, 20),
                table_at=(1, 5, 10),
            ),
        ),
        columns=(f"{WORST}.mAP", f"{WORST}.rank-10", "balanced-accuracy", "shown"),
        description="Re-identification by attackers who adapt, and what else is left of people; the worst of them is the headline.",
        reference="arXiv 2304.01635 and 2210.10651 (adaptive attackers); 2107.06018 (memorisation); 1703.07220 (attributes).",
    )

    def __init__(self, *, attacks: Sequence[str] = MINI, height: int = 128, width: int = 64) -> None:
        if isinstance(attacks, str) or not attacks:
            raise Dp2benchError(
                "privacy-attacks: attacks must be a list of names.",
                f"Write e.g. attacks: [{', '.join(MINI[:2])}].",
            )
        self.attacks = tuple(attacks)
        self.height, self.width = int(height), int(width)
        for name in self.attacks:
            registry.load("attacks", name)  # a wrong name is said before any work

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {
            "attacks": list(self.attacks),
            "revisions": {a: registry.load("attacks", a).meta.revision for a in self.attacks},  # type: ignore[attr-defined]
            "height": self.height,
            "width": self.width,
        }

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`: attackers learn from the train split as the method anonymizes it."""
        return SPLITS

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Units are queries or pictures, named ``identity::picture``.

        ``attacks.json`` in ``context.artefacts`` holds every measurement with interval, floor, p value and lift, what was left out and
        why, and the worst attacker.
        """
        from dp2bench.attacks.networks import extractor
        from dp2bench.attacks.views import load_splits

        extract = extractor(
            context.cache, device=context.device, threads=context.threads, progress=context.progress
        )
        splits = load_splits(clear, anonymized, SPLITS, (self.height, self.width), extract, context.people)
        attacks = [registry.create("attacks", name, {}) for name in self.attacks]
        outcomes, worst = record_attacks(attacks, splits, context)
        _keep_curves(outcomes, worst, anonymized, clear, splits, context)


def record_attacks(
    attacks: Sequence[Attack], splits: Mapping[str, Split], context: RunContext
) -> tuple[list[_Outcome], dict[str, Any] | None]:
    """Fit and score attacks, record what they measure, and choose the worst; what each found, and the worst's name and scenario.

    Args:
        attacks: not yet fitted.
        splits: ``train``, ``query`` and ``gallery``.
        context: takes the scores, and ``attacks.json`` among the artefacts.

    Raises:
        DatasetError: none of the attacks can be made, as masks or other knowledge is missing.

    """
    outcomes: list[_Outcome] = []
    left_out: dict[str, str] = {}
    for attack in attacks:
        if reason := attack.missing(splits["train"]):
            left_out[attack.meta.name] = reason
            continue
        attack.fit(splits["train"], context)
        found = attack.score(splits["query"], splits["gallery"], context)
        candidate = attack.meta.identifies and attack.meta.headline
        validated = _validated(type(attack), splits["train"], context) if candidate else {}
        outcomes.append(_Outcome(attack, found, validated))
    if not outcomes:
        raise DatasetError(
            f"No attack can be made: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}.",
            "Take other attacks, or a detector that finds masks.",
        )
    rows = _record(outcomes, context)
    worst = _record_worst(outcomes, rows, context)
    text = json.dumps({"worst": worst, "attacks": rows, "left_out": left_out}, sort_keys=True)
    (context.artefacts / "attacks.json").write_text(text + "\n", "utf-8")
    return outcomes, worst


def _validated(make: type[Attack], train: Split, context: RunContext) -> dict[str, float]:
    """How far above its floor each scenario comes on train identities, the mean over folds; nothing where there are too few people."""
    from dp2bench.attacks.retrieval import RetrievalAttack

    people = np.unique(train.clear.identities[train.clear.identities > 0])
    if len(people) < 2 * _FOLDS:
        return {}
    fold = np.random.default_rng(derive_seed(context.seed, "folds")).permutation(len(people)) % _FOLDS
    found: dict[str, list[float]] = {}
    for k in range(_FOLDS):
        attack = make()
        if not isinstance(attack, RetrievalAttack):
            return {}
        held = np.isin(train.clear.identities, people[fold == k])
        attack.fit(train.take(~held), context)
        test = train.take(held)
        key = np.stack([test.clear.identities, test.clear.cameras], 1)
        first = np.sort(np.unique(key, axis=0, return_index=True)[1])
        for scenario, above in attack.validate(test.take(first), test, context).items():
            found.setdefault(scenario, []).append(above)
    return {scenario: float(np.mean(values)) for scenario, values in found.items()}


def _record(outcomes: Sequence[_Outcome], context: RunContext) -> list[dict[str, Any]]:
    """Record the main metric of every attack in each scenario; all that was measured, for ``attacks.json``."""
    best = _best_on_clear(outcomes)
    rows = []
    for outcome in outcomes:
        meta = outcome.attack.meta
        for m in outcome.found:
            row = _statistics(m, best.get(m.metric) if meta.identifies else m.clear, context)
            if m.metric == meta.main_metric:
                _record_one(m, row, m.scenario, meta.name if meta.identifies else m.subset, context)
            rows.append(
                {
                    **row, "attack": meta.name, "title": meta.title, "claim": meta.claim, "metric": m.metric, "scenario": m.scenario,
                    "subset": m.subset, "clear": m.clear, "validated": outcome.validated.get(m.scenario),
                    "n": len(m.units), "people": len(set(m.clusters.values())),
                }
            )  # fmt: skip
    return rows


def _best_on_clear(outcomes: Sequence[_Outcome]) -> dict[str, float]:
    """By metric, what the attack that is best with nothing anonymized scores then; chosen, as the worst is, on train identities."""
    ranking = [o for o in outcomes if o.attack.meta.identifies and o.attack.meta.headline]
    if not ranking:
        return {}
    best = max(ranking, key=lambda o: o.validated.get(CLEAR, 0.0))
    return {m.metric: m.value for m in best.found if m.scenario == CLEAR}


def _statistics(m: Measurement, clear: float | None, context: RunContext) -> dict[str, Any]:
    names = sorted(m.units)
    seed = derive_seed(context.seed, "identities")  # the same draws for every attack and method
    low, high = cluster_interval([m.units[n] for n in names], [m.clusters[n] for n in names], seed=seed)
    share = None
    if m.scenario != CLEAR and clear is not None and m.chance is not None and clear > m.chance + _ABOVE:
        share = lift(m.value, m.chance, clear)
    return {
        "value": m.value,
        "ci95": [low, high],
        "chance": m.chance,
        "chance_high": m.chance_high,
        "p_value": m.p_value,
        "lift": share,
    }


def _record_one(
    m: Measurement, row: Mapping[str, Any], scenario: str, subset: str, context: RunContext, by: str = ""
) -> None:
    context.record(
        m.metric,
        {f"{m.clusters[name]}{CLUSTER}{name}": value for name, value in m.units.items()},
        scenario=scenario,
        subset=subset,
        chance=row["chance"],
        chance_high=row["chance_high"],
        p_value=row["p_value"],
        lift=row["lift"],
        ci95=(row["ci95"][0], row["ci95"][1]),
        by=by,
    )


def _record_worst(
    outcomes: Sequence[_Outcome], rows: Sequence[Mapping[str, Any]], context: RunContext
) -> dict[str, Any] | None:
    """Record the scores of the attack and scenario that did best on train identities; its name and theirs."""
    candidates = [
        (above, -i, outcome, scenario)
        for i, outcome in enumerate(outcomes)
        for scenario, above in outcome.validated.items()
        if scenario != CLEAR
    ] or [
        # too few people to hold any back: the first attack's first scenario, chosen without looking at any score
        (0.0, 0, outcome, outcome.found[0].scenario)
        for outcome in outcomes
        if outcome.attack.meta.identifies and outcome.attack.meta.headline
    ][:1]
    if not candidates:
        return None
    above, _, outcome, scenario = max(candidates, key=lambda c: c[:2])
    meta = outcome.attack.meta
    for m in outcome.found:
        if m.scenario == scenario:
            row = next(
                r
                for r in rows
                if (r["attack"], r["scenario"], r["metric"]) == (meta.name, scenario, m.metric)
            )
            _record_one(m, row, WORST, "", context, by=meta.title)
    return {"attack": meta.name, "title": meta.title, "scenario": scenario, "validated": above}


def _keep_curves(
    outcomes: Sequence[_Outcome],
    worst: Mapping[str, Any] | None,
    anonymized: Dataset,
    clear: Dataset,
    splits: Mapping[str, Split],
    context: RunContext,
) -> None:
    """Write the data of the figures: the curve of each attack that ranks, and the people whom the worst one finds most easily."""
    from dp2bench.metrics.floors import permutation_floor
    from dp2bench.metrics.ranking import distance_histograms, rank

    curves: dict[str, Curve] = {}
    found: dict[str, Sequence[Sighting]] = {}
    for outcome in outcomes:
        meta = outcome.attack.meta
        ranked = [m for m in outcome.found if m.ranking is not None and m.scenario != CLEAR]
        worst_scenario = worst["scenario"] if worst is not None and worst["attack"] == meta.name else None
        shown = next((m for m in ranked if m.scenario == worst_scenario), ranked[0] if ranked else None)
        if shown is None or shown.ranking is None:
            continue
        sides = tuple(zip(("query", "gallery"), _SCENARIOS[shown.scenario][1:], strict=True))
        views = [splits[s].clear if v == "clear" else splits[s].anonymized for s, v in sides]
        labels = [getattr(v, key) for key in ("identities", "cameras") for v in views]
        ranking = rank(shown.ranking, *labels, threads=context.threads)
        floor = permutation_floor(
            shown.ranking,
            *labels,
            permutations=20,
            seed=derive_seed(context.seed, "curve"),
            threads=context.threads,
        )
        ranks = tuple(range(1, len(ranking.cmc) + 1))
        curves[meta.title] = Curve(x=ranks, y=ranking.cmc.tolist(), chance=floor.cmcs.mean(0).tolist())
        if worst_scenario is None:
            continue
        query, gallery = (
            [there[name] for name in view.names]
            for (split, version), view in zip(sides, views, strict=True)
            for there in [
                {str(s.id): s for s in (clear if version == "clear" else anonymized).samples(split)}
            ]
        )
        nearest = distance_histograms(np.sqrt(shown.ranking), *labels).nearest
        found[meta.title] = easiest(
            shown.ranking, labels, ranking, nearest, query, gallery, context.artefacts, "people"
        )
    write_data(context.artefacts / "cmc.json", curves)
    write_data(context.artefacts / "found.json", found)
