"""Instance segmentation average precision by cityscapesscripts, its official evaluator, and what each picture contributes to it."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import DatasetError

CLASSES = ("person", "rider")
"""Who is anonymized."""
PEOPLE = "people"
"""Subset: the mean over those of `CLASSES` that the pictures hold."""
Subset = tuple[str, str]
"""Metric and class, as in ``("AP50", "rider")``; the class is empty over all that the pictures hold."""


@dataclass(frozen=True)
class InstanceScores:
    """What the evaluator says.

    Attributes:
        values: the official AP and AP50, over all classes and of each of `CLASSES`, and their mean; a class that no picture holds
            is left out (the evaluator says NaN).
        classes: AP of every class there is.
        pictures: by picture, how much each picture weighs, as jackknife pseudo-values moved so that their mean is
            the score.
        instances: annotated instances that count.

    """

    values: Mapping[Subset, float]
    classes: Mapping[str, float]
    pictures: Mapping[Subset, Mapping[str, float]]
    instances: int


def evaluate_instances(ground_truth: Sequence[Path], predictions: Path) -> InstanceScores:
    """The official evaluation of a results folder.

    Args:
        ground_truth: the files ``*_gtFine_instanceIds.png`` that count.
        predictions: folder that holds, anywhere, one ``<city>_<sequence>_<frame>*.txt`` a picture with lines
            ``mask.png labelId confidence``, masks beside or below it.

    Raises:
        DatasetError: a picture without a results file or with two, or a line that breaks the format.

    """
    if not predictions.is_dir():
        raise DatasetError(f"There is no folder of predictions {predictions}.", _FORMAT)
    if not ground_truth:
        raise DatasetError("No ground truth to evaluate against.", "Check the split.")
    with _official() as (official, said):
        try:
            args = copy.deepcopy(official.args)
            args.quiet = True
            # the evaluator compares prefixes of texts
            args.predictionPath = str(predictions.resolve())
            official.setInstanceLabels(args)
            files = [str(path.resolve()) for path in ground_truth]
            found = [official.getPrediction(file, args) for file in files]
            truth = official.instances2dict(files, False)
            matches = official.matchGtWithPreds(found, files, truth, args)
            precisions = official.evaluateMatches(matches, args)
        except SystemExit as error:
            raise DatasetError(
                f"The predictions in {predictions} cannot be evaluated: {_last_line(said.getvalue())}.",
                _FORMAT,
            ) from error
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"The predictions in {predictions} cannot be read: {type(error).__name__}: {error}.", _FORMAT
            ) from error
        if np.isnan(precisions[0]).all():
            raise DatasetError("The ground truth holds no instances.", "Check the split.")
        averages = official.computeAverages(precisions, args)
    values = {("AP", ""): float(averages["allAp"]), ("AP50", ""): float(averages["allAp50%"])}
    for metric, theirs in (("AP", "ap"), ("AP50", "ap50%")):
        of_class = {label: float(averages["classes"][label][theirs]) for label in CLASSES}
        there = {(metric, label): value for label, value in of_class.items() if np.isfinite(value)}
        values |= there
        if there:
            values[metric, PEOPLE] = float(np.mean(list(there.values())))
    classes = {k: float(v["ap"]) for k, v in averages["classes"].items() if np.isfinite(v["ap"])}
    counted = sum(_counts(g) for m in matches.values() for k in args.instLabels for g in m["groundTruth"][k])
    return InstanceScores(values, classes, _pictures(matches, args, values), counted)


_FORMAT = (
    "Cityscapes' results format: one <city>_<sequence>_<frame>*.txt a picture with lines `mask.png labelId confidence`, "
    "masks inside the folder."
)


@contextlib.contextmanager
def _official() -> Iterator[tuple[Any, io.StringIO]]:
    """The evaluator, and what it prints; NumPy 2.4 dropped a function that it calls."""
    said = io.StringIO()
    missing = not hasattr(np, "in1d")
    if missing:
        np.in1d = np.isin  # type: ignore[attr-defined]  # noqa: NPY201
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official  # noqa: N813

            with np.errstate(invalid="ignore"):
                yield official, said
    finally:
        if missing:
            del np.in1d  # type: ignore[attr-defined]  # noqa: NPY201


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else "no reason was given"


SMALLEST = 100
"""Pixels under which the evaluator ignores an annotated instance."""


def _counts(instance: Mapping[str, Any]) -> bool:
    """No group, and large enough."""
    return bool(instance["instID"] >= 1000 and instance["pixelCount"] >= SMALLEST)


@dataclass(frozen=True)
class _Part:
    """What one picture gives to one class at one overlap."""

    right: NDArray[np.float64]
    scores: NDArray[np.float64]
    unfound: int
    has_truth: bool
    has_prediction: bool


def _overlap(a: Mapping[str, Any], b: Mapping[str, Any], shared: int) -> float:
    return float(shared / (a["pixelCount"] + b["pixelCount"] - shared))


def _part(match: Mapping[str, Any], label: str, threshold: float) -> _Part:
    predictions = match["prediction"][label]
    truth = [g for g in match["groundTruth"][label] if _counts(g)]
    right: list[float] = []
    scores: list[float] = []
    unfound = 0
    for instance in truth:
        hits = sorted(
            (
                p["confidence"]
                for p in instance["matchedPred"]
                if _overlap(instance, p, p["intersection"]) > threshold
            ),
            reverse=True,
        )
        # the most confident one is right, further ones are false alarms
        right += [1.0] * bool(hits) + [0.0] * (len(hits) - 1)
        scores += hits
        unfound += not hits
    for prediction in predictions:
        near = prediction["matchedGt"]
        if any(_overlap(g, prediction, g["intersection"]) > threshold for g in near):
            continue
        ignored = prediction["voidIntersection"]
        ignored += sum(g["intersection"] for g in near if g["instID"] < 1000)
        # a small group is counted twice, as the evaluator does: every group has a small class of its own
        ignored += sum(g["intersection"] for g in near if g["pixelCount"] < SMALLEST)
        if float(ignored) / prediction["pixelCount"] <= threshold:
            right.append(0.0)
            scores.append(prediction["confidence"])
    return _Part(np.array(right), np.array(scores), unfound, bool(truth), bool(predictions))


def _precision(parts: Sequence[_Part]) -> float:
    """Area under the curve of one class at one overlap, as the evaluator integrates it; NaN without annotated instances."""
    if not any(p.has_truth for p in parts):
        return float("nan")
    right = np.concatenate([p.right for p in parts])
    if not any(p.has_prediction for p in parts) or not len(right):
        return 0.0
    scores = np.concatenate([p.scores for p in parts])
    unfound = sum(p.unfound for p in parts)
    order = np.argsort(scores)
    below = np.concatenate([[0.0], np.cumsum(right[order])])  # right ones before each position
    _, first = np.unique(scores[order], return_index=True)
    hits = below[-1] - below[first]
    precision = np.append(hits / (len(right) - first), 1.0)
    total = below[-1] + unfound
    recall = np.append(hits / total if total else np.zeros(len(first)), 0.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ np.convolve(padded, [-0.5, 0, 0.5], "valid"))


def _pictures(
    matches: Mapping[str, Any], args: Any, values: Mapping[Subset, float]
) -> dict[Subset, dict[str, float]]:
    keys = list(matches)
    labels, overlaps = list(args.instLabels), list(args.overlaps)
    whole = np.empty((len(labels), len(overlaps)))
    without = np.empty((len(keys), len(labels), len(overlaps)))
    for i, label in enumerate(labels):
        for j, threshold in enumerate(overlaps):
            parts = [_part(matches[k], label, threshold) for k in keys]
            whole[i, j] = _precision(parts)
            for n, part in enumerate(parts):
                touched = part.has_truth or part.has_prediction
                without[n, i, j] = _precision(parts[:n] + parts[n + 1 :]) if touched else whole[i, j]
    # a class that only one picture holds keeps its value without that picture
    without = np.where(np.isnan(without), whole, without)
    names = [Path(k).name.removesuffix("_gtFine_instanceIds.png") for k in keys]
    half = [j for j, threshold in enumerate(overlaps) if np.isclose(threshold, 0.5)]
    out = {}
    for (metric, label), value in values.items():
        classes = {"": labels, PEOPLE: CLASSES}.get(label, (label,))
        rows = [i for i, name in enumerate(labels) if name in classes and not np.isnan(whole[i]).all()]
        columns = half if metric == "AP50" else list(range(len(overlaps)))
        left = without[:, rows][:, :, columns].mean((1, 2))
        influence = (len(keys) - 1) * (left.mean() - left)
        out[metric, label] = dict(zip(names, (value + influence).tolist(), strict=True))
    return out
