"""What keypoint networks lose when they learn from anonymized pictures: train on the anonymized split, test on the original one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta, Training
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.hashing import content_sha256
from dp2bench.core.results import Score
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.intervals import bootstrap_interval
from dp2bench.metrics.keypoints import PRECISIONS, KeypointScores

if TYPE_CHECKING:
    from dp2bench.downstream.models import Model

TEST_SPLIT = "val"
CONTROL = "predictions.json"
"""What the network trained on clear pictures says of the test split, beside it."""


class CocoKeypoints(Task):
    """OKS average precision on the original val split, of a network trained on the anonymized train split.

    ``clear.*`` are the same numbers of the network trained on clear pictures, the positive control, which all methods share;
    ``difference.*`` is what training on anonymized pictures changes, paired by picture.

    Args:
        model: ``small`` (embedded tiers; boxes are given), ``keypoint-rcnn`` (paper tier: torchvision's R50-FPN), or
            ``detectron2-keypoint-rcnn`` (the same of an installed detectron2).
        predictions: a file of COCO keypoint results made elsewhere by a network trained on the anonymized pictures; nothing is
            trained then, and there is no control.
        clear_predictions: the same of a network trained on clear pictures, for the control.
        recipe: fields of the model's recipe: `dp2bench.downstream.keypoints.KeypointConfig`, `dp2bench.downstream.rcnn.RcnnConfig` or
            `dp2bench.downstream.detectron.Detectron2Config`.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="coco-keypoints",
        version="1",
        kind="utility",
        main_score="AP",
        layouts=("coco",),
        description="Keypoint AP on original pictures after training on anonymized ones, beside training on clear ones.",
        reference="Lin et al., ECCV 2014 (COCO); DeepPrivacy2, WACV 2023, training on anonymized data.",
    )

    def __init__(
        self,
        *,
        model: str = "small",
        predictions: str | None = None,
        clear_predictions: str | None = None,
        **recipe: Any,
    ) -> None:
        from dp2bench.downstream.models import KEYPOINTS, choose

        self._model = choose(KEYPOINTS, model, "coco-keypoints")
        if clear_predictions and not predictions:
            raise Dp2benchError(
                "coco-keypoints: clear_predictions without predictions.", "Give both, or predictions alone."
            )
        self.model = model
        self.predictions = predictions
        self.clear_predictions = clear_predictions
        own = ("model", "predictions", "clear_predictions")
        self.recipe = self._model.settings(model, "coco-keypoints", own, recipe)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`; files of predictions and weights by their sha256."""
        return {
            "model": self.model,
            "predictions": content_of(self.predictions),
            "clear_predictions": content_of(self.clear_predictions),
            **self._model.effective(self.recipe),
        }

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`: what the network learns from. It is tested on clear pictures."""
        return ("train",)

    def trainings(self) -> tuple[Training, ...]:
        """One network on the clear train split, shared by every method, and one on the anonymized."""
        if self.predictions:
            return ()
        recipe = {"model": self.model, **self._model.effective(self.recipe)}
        return (
            Training(role="clear", on="clear", arguments=recipe),
            Training(role="anonymized", on="anonymized", arguments=recipe),
        )

    def train(self, training: Training, dataset: Dataset, out: Path, context: RunContext) -> None:
        """See `Task.train`. The control, with which every method is compared, is tested here once."""
        train_once(self._model, self.recipe, dataset, out, context)
        if training.on == "clear":
            self._predict(out, dataset, out / CONTROL, context)

    def _predict(self, folder: Path, dataset: Dataset, out: Path, context: RunContext) -> None:
        rows = self._model.predict(
            folder, dataset, TEST_SPLIT, self.recipe, device=context.device, progress=context.progress
        )
        partial = out.with_suffix(".partial")
        partial.write_text(json.dumps(rows), "utf-8")
        partial.replace(out)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> list[Score]:
        """See `Task.run`. What each picture weighs goes to ``context.units``, predictions to the artefacts."""
        ours = self._evaluate("anonymized", self.predictions, clear, context)
        control = None
        if not self.predictions or self.clear_predictions:
            control = self._evaluate("clear", self.clear_predictions, clear, context)
        return compared_scores(
            ours.values,
            ours.pictures,
            ours.people,
            PRECISIONS,
            context,
            (control.values, control.pictures) if control else None,
        )

    def _evaluate(
        self, role: str, brought: str | None, clear: Dataset, context: RunContext
    ) -> KeypointScores:
        from dp2bench.downstream.keypoints import annotation_file
        from dp2bench.metrics.keypoints import evaluate_keypoints, load_predictions

        if brought:
            rows = load_predictions(Path(brought))
        else:
            trained, file = context.trained[role], context.artefacts / f"predictions-{role}.json"
            if (trained / CONTROL).is_file():
                shutil.copyfile(trained / CONTROL, file)
            else:
                self._predict(trained, clear, file, context)
            rows = json.loads(file.read_text("utf-8"))
        there = [s.labels["image_id"] for s in clear.samples(TEST_SPLIT)]
        return evaluate_keypoints(annotation_file(clear, TEST_SPLIT), rows, image_ids=there)


def train_once(model: Model, recipe: Any, dataset: Dataset, out: Path, context: RunContext) -> None:
    """Train unless an earlier attempt, killed while it did something else, already has."""
    done = out / "trained"
    if not done.exists():
        model.train(dataset, recipe, out, seed=context.seed, device=context.device, progress=context.progress)
        done.touch()


def content_of(path: str | None) -> str | None:
    """sha256 of a file or of all files of a folder, so that other content makes another result; DatasetError where it is missing."""
    if path is None:
        return None
    place = Path(path)
    if not place.exists():
        raise DatasetError(
            f"There are no predictions at {path}.", "Give the file or folder that was made elsewhere."
        )
    return content_sha256(place)


def compared_scores(
    values: Mapping[str, float],
    units: Mapping[str, Mapping[str, float]],
    n: int,
    names: tuple[str, ...],
    context: RunContext,
    control: tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]] | None,
) -> list[Score]:
    """Scores with intervals over pictures; with a control also ``clear.<name>`` and the paired ``difference.<name>``."""
    scores: list[Score] = []

    def add(name: str, value: float, pictures: Mapping[str, float]) -> None:
        context.units[name] = pictures
        ci95 = bootstrap_interval(
            [pictures[k] for k in sorted(pictures)], seed=derive_seed(context.seed, name)
        )
        scores.append(Score(name=name, value=value, higher_is_better=True, n=n, ci95=ci95))

    for name in names:
        if name in values:
            add(name, values[name], units[name])
    if control is not None:
        clear_values, clear_units = control
        both = [name for name in names if name in values and name in clear_values]
        for name in both:
            add(f"clear.{name}", clear_values[name], clear_units[name])
        for name in both:
            paired = {k: v - clear_units[name][k] for k, v in units[name].items()}
            add(f"difference.{name}", values[name] - clear_values[name], paired)
    return scores
