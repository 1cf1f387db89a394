"""What instance segmentation loses when it learns from anonymized pictures: train on the anonymized split, test on the original one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta, Training
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.results import Score
from dp2bench.metrics.instances import NAMES, InstanceScores
from dp2bench.tasks.coco_keypoints import compared_scores, content_of, train_once

TEST_SPLIT = "val"
CONTROL = "predictions"
"""What the network trained on clear pictures says of the test split, beside it."""


class CityscapesInstances(Task):
    """Instance AP and AP50 on the original val split, of a network trained on the anonymized train split.

    Over all classes, and for persons and riders. ``clear.*`` are the same numbers of the network trained on clear pictures, the
    positive control, which all methods share; ``difference.*`` is what training on anonymized pictures changes, paired by picture.

    Args:
        model: ``small`` (embedded tiers; boxes are given), ``mask-rcnn`` (paper tier: torchvision's R50-FPN), or
            ``detectron2-mask-rcnn`` (the same of an installed detectron2).
        predictions: a results folder in Cityscapes' format made elsewhere by a network trained on the anonymized pictures; nothing
            is trained then, and there is no control.
        clear_predictions: the same of a network trained on clear pictures, for the control.
        recipe: fields of the model's recipe: `dp2bench.downstream.instances.InstanceConfig`, `dp2bench.downstream.rcnn.RcnnConfig` or
            `dp2bench.downstream.detectron.Detectron2Config`.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="cityscapes-instances",
        version="2",
        kind="utility",
        main_score="AP",
        layouts=("cityscapes",),
        description="Instance AP on original pictures after training on anonymized ones, beside training on clear ones.",
        reference="Cordts et al., CVPR 2016 (Cityscapes); DeepPrivacy2, WACV 2023, training on anonymized data.",
    )

    def __init__(
        self,
        *,
        model: str = "small",
        predictions: str | None = None,
        clear_predictions: str | None = None,
        **recipe: Any,
    ) -> None:
        from dp2bench.downstream.models import INSTANCES, choose

        self._model = choose(INSTANCES, model, "cityscapes-instances")
        if clear_predictions and not predictions:
            raise Dp2benchError(
                "cityscapes-instances: clear_predictions without predictions.",
                "Give both, or predictions alone.",
            )
        self.model = model
        self.predictions = predictions
        self.clear_predictions = clear_predictions
        own = ("model", "predictions", "clear_predictions")
        self.recipe = self._model.settings(model, "cityscapes-instances", own, recipe)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`; folders of predictions and files of weights by their sha256."""
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
        partial = out.with_name(f"{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._model.predict(
            folder,
            dataset,
            TEST_SPLIT,
            self.recipe,
            partial,
            device=context.device,
            progress=context.progress,
        )
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> list[Score]:
        """See `Task.run`. What each picture weighs goes to ``context.units``, the results folders to the artefacts."""
        ours = self._evaluate("anonymized", self.predictions, clear, context)
        control = None
        if not self.predictions or self.clear_predictions:
            control = self._evaluate("clear", self.clear_predictions, clear, context)
        return compared_scores(
            ours.values,
            ours.pictures,
            ours.instances,
            NAMES,
            context,
            (control.values, control.pictures) if control else None,
        )

    def _evaluate(
        self, role: str, brought: str | None, clear: Dataset, context: RunContext
    ) -> InstanceScores:
        from dp2bench.datasets.cityscapes import Cityscapes
        from dp2bench.metrics.instances import evaluate_instances

        if not isinstance(clear, Cityscapes):
            raise Dp2benchError(
                f"cityscapes-instances needs a dataset of the class Cityscapes, not {type(clear).__name__}.",
                "Derive the dataset's class from dp2bench.datasets.cityscapes.Cityscapes.",
            )
        if brought:
            folder = Path(brought)
        else:
            trained, folder = context.trained[role], context.artefacts / f"predictions-{role}"
            if (trained / CONTROL).is_dir():
                shutil.copytree(trained / CONTROL, folder)
            else:
                self._predict(trained, clear, folder, context)
        truth = [clear.ground_truth(s, "instanceIds.png") for s in clear.samples(TEST_SPLIT)]
        return evaluate_instances(truth, folder)
