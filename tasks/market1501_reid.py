"""Re-identification on a dataset in Market-1501's layout: how well an attacker trained on clear pictures finds people again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta, Training
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.results import Metric, Scenario
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Sample
from dp2bench.metrics.ranking import ChanceScores, RankingScores, chance, distance_histograms, rank

SCENARIOS: Mapping[str, tuple[str, str]] = {
    "clear-clear": ("clear", "clear"),
    "clear-anonymized": ("clear", "anonymized"),
    "anonymized-anonymized": ("anonymized", "anonymized"),
}
"""Query and gallery of each scenario. The first is the control: what the attacker does with nothing anonymized."""
SPLITS = ("query", "gallery")
RANKS = (1, 5, 10)
EASIEST = 6
"""People kept for the report: those who were found most easily, each with the pictures that came first."""
ANSWERS = 5


class Market1501ReID(Task):
    """mAP and rank-1/5/10, single query, entries of the same identity and camera dropped (Zheng et al., ICCV 2015)."""

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="market1501-reid",
        version="1",
        kind="privacy",
        main_score="clear-anonymized.mAP",
        layouts=("market1501",),
        metrics={
            "mAP": Metric(higher_is_better=False, title="mean average precision"),
            **{
                f"rank-{k}": Metric(
                    higher_is_better=False, title=f"queries whose person is among the first {k} answers"
                )
                for k in RANKS
            },
        },
        scenarios={
            "clear-clear": Scenario(description="control: clear queries in a clear gallery", clear_only=True),
            "clear-anonymized": Scenario(
                description="clear queries in an anonymized gallery", control="clear-clear"
            ),
            "anonymized-anonymized": Scenario(
                description="anonymized queries in an anonymized gallery", control="clear-clear"
            ),
        },
        description="Re-identification by an attacker trained on clear pictures: mAP and rank-1/5/10.",
        reference="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015; DeepPrivacy2, WACV 2023, re-identification table.",
    )

    def __init__(
        self, *, scenarios: Sequence[str] = tuple(SCENARIOS), permutations: int = 10, **recipe: Any
    ) -> None:
        from dp2bench.attacks import reid

        unknown = sorted(set(scenarios) - set(SCENARIOS))
        if unknown:
            raise Dp2benchError(
                f"Unknown scenario {', '.join(unknown)}.",
                f"There are: {', '.join(SCENARIOS)} (query-gallery).",
            )
        self.scenarios = tuple(scenarios)
        self.permutations = permutations
        self.recipe = reid.recipe(recipe)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {"scenarios": list(self.scenarios), "permutations": self.permutations, **asdict(self.recipe)}

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`: query and gallery as far as a scenario has them anonymized. The attacker learns from clear pictures."""
        return [split for split, versions in self._versions().items() if "anonymized" in versions]

    def _versions(self) -> dict[str, set[str]]:
        """Whether query and gallery are used clear, anonymized, or both."""
        return {split: {SCENARIOS[s][i] for s in self.scenarios} for i, split in enumerate(SPLITS)}

    def trainings(self) -> tuple[Training, ...]:
        """One attacker, on the clear train split: shared by every method."""
        from dp2bench.attacks import reid

        given = reid.weights_sha256(self.recipe)
        arguments = {**asdict(self.recipe), **({"sha256": given} if given else {})}
        return (Training(role="attacker", on="clear", arguments=arguments),)

    def train(self, training: Training, dataset: Dataset, out: Path, context: RunContext) -> None:
        """See `Task.train`."""
        from dp2bench.attacks import reid

        data = f"{dataset.meta.name} {dataset.meta.version}"
        if self.recipe.weights:
            reid.load_pretrained(self.recipe, out, seed=context.seed, data=data)
            return
        reid.train(
            dataset.samples("train"),
            self.recipe,
            out,
            seed=context.seed,
            data=data,
            device=context.device,
            progress=context.progress,
        )

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. The scores' units are queries.

        ``reid.json`` in ``context.artefacts`` holds by scenario the CMC curve and its chance floor, the histograms of distances
        (euclidean), and the people found most easily with the answers that came first; their pictures lie in ``people/``.
        """
        from dp2bench.attacks import reid

        model = reid.load(context.trained["attacker"], self.recipe, context.device)
        samples: dict[tuple[str, str], list[Sample]] = {}
        vectors: dict[tuple[str, str], Any] = {}
        for split, versions in self._versions().items():
            for version in sorted(versions):
                dataset = clear if version == "clear" else anonymized
                kept = [
                    s for s in dataset.samples(split) if s.labels["identity"] >= 0
                ]  # junk is in no ranking
                if not kept:
                    raise DatasetError(
                        f"The {version} {split} split of {clear.meta.name} is empty.",
                        "Check that the anonymized folder holds the same pictures as the clear one.",
                    )
                samples[split, version] = kept
                vectors[split, version] = reid.features(
                    model, kept, self.recipe, device=context.device, progress=context.progress
                )
        evidence: dict[str, Any] = {}
        for scenario in self.scenarios:
            query_version, gallery_version = SCENARIOS[scenario]
            query, gallery = samples["query", query_version], samples["gallery", gallery_version]
            distances = reid.euclidean(vectors["query", query_version], vectors["gallery", gallery_version])
            labels = [
                np.array([s.labels[key] for s in part])
                for key in ("identity", "camera")
                for part in (query, gallery)
            ]
            ranking = rank(distances, *labels)
            floor = chance(
                distances,
                *labels,
                permutations=self.permutations,
                seed=derive_seed(context.seed, "chance", scenario),
            )
            _record(scenario, ranking, floor, [s.id for s in query], context)
            histograms = distance_histograms(np.sqrt(distances), *labels)
            evidence[scenario] = {
                "cmc": ranking.cmc.tolist(),
                "chance": floor.cmc.tolist(),
                "edges": histograms.edges.tolist(),
                "mated": histograms.mated.tolist(),
                "non_mated": histograms.non_mated.tolist(),
            }
            if scenario != "clear-clear":
                evidence[scenario]["easiest"] = _easiest(
                    distances,
                    labels,
                    ranking,
                    histograms.nearest,
                    query,
                    gallery,
                    context.artefacts / "people" / scenario,
                )
        (context.artefacts / "reid.json").write_text(json.dumps(evidence, sort_keys=True) + "\n", "utf-8")


def _record(
    scenario: str, ranking: RankingScores, floor: ChanceScores, ids: Sequence[str], context: RunContext
) -> None:
    valid = np.flatnonzero(ranking.valid)
    first = ranking.first_match_rank[valid]
    values = {
        "mAP": ranking.average_precision[valid],
        **{f"rank-{k}": (first <= k).astype(float) for k in RANKS},
    }
    floors = {
        "mAP": floor.mean_average_precision,
        **{f"rank-{k}": float(floor.cmc[min(k, len(floor.cmc)) - 1]) for k in RANKS},
    }
    for metric, per_query in values.items():
        units = {ids[int(i)]: float(v) for i, v in zip(valid, per_query, strict=True)}
        context.record(metric, units, scenario=scenario, chance=floors[metric])


def _easiest(
    distances: Any,
    labels: Sequence[Any],
    ranking: RankingScores,
    nearest: Any,
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    pictures: Path,
) -> list[dict[str, Any]]:
    """The queries with the highest average precision (of equals, with the nearest right answer), one a person.

    Copies the query and the answers that came first into ``pictures``.
    """
    q_ids, g_ids, q_cams, g_cams = labels
    seen: set[int] = set()
    people: list[dict[str, Any]] = []
    pictures.mkdir(parents=True)
    for i in np.lexsort((nearest, -np.nan_to_num(ranking.average_precision, nan=-1))):
        if len(people) == EASIEST or not ranking.valid[i]:
            break
        if int(q_ids[i]) in seen:
            continue
        seen.add(int(q_ids[i]))
        order = np.argsort(distances[i], kind="stable")
        order = order[(g_ids[order] != q_ids[i]) | (g_cams[order] != q_cams[i])][:ANSWERS]
        shown = [(query[i], f"query-{Path(query[i].id).name}")]
        shown += [(gallery[g], f"gallery-{Path(gallery[g].id).name}") for g in order]
        for sample, name in shown:
            shutil.copyfile(sample.path, pictures / name)
        people.append(
            {
                "query": shown[0][1],
                "identity": int(q_ids[i]),
                "average_precision": float(ranking.average_precision[i]),
                "first_match_rank": int(ranking.first_match_rank[i]),
                "answers": [
                    {
                        "picture": name,
                        "right": bool(g_ids[g] == q_ids[i]),
                        "distance": float(np.sqrt(distances[i, g])),
                    }
                    for g, (_, name) in zip(order, shown[1:], strict=True)
                ],
            }
        )
    return people
