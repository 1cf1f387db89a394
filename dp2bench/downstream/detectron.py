"""Keypoint R-CNN and Mask R-CNN of an installed detectron2: its configuration files, its trainer, its inference.

The published controls were trained this way. What is ours: a dataset is entered in detectron2's catalogue under a name that only this
process knows, files of weights are read without running them, and predictions are written in the official results formats.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError, Dp2benchError, PluginError
from dp2bench.core.seeds import derive_seed
from dp2bench.downstream.instances import CLASSES, instance_ids, write_results
from dp2bench.downstream.keypoints import PERSON, annotation_file
from dp2bench.networks.fitting import save, write_curve

Kind = Literal["keypoint-rcnn", "mask-rcnn"]
CONFIGS: Mapping[Kind, str] = {
    "keypoint-rcnn": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "mask-rcnn": "Cityscapes/mask_rcnn_R_50_FPN.yaml",
}
"""The model zoo's configuration of the published control."""
START = "start.pth"


@dataclass(frozen=True)
class Detectron2Config:
    """What detectron2 is told; everything else is its own.

    ``config``: a file of its model zoo; the published control's where empty. ``weights``: a local file to start from (``.pkl`` of the
    zoo, ``.pth``, ``.safetensors``), ``none`` to begin at random, or empty for those that the configuration names, which are
    downloaded. ``options``: settings of the configuration to change, e.g. ``{SOLVER.MAX_ITER: 1000}``.
    """

    config: str = ""
    weights: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def version() -> str:
    """Of the installed detectron2. PluginError where there is none."""
    try:
        import detectron2
    except ImportError as error:
        raise PluginError(
            f"This model needs detectron2, which is not installed ({error}).",
            "Build it: `pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'`, or use the model of "
            "that name without `detectron2-`, which is torchvision's.",
        ) from error
    version: str = detectron2.__version__
    return version


def configuration(kind: Kind, recipe: Detectron2Config, *, device: str = "cpu") -> Any:
    """detectron2's configuration, without its datasets and with the recipe's options.

    Raises:
        PluginError: detectron2 is not installed. Dp2benchError: it has no such configuration or option.

    """
    version()
    from detectron2 import model_zoo
    from detectron2.config import get_cfg

    cfg = get_cfg()
    name = recipe.config or CONFIGS[kind]
    try:
        cfg.merge_from_file(model_zoo.get_config_file(name))
    except RuntimeError as error:
        raise Dp2benchError(
            f"detectron2's model zoo has no configuration {name!r}.", f"The default is {CONFIGS[kind]}."
        ) from error
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.TEST.EVAL_PERIOD = (), (), 0
    cfg.DATALOADER.NUM_WORKERS = 0
    if kind == "mask-rcnn":
        cfg.INPUT.MASK_FORMAT = "bitmask"  # gtFine's own pixels
    try:
        cfg.merge_from_list([part for pair in recipe.options.items() for part in pair])
    except (AssertionError, KeyError, ValueError) as error:
        raise Dp2benchError(
            f"detectron2 does not take these options: {error}.",
            "Use the names and types of its configuration, e.g. options: {SOLVER.MAX_ITER: 1000}.",
        ) from error
    cfg.MODEL.DEVICE = device
    return cfg


def _keypoint_records(dataset: Dataset) -> list[dict[str, Any]]:
    """Its reader's records of the pictures of the train split that are there."""
    from detectron2.data.datasets import load_coco_json

    there = {s.labels["image_id"]: s.path for s in dataset.samples("train")}
    rows = load_coco_json(str(annotation_file(dataset, "train")), "")
    records = [r | {"file_name": str(there[r["image_id"]])} for r in rows if r["image_id"] in there]
    for record in records:
        record["annotations"] = [
            a | {"category_id": 0} for a in record["annotations"] if a["category_id"] == PERSON
        ]
    return [r for r in records if any(_shows(a) for a in r["annotations"])]


def _shows(annotation: Mapping[str, Any]) -> bool:
    return not annotation.get("iscrowd") and any(v > 0 for v in annotation.get("keypoints", ())[2::3])


def _mask_records(dataset: Any) -> list[dict[str, Any]]:
    """Records of the instances of the train split, as run lengths of gtFine's instance ids."""
    from detectron2.structures import BoxMode
    from pycocotools import mask as runs

    records = []
    for i, sample in enumerate(dataset.samples("train")):
        ids = instance_ids(dataset, sample)
        annotations = []
        for value in (int(v) for v in np.unique(ids) if v >= 1000 and v // 1000 in CLASSES):
            mask = np.asfortranarray(ids == value).astype(np.uint8, order="F")
            x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask))
            annotations.append(
                {
                    "bbox": [x, y, x + w, y + h],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": CLASSES.index(value // 1000),
                    "segmentation": runs.encode(mask),
                    "iscrowd": 0,
                }
            )
        if annotations:
            height, width = ids.shape
            records.append(
                {
                    "file_name": str(sample.path),
                    "image_id": i,
                    "height": height,
                    "width": width,
                    "annotations": annotations,
                }
            )
    return records


def _enter(kind: Kind, dataset: Dataset) -> str:
    """Enter the train split in the catalogue; its name there."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets.builtin_meta import (
        COCO_PERSON_KEYPOINT_FLIP_MAP,
        COCO_PERSON_KEYPOINT_NAMES,
    )

    records = _keypoint_records(dataset) if kind == "keypoint-rcnn" else _mask_records(dataset)
    if not records:
        raise DatasetError(
            f"The train split of {dataset.meta.name} at {dataset.root} shows nothing to learn from.",
            "Check that its pictures and labels are there.",
        )
    name = f"dp2bench/{hashlib.sha256(str(dataset.root).encode()).hexdigest()[:16]}/{kind}"
    for catalogue in (DatasetCatalog, MetadataCatalog):
        if name in catalogue.list():
            catalogue.remove(name)
    DatasetCatalog.register(name, lambda: records)
    if kind == "keypoint-rcnn":
        MetadataCatalog.get(name).set(
            thing_classes=["person"],
            keypoint_names=COCO_PERSON_KEYPOINT_NAMES,
            keypoint_flip_map=COCO_PERSON_KEYPOINT_FLIP_MAP,
        )
    else:
        from cityscapesscripts.helpers.labels import id2label

        MetadataCatalog.get(name).set(thing_classes=[id2label[c].name for c in CLASSES])
    return name


def _start(cfg: Any, recipe: Detectron2Config, out: Path) -> str:
    """The file to start from, rewritten so that detectron2 need not unpickle it; empty to begin at random."""
    if recipe.weights == "none":
        return ""
    from detectron2.utils.file_io import PathManager

    from dp2bench.weights.reading import read_state

    try:
        path = Path(recipe.weights or PathManager.get_local_path(cfg.MODEL.WEIGHTS)).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        state = read_state(path)
    except Exception as error:  # a download fails in many ways
        raise Dp2benchError(
            f"The weights to start from cannot be had: {error}.",
            f"Download {cfg.MODEL.WEIGHTS} elsewhere and give the file as `weights`, or `none` to begin at random.",
        ) from error
    content: dict[str, Any] = {"model": state, "matching_heuristics": True}
    if not any("." in key for key in state):  # the names of Caffe2's blobs
        content["__author__"] = "Caffe2"
    torch.save(content, out / START)
    return str(out / START)


def train(
    kind: Kind,
    dataset: Dataset,
    recipe: Detectron2Config,
    out: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train on the train split and leave ``model.safetensors``, ``curve.csv``, ``metrics.json`` and ``log.txt`` in ``out``.

    A training that was killed goes on from detectron2's last checkpoint, as detectron2 does it: the order of the pictures begins anew.

    Raises:
        PluginError: detectron2 is not installed. DatasetError: nobody to learn from. Dp2benchError: the loss is not finite, or weights
            cannot be had.

    """
    cfg = configuration(kind, recipe, device=device)
    from detectron2.engine import DefaultTrainer, HookBase
    from detectron2.utils.env import seed_all_rng
    from detectron2.utils.logger import setup_logger

    setup_logger(str(out), configure_stdout=False)  # log.txt
    cfg.DATASETS.TRAIN = (_enter(kind, dataset),)
    cfg.OUTPUT_DIR = str(out)
    cfg.MODEL.WEIGHTS = _start(cfg, recipe, out)
    cfg.SEED = int(derive_seed(seed, kind)) % 2**31
    cfg.freeze()
    seed_all_rng(cfg.SEED)

    class Report(HookBase):  # type: ignore[misc]
        def after_step(self) -> None:
            progress(self.trainer.iter + 1, self.trainer.max_iter)

    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(load_checkpoint=True)
    trainer.register_hooks([Report()])
    try:
        trainer.train()
    except FloatingPointError as error:
        raise Dp2benchError(
            f"The training of detectron2's {kind} diverged: {str(error).splitlines()[0]}",
            "Lower SOLVER.BASE_LR in the task's options.",
        ) from error
    save(trainer.model, recipe, out, kind=kind)
    rows = [json.loads(line) for line in (out / "metrics.json").read_text("utf-8").splitlines()]
    curve = [(row["iteration"] + 1, row["total_loss"]) for row in rows if "total_loss" in row]
    write_curve(out, ("iteration", "loss"), curve)
    for file in (*out.glob("model_*.pth"), out / "last_checkpoint", out / START):
        file.unlink(missing_ok=True)


def _predictor(
    kind: Kind, folder: Path, recipe: Detectron2Config, device: str
) -> Callable[[np.ndarray[Any, Any]], Any]:
    cfg = configuration(kind, recipe, device=device)
    from detectron2.engine import DefaultPredictor

    logging.getLogger("fvcore.common.checkpoint").setLevel(logging.WARNING)
    cfg.MODEL.WEIGHTS = ""
    predictor = DefaultPredictor(cfg)
    predictor.model.load_state_dict(load_file(folder / "model.safetensors"))

    def said(image: np.ndarray[Any, Any]) -> Any:
        return predictor(np.ascontiguousarray(image[..., ::-1]))["instances"].to("cpu")

    return said


def predict_keypoints(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: Detectron2Config,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:
    """COCO's results format for everybody who is found in a split, written by detectron2's own function."""
    said = _predictor("keypoint-rcnn", folder, recipe, device)
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    samples = dataset.samples(split)
    results: list[dict[str, Any]] = []
    for done, sample in enumerate(samples, 1):
        rows = instances_to_coco_json(said(dataset.read(sample)), sample.labels["image_id"])
        results += [row | {"category_id": PERSON} for row in rows]
        progress(done, len(samples))
    return results


def predict_instances(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: Detectron2Config,
    out: Path,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Write a results folder in Cityscapes' format for a split to ``out``."""
    said = _predictor("mask-rcnn", folder, recipe, device)
    samples = dataset.samples(split)
    for done, sample in enumerate(samples, 1):
        instances = said(dataset.read(sample))
        masks, kinds = instances.pred_masks.numpy(), instances.pred_classes.tolist()
        write_results(out, sample, masks, kinds, instances.scores.tolist())
        progress(done, len(samples))
