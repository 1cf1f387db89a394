"""What tasks share that train a network on anonymized pictures and test it on original ones."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, Task, Training
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.hashing import content_sha256
from dp2bench.core.results import Scenario

if TYPE_CHECKING:
    from dp2bench.downstream.models import Model

SCENARIOS: Mapping[str, Scenario] = {
    "clear": Scenario(description="control: the network learned from clear pictures", clear_only=True),
    "difference": Scenario(description="anonymized less clear, paired by picture"),
}
"""Of every such task, beside the one without a name, in which the network learned from anonymized pictures."""

Subset = tuple[str, str]
"""Metric and subset of a score, as in ``("AP", "person")``."""


@dataclass(frozen=True)
class Evaluation:
    """What an official evaluator says of predictions.

    Attributes:
        values: the official numbers; what nobody could be measured on is left out.
        pictures: what each picture gives to each of them, by the picture's id; their mean is the number.
        n: annotated people or instances that count.

    """

    values: Mapping[Subset, float]
    pictures: Mapping[Subset, Mapping[str, float]]
    n: int


class DownstreamTask(Task):
    """Trains on the anonymized train split, tests on the original val split, and compares with training on clear pictures.

    Scores without a scenario are those of the network that learned from anonymized pictures. Those of `SCENARIOS` follow wherever there
    is a control. A class of its own says which models there are, how they predict and who evaluates them.

    Args:
        model: one of `models`.
        predictions: file or folder of predictions made elsewhere by a network that learned from anonymized pictures; nothing is
            trained then, and there is no control.
        clear_predictions: the same of a network that learned from clear pictures, for the control.
        recipe: fields of the model's configuration.

    """

    test_split: ClassVar[str] = "val"
    predictions_name: ClassVar[str] = "predictions"
    """What predictions are called, a file with its suffix or a folder."""

    def __init__(
        self,
        *,
        model: str = "small",
        predictions: str | None = None,
        clear_predictions: str | None = None,
        **recipe: Any,
    ) -> None:
        from dp2bench.downstream.models import choose

        name = self.meta.name
        self._model: Model = choose(self.models(), model, name)
        if clear_predictions and not predictions:
            raise Dp2benchError(
                f"{name}: clear_predictions without predictions.", "Give both, or predictions alone."
            )
        self.model = model
        self.predictions = predictions
        self.clear_predictions = clear_predictions
        own = ("model", "predictions", "clear_predictions")
        self.recipe = self._model.settings(model, name, own, recipe)

    @classmethod
    @abstractmethod
    def models(cls) -> Mapping[str, Model]:
        """The networks that can be trained, by name."""

    @abstractmethod
    def predict(self, trained: Path, dataset: Dataset, out: Path, context: RunContext) -> None:
        """Write what the network in the folder ``trained`` says of `test_split` to ``out``, in the evaluator's format."""

    @abstractmethod
    def evaluate(self, clear: Dataset, predictions: Path) -> Evaluation:
        """Ask the official evaluator. DatasetError for predictions that are not as it wants them."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`; predictions and weights by their sha256."""
        return {
            "model": self.model,
            "predictions": _content_of(self.predictions),
            "clear_predictions": _content_of(self.clear_predictions),
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
        done = out / "trained"
        if not done.exists():  # or an earlier attempt was killed while it predicted
            self._model.train(
                dataset, self.recipe, out, seed=context.seed, device=context.device, progress=context.progress
            )
            done.touch()
        if training.on == "clear":
            self._predict(out, dataset, out / self.predictions_name, context)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. The scores' units are pictures; predictions go to the artefacts."""
        ours = self._evaluated("anonymized", self.predictions, clear, context)
        for (metric, subset), value in ours.values.items():
            context.record(metric, ours.pictures[metric, subset], subset=subset, value=value, n=ours.n)
        if self.predictions and not self.clear_predictions:
            return
        control = self._evaluated("clear", self.clear_predictions, clear, context)
        both = [key for key in ours.values if key in control.values]
        for metric, subset in both:
            context.record(
                metric,
                control.pictures[metric, subset],
                scenario="clear",
                subset=subset,
                value=control.values[metric, subset],
                n=ours.n,
            )
        for key in both:
            before, after = control.pictures[key], ours.pictures[key]
            context.record(
                key[0],
                {picture: value - before[picture] for picture, value in after.items()},
                scenario="difference",
                subset=key[1],
                value=ours.values[key] - control.values[key],
                n=ours.n,
            )

    def _evaluated(self, role: str, brought: str | None, clear: Dataset, context: RunContext) -> Evaluation:
        if brought:
            return self.evaluate(clear, Path(brought))
        kept = Path(self.predictions_name)
        predictions = context.artefacts / f"{kept.stem}-{role}{kept.suffix}"
        known = context.trained[role] / kept
        if known.is_dir():
            shutil.copytree(known, predictions)
        elif known.is_file():
            shutil.copyfile(known, predictions)
        else:
            self._predict(context.trained[role], clear, predictions, context)
        return self.evaluate(clear, predictions)

    def _predict(self, trained: Path, dataset: Dataset, out: Path, context: RunContext) -> None:
        """`predict`, whole or not at all."""
        partial = out.with_name(f"{out.name}.partial")
        _remove(partial)
        self.predict(trained, dataset, partial, context)
        _remove(out)
        partial.rename(out)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _content_of(path: str | None) -> str | None:
    """sha256 of a file or of all files of a folder, so that other content makes another result; DatasetError where it is missing."""
    if path is None:
        return None
    place = Path(path)
    if not place.exists():
        raise DatasetError(
            f"There are no predictions at {path}.", "Give the file or folder that was made elsewhere."
        )
    return content_sha256(place)
