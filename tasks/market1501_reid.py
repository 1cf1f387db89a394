"""Re-identification on a dataset in Market-1501's layout: how well an attacker trained on clear pictures finds people again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from dp2bench.attacks import reid_config
from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta, Training
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.figures import (
    Answer,
    Curve,
    Curves,
    Histogram,
    Histograms,
    PeopleSheet,
    Sighting,
    write_data,
)
from dp2bench.core.layouts import REID
from dp2bench.core.results import CLUSTER, Metric, Scenario
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Sample
from dp2bench.metrics.floors import Floor, permutation_floor
from dp2bench.metrics.ranking import RankingScores, distance_histograms, rank

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
_LARGE = 1 << 30
"""Bytes of distances above which they lie in a file, memory-mapped: with the 500,000 distractors they are 7 GB."""
_FEW = 20
"""Permutations of the control's floor, and where the gallery is large."""


class Market1501ReID(Task):
    """mAP and rank-1/5/10, single query, entries of the same identity and camera dropped (Zheng et al., ICCV 2015)."""

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="market1501-reid",
        version="2",
        kind="privacy",
        main_score="clear-anonymized.mAP",
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
        figures=(
            Curves(
                title="How soon the right person comes (CMC)",
                caption="Share of queries whose person is among the first k answers of the gallery; higher means less private.",
                file="cmc.json",
                x="rank k",
                y="found by rank k",
                x_range=(1, 20),
                table_at=(1, 2, 5, 10, 20),
            ),
            Histograms(
                title="How far apart the attacker sees people",
                caption="Distances between pictures of the same person by different cameras, and of different people. The more the two "
                "lie on top of each other, the less the attacker can tell.",
                file="distances.json",
                x="distance",
                of="pairs",
            ),
            PeopleSheet(
                title="Found most easily",
                caption="The people whom the attacker recognised best under each method: the query on the left, then the gallery's "
                "first answers.",
                file="found.json",
            ),
        ),
        description="Re-identification by an attacker trained on clear pictures: mAP and rank-1/5/10.",
        reference="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015; DeepPrivacy2, WACV 2023, re-identification table.",
    )

    def __init__(
        self, *, scenarios: Sequence[str] = tuple(SCENARIOS), permutations: int = 200, **recipe: Any
    ) -> None:
        unknown = sorted(set(scenarios) - set(SCENARIOS))
        if unknown:
            raise Dp2benchError(
                f"Unknown scenario {', '.join(unknown)}.",
                f"There are: {', '.join(SCENARIOS)} (query-gallery).",
            )
        self.scenarios = tuple(scenarios)
        self.permutations = permutations
        self.recipe = reid_config.recipe(recipe)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {
            "scenarios": list(self.scenarios),
            "permutations": self.permutations,
            **self.recipe.effective(),
        }

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`: query and gallery as far as a scenario has them anonymized. The attacker learns from clear pictures."""
        return [split for split, versions in self._versions().items() if "anonymized" in versions]

    def _versions(self) -> dict[str, set[str]]:
        """Whether query and gallery are used clear, anonymized, or both."""
        return {split: {SCENARIOS[s][i] for s in self.scenarios} for i, split in enumerate(SPLITS)}

    def trainings(self) -> tuple[Training, ...]:
        """One attacker, on the clear train split: shared by every method."""
        given = reid_config.weights_sha256(self.recipe)
        arguments = {**self.recipe.effective(), **({"sha256": given} if given else {})}
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
        """See `Task.run`. The scores' units are queries, in clusters by identity.

        The artefacts are the data of its figures, by scenario: the CMC curve with its chance floor, the histograms of euclidean
        distances, and the people found most easily with the answers that came first; their pictures lie in ``people/``.
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
        curves: dict[str, Curve] = {}
        distributions: dict[str, Histogram] = {}
        found: dict[str, list[Sighting]] = {}
        for scenario in self.scenarios:
            # one scenario after the other: with the 500,000 distractors the distances of each are 7 GB
            with TemporaryDirectory(dir=context.artefacts.parent) as scratch:
                query_version, gallery_version = SCENARIOS[scenario]
                query, gallery = samples["query", query_version], samples["gallery", gallery_version]
                large = 4 * len(query) * len(gallery) > _LARGE
                distances = reid.euclidean(
                    vectors["query", query_version],
                    vectors["gallery", gallery_version],
                    Path(scratch, "distances") if large else None,
                )
                labels = [
                    np.array([s.labels[key] for s in part])
                    for key in ("identity", "camera")
                    for part in (query, gallery)
                ]
                ranking = rank(distances, *labels)
                control = "anonymized" not in (query_version, gallery_version)
                floor = permutation_floor(
                    distances,
                    *labels,
                    permutations=min(self.permutations, _FEW) if large or control else self.permutations,
                    seed=derive_seed(context.seed, "chance", scenario),
                )
                _record(scenario, ranking, floor, query, context)
                histograms = distance_histograms(distances, *labels, squared=True)
                ranks = tuple(range(1, len(ranking.cmc) + 1))
                curves[scenario] = Curve(x=ranks, y=ranking.cmc.tolist(), chance=floor.cmcs.mean(0).tolist())
                distributions[scenario] = Histogram(
                    edges=histograms.edges.tolist(),
                    counts={
                        "same person": histograms.mated.tolist(),
                        "different people": histograms.non_mated.tolist(),
                    },
                )
                if gallery_version == "anonymized":
                    found[scenario] = easiest(
                        distances,
                        labels,
                        ranking,
                        histograms.nearest,
                        query,
                        gallery,
                        context.artefacts,
                        f"people/{scenario}",
                    )
                del distances
        write_data(context.artefacts / "cmc.json", curves)
        write_data(context.artefacts / "distances.json", distributions)
        write_data(context.artefacts / "found.json", found)


def _record(
    scenario: str, ranking: RankingScores, floor: Floor, query: Sequence[Sample], context: RunContext
) -> None:
    valid = np.flatnonzero(ranking.valid)
    first = ranking.first_match_rank[valid]
    values = {
        "mAP": ranking.average_precision[valid],
        **{f"rank-{k}": (first <= k).astype(float) for k in RANKS},
    }
    names = [f"{query[i].labels['identity']}{CLUSTER}{query[i].id}" for i in valid.tolist()]
    for metric, per_query in values.items():
        context.record(
            metric,
            dict(zip(names, per_query.tolist(), strict=True)),
            scenario=scenario,
            chance=floor.mean(metric),
            chance_high=floor.high(metric),
            p_value=floor.p_value(float(per_query.mean()), metric),
        )


def easiest(
    distances: Any,
    labels: Sequence[Any],
    ranking: RankingScores,
    nearest: Any,
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    artefacts: Path,
    folder: str,
) -> list[Sighting]:
    """The queries with the highest average precision (of equals, with the nearest right answer), one a person.

    Copies the query and the answers that came first into ``folder`` of the artefacts.
    """
    q_ids, g_ids, q_cams, g_cams = labels
    seen: set[int] = set()
    people: list[Sighting] = []
    (artefacts / folder).mkdir(parents=True)

    def kept(sample: Sample, split: str) -> str:
        name = f"{folder}/{split}-{Path(sample.id).name}"
        shutil.copyfile(sample.path, artefacts / name)
        return name

    for i in np.lexsort((nearest, -np.nan_to_num(ranking.average_precision, nan=-1))):
        if len(people) == EASIEST or not ranking.valid[i]:
            break
        identity = int(q_ids[i])
        if identity in seen:
            continue
        seen.add(identity)
        order = np.argsort(distances[i], kind="stable")
        order = order[(g_ids[order] != q_ids[i]) | (g_cams[order] != q_cams[i])][:ANSWERS]
        answers = []
        for g in order:
            right = bool(g_ids[g] == q_ids[i])
            label = "✓ found" if right else "✗ other"
            answers.append(Answer(picture=kept(gallery[g], "gallery"), label=label, right=right))
        label = f"person {identity}, AP {100 * float(ranking.average_precision[i]):.0f} %"
        people.append(Sighting(picture=kept(query[i], "query"), label=label, answers=tuple(answers)))
    return people
