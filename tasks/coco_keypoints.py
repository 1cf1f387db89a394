"""What keypoint networks lose when they learn from anonymized pictures: train on the anonymized split, test on the original one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, TaskMeta
from dp2bench.core.figures import Subsets
from dp2bench.core.results import Metric
from dp2bench.downstream.task import SCENARIOS, DownstreamTask, Evaluation, Subset

if TYPE_CHECKING:
    from dp2bench.downstream.models import Model

OFFICIAL: Mapping[str, Subset] = {
    "AP": ("AP", ""),
    "AP50": ("AP50", ""),
    "AP75": ("AP75", ""),
    "APm": ("AP", "medium"),
    "APl": ("AP", "large"),
}
"""Metric and subset of what pycocotools calls so."""


class CocoKeypoints(DownstreamTask):
    """OKS average precision on the original val split, of a network trained on the anonymized train split.

    ``clear.*`` are the same numbers of the network trained on clear pictures, the positive control, which all methods share;
    ``difference.*`` is what training on anonymized pictures changes, paired by picture.

    Args:
        model: ``small`` (embedded tiers; boxes are given), ``keypoint-rcnn`` (paper tier: torchvision's R50-FPN), or
            ``detectron2-keypoint-rcnn`` (the same of an installed detectron2).
        predictions: a file of COCO keypoint results made elsewhere by a network trained on the anonymized pictures; nothing is
            trained then, and there is no control.
        clear_predictions: the same of a network trained on clear pictures, for the control.
        recipe: fields of the model's configuration: `dp2bench.downstream.keypoints.KeypointConfig`,
            `dp2bench.downstream.rcnn.RcnnConfig` or `dp2bench.downstream.detectron.Detectron2Config`.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="coco-keypoints",
        version="1",
        kind="utility",
        main_score="AP",
        layouts=("coco",),
        metrics={
            "AP": Metric(
                higher_is_better=True,
                title="keypoint AP",
                description="Average precision, OKS from 0.50 to 0.95.",
            ),
            "AP50": Metric(higher_is_better=True, title="average precision at OKS 0.50"),
            "AP75": Metric(higher_is_better=True, title="average precision at OKS 0.75"),
        },
        scenarios=SCENARIOS,
        figures=(
            Subsets(
                title="By the size of people",
                caption="Medium and large as COCO has them: from 32 x 32 to 96 x 96 pixels, and more.",
                metrics=("AP",),
                subsets=("medium", "large"),
                x="size of the person",
            ),
        ),
        description="Keypoint AP on original pictures after training on anonymized ones, beside training on clear ones.",
        reference="Lin et al., ECCV 2014 (COCO); DeepPrivacy2, WACV 2023, training on anonymized data.",
    )
    predictions_name = "predictions.json"

    @classmethod
    def models(cls) -> Mapping[str, Model]:
        """See `DownstreamTask.models`."""
        from dp2bench.downstream.models import KEYPOINTS

        return KEYPOINTS

    def predict(self, trained: Path, dataset: Dataset, out: Path, context: RunContext) -> None:
        """See `DownstreamTask.predict`: COCO's format of keypoint results."""
        rows = self._model.predict(
            trained, dataset, self.test_split, self.recipe, device=context.device, progress=context.progress
        )
        out.write_text(json.dumps(rows), "utf-8")

    def evaluate(self, clear: Dataset, predictions: Path) -> Evaluation:
        """See `DownstreamTask.evaluate`: pycocotools."""
        from dp2bench.downstream.keypoints import annotation_file
        from dp2bench.metrics.keypoints import evaluate_keypoints, load_predictions

        there = [s.labels["image_id"] for s in clear.samples(self.test_split)]
        annotations = annotation_file(clear, self.test_split)
        found = evaluate_keypoints(annotations, load_predictions(predictions), image_ids=there)
        known = {key: name for name, key in OFFICIAL.items() if name in found.values}
        return Evaluation(
            {key: found.values[name] for key, name in known.items()},
            {key: found.pictures[name] for key, name in known.items()},
            found.people,
        )
