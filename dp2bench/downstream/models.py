"""The networks that a downstream task can train, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.downstream import detectron, instances, keypoints, rcnn
from dp2bench.weights.catalogue import find
from dp2bench.weights.digests import sha256


@dataclass(frozen=True)
class Model:
    """One network with its trainer.

    Attributes:
        recipe: dataclass of its settings.
        train: (dataset, recipe, out, *, seed, device, progress), leaves the trained network in the folder ``out``.
        predict: (folder, dataset, split, recipe, *, device, progress) gives COCO's results, or with ``out`` after the recipe writes a
            folder in Cityscapes' results format.
        package: gives the version of a package that is not one of ours and decides the outcome; raises PluginError where it is missing.

    """

    recipe: type[Any]
    train: Callable[..., None]
    predict: Callable[..., Any]
    package: Callable[[], str] | None = None

    def settings(self, name: str, task: str, own: tuple[str, ...], given: Mapping[str, Any]) -> Any:
        """The recipe with these settings, names of weights replaced by their files.

        Raises:
            Dp2benchError: it lacks a setting; names ``task``. PluginError: without its package. MissingWeightsError: a file is not there.

        """
        known = {f.name for f in fields(self.recipe)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise Dp2benchError(
                f"The task {task} has no argument {', '.join(unknown)} with the model {name}.",
                f"It takes: {', '.join(own)}, {', '.join(sorted(known))}.",
            )
        if self.package is not None:
            self.package()
        weights = find({k: v for k, v in given.items() if k.endswith("weights")}, f"The task {task!r}")
        return self.recipe(**{**given, **weights})

    def effective(self, recipe: Any) -> dict[str, Any]:
        """Everything that decides the outcome: the settings, local files of weights by sha256, the package's version."""
        settings = {k: _content(v) if k.endswith("weights") else v for k, v in asdict(recipe).items()}
        return settings | ({} if self.package is None else {"package": self.package()})


def _content(weights: str) -> str:
    path = Path(weights).expanduser()
    return sha256(path) if weights and path.is_file() else weights


KEYPOINTS: Mapping[str, Model] = {
    "small": Model(keypoints.KeypointConfig, keypoints.train, keypoints.predict),
    "keypoint-rcnn": Model(rcnn.RcnnConfig, partial(rcnn.train, "keypoint-rcnn"), rcnn.predict_keypoints),
    "detectron2-keypoint-rcnn": Model(
        detectron.Detectron2Config,
        partial(detectron.train, "keypoint-rcnn"),
        detectron.predict_keypoints,
        detectron.version,
    ),
}
"""Of ``coco-keypoints``."""

INSTANCES: Mapping[str, Model] = {
    "small": Model(instances.InstanceConfig, instances.train, instances.predict),
    "mask-rcnn": Model(rcnn.RcnnConfig, partial(rcnn.train, "mask-rcnn"), rcnn.predict_instances),
    "detectron2-mask-rcnn": Model(
        detectron.Detectron2Config,
        partial(detectron.train, "mask-rcnn"),
        detectron.predict_instances,
        detectron.version,
    ),
}
"""Of ``cityscapes-instances``."""


def choose(models: Mapping[str, Model], name: str, task: str) -> Model:
    """A model by name. Dp2benchError where there is no such model."""
    if name not in models:
        raise Dp2benchError(f"{task} has no model {name!r}.", f"There are: {', '.join(models)}.")
    return models[name]
