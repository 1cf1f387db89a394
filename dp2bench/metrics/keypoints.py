"""Keypoint average precision by pycocotools, its official evaluator, and what each picture contributes to it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import DatasetError

NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""The evaluator's summary, in its order."""
PRECISIONS = NAMES[:5]


@dataclass(frozen=True)
class KeypointScores:
    """What the evaluator says.

    Attributes:
        values: the official numbers by name of `NAMES`; a size that nobody has is left out (the evaluator says -1).
        pictures: {name: {image id: value}} for `PRECISIONS`: how much each picture weighs in the score, as jackknife
            pseudo-values moved so that their mean is the score. Their spread is that of the score over other pictures.
        people: annotated people who count.

    """

    values: Mapping[str, float]
    pictures: Mapping[str, Mapping[str, float]]
    people: int


def load_predictions(source: Path) -> list[dict[str, Any]]:
    """COCO's format of keypoint results, checked: a JSON list of {image_id, category_id, keypoints (51 numbers), score}.

    Raises:
        DatasetError: no such file, not JSON, or an entry that is not as COCO wants it (with its position).

    """
    remedy = "Give COCO's results format: a list of {image_id, category_id, keypoints: 51 numbers, score}."
    try:
        rows = json.loads(source.read_text("utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"There is no file of predictions {source}.", remedy) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{source} cannot be read as JSON: {error}.", remedy) from error
    if not isinstance(rows, list):
        raise DatasetError(f"{source} holds a {type(rows).__name__}, not a list.", remedy)
    for i, row in enumerate(rows):
        good = (
            isinstance(row, dict)
            and isinstance(row.get("image_id"), int)
            and isinstance(row.get("category_id"), int)
            and isinstance(row.get("keypoints"), list)
            and len(row["keypoints"]) == 51
            and all(
                isinstance(v, int | float) and np.isfinite(v) for v in (*row["keypoints"], row.get("score"))
            )
        )
        if not good:
            raise DatasetError(f"{source}: entry {i} is not a keypoint result.", remedy)
    return rows


def evaluate_keypoints(
    annotations: Path, predictions: Sequence[Mapping[str, Any]], *, image_ids: Sequence[int] | None = None
) -> KeypointScores:
    """The official evaluation (OKS, category person).

    Args:
        annotations: ``person_keypoints_*.json``.
        predictions: COCO's results format, keypoints in pixels of the picture.
        image_ids: pictures that count; all of the annotations by default.

    Raises:
        DatasetError: predictions of pictures that the annotations do not know, or nobody with keypoints.

    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        known = set(truth.getImgIds())
        strange = sorted({p["image_id"] for p in predictions} - known)
        if strange:
            raise DatasetError(
                f"{len(strange)} predicted pictures are not in {annotations}, e.g. image_id {strange[0]}.",
                "Predict for the split that these annotations describe.",
            )
        # the evaluator adds fields to what it is given, and cannot load an empty list
        found = truth.loadRes([dict(p) for p in predictions]) if predictions else COCO()
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.catIds = [1]
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        if not predictions:
            found.dataset = {"annotations": []}
            found.createIndex()
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = {n: float(v) for n, v in zip(NAMES, evaluation.stats, strict=True) if v >= 0}
    if "AP" not in values:
        raise DatasetError(
            f"{annotations} has nobody with keypoints in the pictures asked for.", "Check the split."
        )
    people, pictures = _pictures(evaluation, values)
    return KeypointScores(values, pictures, people)


class _Accumulation:
    """Precision of one range of areas, as COCOeval accumulates it, for any part of the pictures."""

    def __init__(self, evaluation: Any, area: int) -> None:
        n = len(evaluation.params.imgIds)
        entries = [
            (i, e) for i, e in enumerate(evaluation.evalImgs[area * n : (area + 1) * n]) if e is not None
        ]
        limit = evaluation.params.maxDets[-1]
        thresholds = len(evaluation.params.iouThrs)
        self.recalls = evaluation.params.recThrs
        self.people = np.zeros(n, np.int64)
        empty = np.zeros((thresholds, 0), bool)
        scores, where, hits, ignored = [np.zeros(0)], [np.zeros(0, np.int64)], [empty], [empty]
        for i, entry in entries:
            self.people[i] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
            scores.append(np.asarray(entry["dtScores"][:limit], np.float64))
            where.append(np.full(len(scores[-1]), i))
            hits.append(np.asarray(entry["dtMatches"])[:, :limit].astype(bool).reshape(thresholds, -1))
            ignored.append(np.asarray(entry["dtIgnore"])[:, :limit].astype(bool).reshape(thresholds, -1))
        order = np.argsort(-np.concatenate(scores), kind="mergesort")
        self.where = np.concatenate(where)[order]
        hit, ignore = np.concatenate(hits, 1)[:, order], np.concatenate(ignored, 1)[:, order]
        self.right, self.wrong = hit & ~ignore, ~hit & ~ignore

    def precision(self, leave: int | None = None) -> NDArray[np.float64] | None:
        """(T,) average precision at each threshold, one picture left out; None where nobody is annotated."""
        people = self.people.sum() - (0 if leave is None else self.people[leave])
        if people == 0:
            return None
        kept = slice(None) if leave is None else self.where != leave
        right, wrong = (np.cumsum(x[:, kept], 1, dtype=np.float64) for x in (self.right, self.wrong))
        precision = right / (right + wrong + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        found = np.zeros(len(precision))
        for t, (recall, row) in enumerate(zip(right / people, envelope, strict=True)):
            at = np.searchsorted(recall, self.recalls, side="left")
            found[t] = row[at[at < len(row)]].sum() / len(self.recalls)
        return found


def _pictures(evaluation: Any, values: Mapping[str, float]) -> tuple[int, dict[str, dict[str, float]]]:
    areas = list(evaluation.params.areaRngLbl)
    thresholds = list(np.round(evaluation.params.iouThrs, 2))
    picks: dict[str, tuple[str, slice]] = {
        "AP": ("all", slice(None)),
        "AP50": ("all", slice(thresholds.index(0.5), thresholds.index(0.5) + 1)),
        "AP75": ("all", slice(thresholds.index(0.75), thresholds.index(0.75) + 1)),
        "APm": ("medium", slice(None)),
        "APl": ("large", slice(None)),
    }
    ids = [str(i) for i in evaluation.params.imgIds]
    out: dict[str, dict[str, float]] = {}
    people = 0
    for area in ("all", "medium", "large"):
        accumulation = _Accumulation(evaluation, areas.index(area))
        people = int(accumulation.people.sum()) if area == "all" else people
        touched = np.unique(np.concatenate([np.flatnonzero(accumulation.people), accumulation.where]))
        left = {int(i): accumulation.precision(int(i)) for i in touched}
        for name, (wanted, pick) in picks.items():
            if wanted != area or name not in values:
                continue
            whole = values[name]
            without = np.full(len(ids), whole)
            for i, precision in left.items():
                if precision is not None:
                    without[i] = precision[pick].mean()
            influence = (len(ids) - 1) * (without.mean() - without)
            out[name] = dict(zip(ids, (whole + influence).tolist(), strict=True))
    return people, out
