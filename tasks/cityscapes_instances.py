"""What instance segmentation loses when it learns from anonymized pictures: train on the anonymized split, test on the original one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, TaskMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.figures import Subsets
from dp2bench.core.results import Metric, score_name
from dp2bench.downstream.task import SCENARIOS, DownstreamTask, Evaluation
from dp2bench.metrics.instances import CLASSES, PEOPLE

if TYPE_CHECKING:
    from dp2bench.downstream.models import Model


class CityscapesInstances(DownstreamTask):
    """Instance AP and AP50 on the original val split, of a network trained on the anonymized train split.

    Over all classes, and for persons and riders. ``clear.*`` are the same numbers of the network trained on clear pictures, the
    positive control, which all methods share; ``difference.*`` is what training on anonymized pictures changes, paired by picture.

    Args:
        model: ``small`` (embedded tiers; boxes are given), ``mask-rcnn`` (paper tier: torchvision's R50-FPN), or
            ``detectron2-mask-rcnn`` (the same of an installed detectron2).
        predictions: a results folder in Cityscapes' format made elsewhere by a network trained on the anonymized pictures; nothing
            is trained then, and there is no control.
        clear_predictions: the same of a network trained on clear pictures, for the control.
        recipe: fields of the model's configuration: `dp2bench.downstream.instances.InstanceConfig`,
            `dp2bench.downstream.rcnn.RcnnConfig` or `dp2bench.downstream.detectron.Detectron2Config`.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="cityscapes-instances",
        version="3",
        kind="utility",
        main_score=score_name("AP", subset=PEOPLE),
        layouts=("cityscapes",),
        metrics={
            "AP": Metric(
                higher_is_better=True,
                title="instance AP",
                description="Average precision, overlap from 0.50 to 0.95; of people: the mean of persons' and riders'.",
            ),
            "AP50": Metric(higher_is_better=True, title="average precision at overlap 0.50"),
        },
        scenarios=SCENARIOS,
        figures=(
            Subsets(
                title="People beside all classes",
                caption="Average precision over all classes is mostly that of cars; persons and riders are who was anonymized.",
                metrics=("AP", "AP50"),
                subsets=CLASSES,
                x="class",
            ),
        ),
        columns=tuple(
            score_name("AP", scenario, label)
            for scenario in ("", *SCENARIOS)
            for label in (PEOPLE, *CLASSES, "")
        ),
        description="Instance AP on original pictures after training on anonymized ones, beside training on clear ones.",
        reference="Cordts et al., CVPR 2016 (Cityscapes); DeepPrivacy2, WACV 2023, training on anonymized data.",
    )

    @classmethod
    def models(cls) -> Mapping[str, Model]:
        """See `DownstreamTask.models`."""
        from dp2bench.downstream.models import INSTANCES

        return INSTANCES

    def predict(self, trained: Path, dataset: Dataset, out: Path, context: RunContext) -> None:
        """See `DownstreamTask.predict`: a folder in Cityscapes' results format."""
        self._model.predict(
            trained,
            dataset,
            self.test_split,
            self.recipe,
            out,
            device=context.device,
            progress=context.progress,
        )

    def evaluate(self, clear: Dataset, predictions: Path) -> Evaluation:
        """See `DownstreamTask.evaluate`: cityscapesscripts."""
        from dp2bench.datasets.cityscapes import Cityscapes
        from dp2bench.metrics.instances import evaluate_instances

        if not isinstance(clear, Cityscapes):
            raise Dp2benchError(
                f"cityscapes-instances needs a dataset of the class Cityscapes, not {type(clear).__name__}.",
                "Derive the dataset's class from dp2bench.datasets.cityscapes.Cityscapes.",
            )
        truth = [clear.ground_truth(s, "instanceIds.png") for s in clear.samples(self.test_split)]
        found = evaluate_instances(truth, predictions)
        return Evaluation(found.values, found.pictures, found.instances)
