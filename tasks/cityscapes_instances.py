"""What instance segmentation loses when it learns from anonymised pictures: train on the anonymised split, test on the original one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta, Training
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.results import Score
from dp2bench.metrics.instances import NAMES, InstanceScores
from dp2bench.tasks.coco_keypoints import compared_scores, content_of

TEST_SPLIT = "val"


class CityscapesInstances(Task):
    """Instance AP and AP50 on the original val split, of a network trained on the anonymised train split.

    Over all classes, and for persons and riders. ``clear.*`` are the same numbers of the network trained on clear pictures, the
    positive control, which all methods share; ``difference.*`` is what training on anonymised pictures changes, paired by picture.

    Args:
        model: ``small`` (embedded tiers; boxes are given) or ``mask-rcnn`` (paper tier: torchvision's R50-FPN).
        predictions: a results folder in Cityscapes' format made elsewhere by a network trained on the anonymised pictures; nothing
            is trained then, and there is no control.
        clear_predictions: the same of a network trained on clear pictures, for the control.
        recipe: fields of `dp2bench.downstream.instances.Recipe`, or of `dp2bench.downstream.rcnn.Recipe`.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="cityscapes-instances",
        version="2",
        kind="utility",
        main_score="AP",
        layouts=("cityscapes",),
        description="Instance AP on original pictures after training on anonymised ones, beside training on clear ones.",
        reference="Cordts et al., CVPR 2016 (Cityscapes); DeepPrivacy2, WACV 2023, training on anonymised data.",
    )

    def __init__(
        self,
        *,
        model: str = "small",
        predictions: str | None = None,
        clear_predictions: str | None = None,
        **recipe: Any,
    ) -> None:
        from dp2bench.downstream import instances, rcnn

        recipes: dict[str, type[Any]] = {"small": instances.Recipe, "mask-rcnn": rcnn.Recipe}
        if model not in recipes:
            raise Dp2benchError(
                f"cityscapes-instances has no model {model!r}.", f"There are: {', '.join(recipes)}."
            )
        if clear_predictions and not predictions:
            raise Dp2benchError(
                "cityscapes-instances: clear_predictions without predictions.",
                "Give both, or predictions alone.",
            )
        known = {f.name for f in fields(recipes[model])}
        if set(recipe) - known:
            raise Dp2benchError(
                f"The task cityscapes-instances has no argument {', '.join(sorted(set(recipe) - known))}.",
                f"It takes: model, predictions, clear_predictions, {', '.join(sorted(known))}.",
            )
        self.model = model
        self.predictions = predictions
        self.clear_predictions = clear_predictions
        self.recipe = recipes[model](**recipe)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`; folders of predictions by their sha256."""
        return {
            "model": self.model,
            "predictions": content_of(self.predictions),
            "clear_predictions": content_of(self.clear_predictions),
            **asdict(self.recipe),
        }

    def trainings(self) -> tuple[Training, ...]:
        """One network on the clear train split, shared by every method, and one on the anonymised."""
        if self.predictions:
            return ()
        recipe = {"model": self.model, **asdict(self.recipe)}
        return (
            Training(role="clear", on="clear", arguments=recipe),
            Training(role="anonymised", on="anonymised", arguments=recipe),
        )

    def train(self, training: Training, dataset: Dataset, out: Path, context: RunContext) -> None:
        """See `Task.train`."""
        from dp2bench.downstream import instances, rcnn

        fit = instances.train if self.model == "small" else partial(rcnn.train, "mask-rcnn")
        fit(
            dataset,
            self.recipe,
            out,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
        )

    def run(self, clear: Dataset, anonymised: Dataset, context: RunContext) -> list[Score]:
        """See `Task.run`. What each picture weighs goes to ``context.units``, the results folders to the artefacts."""
        ours = self._evaluate("anonymised", self.predictions, clear, context)
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
        from dp2bench.downstream import instances, rcnn
        from dp2bench.metrics.instances import evaluate_instances

        if not isinstance(clear, Cityscapes):
            raise Dp2benchError(
                f"cityscapes-instances needs a dataset of the class Cityscapes, not {type(clear).__name__}.",
                "Derive the dataset's class from dp2bench.datasets.cityscapes.Cityscapes.",
            )
        if brought:
            folder = Path(brought)
        else:
            folder = context.artefacts / f"predictions-{role}"
            predict = instances.predict if self.model == "small" else rcnn.predict_instances
            predict(
                context.trained[role],
                clear,
                TEST_SPLIT,
                self.recipe,
                folder,
                device=context.device,
                progress=context.progress,
            )
        truth = [clear.ground_truth(s, "instanceIds.png") for s in clear.samples(TEST_SPLIT)]
        return evaluate_instances(truth, folder)
