"""Training of the embedded detector: both networks at once, on pictures whose people have masks and surfaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from dp2bench.core import templates
from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.core.templates import Template
from dp2bench.core.types import People, Sample
from dp2bench.core.yaml_model import parse, read_text
from dp2bench.detection import checkpoints
from dp2bench.detection.compact.detectors import (
    BODY_STRIDE,
    CROP,
    FACE,
    GREY,
    PERSON,
    STRIDE,
    TEMPLATE,
    Networks,
    boxes_at,
    crop_box,
    save,
    to_crop,
)
from dp2bench.networks import efficientnet
from dp2bench.networks.fitting import fit
from dp2bench.networks.frozen_backbone import warp_crop
from dp2bench.weights.reading import read_state

_EXTENT = 0.54
"""Share of a box over which its centre's bell reaches, and within which its size is learned (TTFNet)."""
_SMALLEST = {PERSON: 8, FACE: 4}
"""Pixels of a box's height; who is lower is neither learned nor counted as background."""
_SMALLEST_AREA = 40
_VISIBLE = {PERSON: 0.1, FACE: 0.6}
"""Share that must be left after cutting."""
_RIGHT = 1.5
"""Distance of embeddings, whose columns have standard deviation 1, within which a vertex counts as about right."""
_NOBODY = 0.1
"""Share of crops that show nobody."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """Pictures to learn from.

    Attributes:
        dataset: name of a dataset whose people have masks, and surfaces of the template `TEMPLATE`.
        arguments: of that dataset, e.g. its size.
        split: the split to learn from.
        limit: only the first so many pictures of it.

    """

    dataset: str
    arguments: dict[str, Any] = {}
    split: str = "train"
    limit: int | None = Field(default=None, ge=1)


class DetectorConfig(_Strict):
    """One training of the embedded detector.

    Attributes:
        name: names the run and the weights.
        licence: of the trained weights, written into their file.
        channels: of the decoders.
        region: pixels of the squares that people and faces are found in.
        zoom: from and to which factor pictures are scaled before.
        people: crops of people from each picture.
        epochs: how often each picture is seen, each time otherwise.
        batch_size: pictures of one step.
        precision: of the forward pass.

    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    licence: str = ""
    data: Data
    channels: int = Field(96, ge=8)
    region: int = Field(384, ge=64, multiple_of=32)
    zoom: tuple[float, float] = (0.6, 2.0)
    people: int = Field(3, ge=1)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    seed: int = Field(0, ge=0)


def shipped() -> dict[str, str]:
    """Text of every recipe that comes with the package, by name."""
    folder = resources.files(__package__) / "recipes"
    return {p.name[:-5]: p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".yaml")}


def load_recipe(source: str, overrides: Mapping[str, Any] | None = None) -> DetectorConfig:
    """The recipe of a YAML file or one that comes with the package, by name.

    Args:
        source: path or name.
        overrides: values in place of the file's, by key.

    Raises:
        Dp2benchError: no such file or name, no YAML, or an unknown key or bad value, which it names.

    """
    known = shipped()
    if source not in known and not Path(source).is_file():
        raise Dp2benchError(
            f"There is no recipe {source}.",
            f"Give the path of a YAML file or one of: {', '.join(sorted(known))}.",
        )
    text = known[source] if source in known else read_text(Path(source), Dp2benchError)
    recipe = parse(DetectorConfig, text, source, Dp2benchError)
    return DetectorConfig.model_validate({**recipe.model_dump(), **(overrides or {})})


@dataclass(frozen=True)
class Scene:
    """A picture and everybody in it.

    Attributes:
        picture: (H, W, 3) uint8.
        owner: (H, W) uint8, 1 + index of the person that a pixel shows, 0 nobody.
        vertices: (H, W) int16, -1 where no surface is known.
        faces: (N, 4) float32, NaN where none.

    """

    picture: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    vertices: NDArray[np.int16]
    faces: NDArray[np.float32]


def scene(dataset: Dataset, sample: Sample) -> Scene:
    """A sample as a scene; a DatasetError where its people have no masks or surfaces of another template."""
    people = dataset.people(sample)
    if people is None or people.masks is None:
        raise DatasetError(
            f"The people of {dataset.meta.name} have no masks ({sample.id}).",
            "Take a dataset of scenes, e.g. passersby-coco or passersby-cityscapes.",
        )
    picture = dataset.read(sample)
    owner = np.zeros(picture.shape[:2], np.uint8)
    vertices = np.full(picture.shape[:2], -1, np.int16)
    for i in range(min(len(people), 255)):
        owner[people.masks[i]] = i + 1
        surface = people.surfaces[i]
        if surface is None:
            continue
        if surface.template != TEMPLATE:
            raise DatasetError(
                f"The surfaces of {dataset.meta.name} are {surface.template}; the embedded detector learns {TEMPLATE}.",
                "Take a dataset of rendered scenes, e.g. passersby-coco.",
            )
        x0, y0, x1, y1 = surface.box.tolist()
        known = surface.vertices >= 0
        vertices[y0:y1, x0:x1][known] = surface.vertices[known]
    return Scene(picture, owner, vertices, _faces(people))


def _faces(people: People) -> NDArray[np.float32]:
    return np.full((len(people), 4), np.nan, np.float32) if people.faces is None else people.faces


def mirrored(seen: Scene, template: Template) -> Scene:
    """The scene flipped left to right; surfaces change sides."""
    width = seen.picture.shape[1]
    faces = seen.faces[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    return Scene(
        np.ascontiguousarray(seen.picture[:, ::-1]),
        np.ascontiguousarray(seen.owner[:, ::-1]),
        template.mirror(seen.vertices.astype(np.int32)).astype(np.int16),
        faces.astype(np.float32),
    )


def recoloured(picture: NDArray[np.uint8], r: np.random.Generator) -> NDArray[np.uint8]:
    """Another light, another camera: tones, colours, blur, noise, JPEG."""
    steps = np.arange(256) / 255
    curve = np.clip(
        (steps ** r.uniform(0.7, 1.4) - 0.5) * r.uniform(0.6, 1.3) + 0.5 + r.uniform(-0.15, 0.15), 0, 1
    )
    table = np.clip(curve[:, None] * r.uniform(0.85, 1.15, 3), 0, 1)
    out: Any = cv2.LUT(picture, (table * 255).round().astype(np.uint8)[None])
    if r.random() < 0.5:
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
        colour = float(r.uniform(0, 1.5))
        out = cv2.addWeighted(out, colour, grey, 1 - colour, 0)
    if r.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(r.uniform(0.4, 1.6)))
    if r.random() < 0.3:
        noise = r.standard_normal((out.shape[0] // 2, out.shape[1] // 2, 3), np.float32) * r.uniform(2, 12)
        out = cv2.add(out, cv2.resize(noise, out.shape[1::-1]), dtype=cv2.CV_8U)
    if r.random() < 0.5:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(r.integers(30, 95))])
        out = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return np.asarray(out, np.uint8)


class Region(NamedTuple):
    """A square to find people in: pixels, and what is there.

    Attributes:
        pixels: (R, R, 3) uint8.
        heat: (2, h, w) float32, 1 at centres.
        boxes: (2, h, w, 4) float32 xyxy pixels, of whom the cell belongs to.
        weight: (2, h, w) float32 of the box, 0 where there is none.
        counts: (2, h, w) float32, 0 where nothing is said of the heat.

    """

    pixels: NDArray[np.uint8]
    heat: NDArray[np.float32]
    boxes: NDArray[np.float32]
    weight: NDArray[np.float32]
    counts: NDArray[np.float32]


def region(seen: Scene, r: np.random.Generator, recipe: DetectorConfig) -> Region:
    """A random square of the scaled scene, mostly around somebody."""
    side = recipe.region
    height, width = seen.owner.shape
    zoom = float(np.exp(r.uniform(*np.log(recipe.zoom))))
    ys, xs = np.nonzero(seen.owner)
    if len(xs) and r.random() < 0.8:
        k = int(r.integers(len(xs)))
        centre = np.array([xs[k], ys[k]]) * zoom + r.uniform(-side / 3, side / 3, 2)
    else:
        centre = r.uniform(0, [width * zoom, height * zoom])
    # As little as possible of what is outside.
    extent = np.array([width, height]) * zoom
    low, high = np.minimum(side / 2, extent - side / 2), np.maximum(side / 2, extent - side / 2)
    shift = side / 2 - np.clip(centre, low, high)
    affine = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    pixels = warp_crop(seen.picture, affine, (side, side), GREY)
    owner = nearest(seen.owner, affine, (side, side), 0)
    entire = np.bincount(seen.owner.ravel(), minlength=256) * zoom * zoom
    found: list[tuple[int, NDArray[np.float64], bool]] = []
    for k in np.unique(owner[owner > 0]).tolist():
        mask = (owner == k).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        area = int(cv2.countNonZero(mask))
        learned = h >= _SMALLEST[PERSON] and area >= max(_SMALLEST_AREA, _VISIBLE[PERSON] * entire[k])
        found.append((PERSON, np.array([x, y, x + w, y + h], np.float64), learned))
    for face in seen.faces[np.isfinite(seen.faces).all(1)]:
        whole = face * zoom + np.tile(shift, 2)
        box = np.clip(whole, 0, side)
        (w, h), (w_all, h_all) = box[2:] - box[:2], whole[2:] - whole[:2]
        if min(w, h) > 0:
            learned = h >= _SMALLEST[FACE] and w * h >= _VISIBLE[FACE] * w_all * h_all
            found.append((FACE, box.astype(np.float64), learned))
    return Region(pixels, *goals(found, side))


def goals(
    found: list[tuple[int, NDArray[np.float64], bool]], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat, boxes, weight and counts (see `Region`) of classes, boxes in pixels and whether they are to be learned."""
    n = side // STRIDE
    heat, weight = np.zeros((2, n, n), np.float32), np.zeros((2, n, n), np.float32)
    counts, boxes = np.ones((2, n, n), np.float32), np.zeros((2, n, n, 4), np.float32)
    for kind, box, learned in found:
        if not learned:
            x0, y0, x1, y1 = (np.clip([*np.floor(box[:2]), *np.ceil(box[2:])], 0, side) / STRIDE).astype(int)
            counts[kind, y0 : y1 + 1, x0 : x1 + 1] = 0
    # Those in front of larger ones have the last word on a cell.
    for kind, box, learned in sorted(found, key=lambda f: -float((f[1][2:] - f[1][:2]).prod())):
        if not learned:
            continue
        size = (box[2:] - box[:2]) / STRIDE
        x, y = np.clip((box[:2] + box[2:]) / 2 // STRIDE, 0, n - 1).astype(int)
        across, down = (size / 2 * _EXTENT).astype(int)
        x0, y0, x1, y1 = max(0, x - across), max(0, y - down), min(n, x + across + 1), min(n, y + down + 1)
        dx, dy = (np.arange(x0, x1) - x) / (2 * across + 1) * 6, (np.arange(y0, y1) - y) / (2 * down + 1) * 6
        bell = np.exp(-(dx[None] ** 2 + dy[:, None] ** 2) / 2).astype(np.float32)
        heat[kind, y0:y1, x0:x1] = np.maximum(heat[kind, y0:y1, x0:x1], bell)
        boxes[kind, y0:y1, x0:x1] = box
        weight[kind, y0:y1, x0:x1] = bell / bell.sum() * np.log(1 + (box[2:] - box[:2]).prod())
        counts[kind, y0:y1, x0:x1] = 1
    return heat, boxes, weight, counts


class Crop(NamedTuple):
    """What the `Body` network learns from: pixels, (h, w) uint8 mask from 0 to 255, (h, w) int16 vertices."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    vertices: NDArray[np.int16]


def crops(seen: Scene, r: np.random.Generator, many: int) -> list[Crop]:
    """At most ``many`` crops around people, boxes shaken as those of a network are, some around nobody."""
    areas = np.bincount(seen.owner.ravel(), minlength=256)[1:]
    who = np.flatnonzero(areas >= _SMALLEST_AREA) + 1
    out = []
    for k in r.permutation(who)[:many].tolist():
        box = np.array(cv2.boundingRect((seen.owner == k).view(np.uint8)), np.float64)
        box[2:] += box[:2]
        if r.random() < _NOBODY:
            size = box[2:] - box[:2]
            corner = r.uniform(-size / 4, np.array(seen.owner.shape[::-1]) - size * 0.75)
            box, k = np.concatenate((corner, corner + size)), 255  # noqa: PLW2901 - nobody has this number
            x0, y0, x1, y1 = np.clip(box, 0, None).astype(int)
            if (seen.owner[y0:y1, x0:x1] > 0).mean() > 0.1:
                continue
        box += r.normal(0, 0.06, 4) * np.tile(box[2:] - box[:2], 2)
        if (box[2:] - box[:2]).min() < 2:
            continue
        area = crop_box(box)
        pixels = warp_crop(seen.picture, to_crop(area), CROP[::-1])
        if r.random() < 0.3:
            worse = float(r.uniform(0.25, 0.8))
            small = cv2.resize(pixels, None, fx=worse, fy=worse, interpolation=cv2.INTER_AREA)
            pixels = np.asarray(cv2.resize(small, CROP[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        half = (CROP[0] // BODY_STRIDE, CROP[1] // BODY_STRIDE)
        affine, shape = to_crop(area, half), half[::-1]
        mask = warp_crop((seen.owner == k).astype(np.uint8) * 255, affine, shape)
        own = nearest(seen.owner, affine, shape, 0) == k
        vertices = np.where(own, nearest(seen.vertices, affine, shape, -1), -1).astype(np.int16)
        out.append(Crop(pixels, mask, vertices))
    return out


def nearest(values: Any, affine: NDArray[np.float64], size: tuple[int, int], border: int) -> Any:
    """As `warp_crop`, without mixing values."""
    centred = affine.copy()
    centred[:, 2] += affine[:, :2].sum(1) / 2 - 0.5
    return cv2.warpAffine(values, centred, size, flags=cv2.INTER_NEAREST, borderValue=border)


def finder_loss(logits: Tensor, sides: Tensor, regions: list[Region]) -> Tensor:
    """Focal loss of centres (Law & Deng, ECCV 2018) and generalised IoU of boxes."""
    device = logits.device
    heat, boxes, weight, counts = (
        torch.from_numpy(np.stack([r[i] for r in regions])).to(device) for i in range(1, 5)
    )
    centre = (heat == 1).float()
    found, not_found = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    by_cell = centre * (1 - p) ** 2 * found + (1 - centre) * (1 - heat) ** 4 * p**2 * not_found
    centres = -(by_cell * counts).sum() / centre.sum().clamp(min=1)
    some = weight > 0
    said = boxes_at(sides)[some]
    by_box = generalized_box_iou_loss(said, boxes[some]) if len(said) else said.sum(1)
    return centres + 5 * (by_box * weight[some]).sum() / weight.sum().clamp(min=1)


def body_loss(
    mask: Tensor, right: Tensor, embeddings: Tensor, found: list[Crop], table: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of masks, embeddings and how sure they are; and the mean IoU of the masks of those who show somebody."""
    device = mask.device
    goal = torch.from_numpy(np.stack([c.mask for c in found])).to(device).float() / 255
    vertices = torch.from_numpy(np.stack([c.vertices for c in found])).to(device).long()
    by_pixel = F.binary_cross_entropy_with_logits(mask, goal)
    chance = mask.sigmoid()
    dice = 1 - (2 * (chance * goal).sum((1, 2)) + 1) / (chance.sum((1, 2)) + goal.sum((1, 2)) + 1)
    known = vertices >= 0
    wanted = table[vertices.clamp(min=0)].movedim(-1, 1)
    off = F.smooth_l1_loss(embeddings, wanted, reduction="none").mean(1)
    by_vertex = off[known].sum() / known.sum().clamp(min=1)
    with torch.no_grad():
        good = (((embeddings - wanted) ** 2).sum(1) < _RIGHT**2) & known
        asked = (goal > 0.5) | (mask > 0)
    by_trust = F.binary_cross_entropy_with_logits(right[asked], good[asked].float())
    said, truth = mask.detach() > 0, goal > 0.5
    iou = (said & truth).sum((1, 2)) / (said | truth).sum((1, 2)).clamp(min=1)
    somebody = truth.any(2).any(1)
    return by_pixel + dice.mean() + 2 * by_vertex + 0.2 * by_trust, iou[somebody].mean()


def train(
    dataset: Dataset,
    recipe: DetectorConfig,
    out: Path,
    *,
    start: Path | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Path:
    """Train and leave ``detector.safetensors`` and ``curve.csv`` in ``out``; goes on after a kill.

    Args:
        dataset: scenes.
        recipe: how.
        out: the run's folder.
        start: weights or checkpoint of an earlier training to begin with, of as many channels; None begins with ImageNet's.
        device: of torch.
        progress: called with steps.

    Raises:
        DatasetError: no pictures, or people without masks or with other surfaces.
        Dp2benchError: ``out`` holds the run of another recipe, or the loss is not finite.

    """
    samples = dataset.samples(recipe.data.split)[: recipe.data.limit]
    if not samples:
        raise DatasetError(
            f"The {recipe.data.split} split of {dataset.meta.name} is empty.", "Choose another split."
        )
    scene(dataset, samples[0])
    out.mkdir(parents=True, exist_ok=True)
    begun = None if start is None else checkpoints.describe(start, "").sha256
    kept = out / "recipe.json"
    text = json.dumps({**recipe.model_dump(mode="json"), "start_sha256": begun}, indent=1)
    if kept.exists() and kept.read_text("utf-8") != text:
        raise Dp2benchError(f"{out} holds a run of another recipe.", "Choose another folder, or delete it.")
    kept.write_text(text, "utf-8")
    weights = out / "detector.safetensors"
    if weights.exists():
        return weights
    template = templates.get(TEMPLATE)
    table = torch.from_numpy(template.embeddings).to(device)
    trunk = efficientnet.pretrained(device).requires_grad_(False)
    torch.manual_seed(derive_seed(recipe.seed, "detector"))
    networks: Any = Networks(recipe.channels)
    if start is not None:
        try:
            networks.load_state_dict(read_state(start))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:240]
            raise Dp2benchError(
                f"{start} holds no detector of {recipe.channels} channels: {reason}.",
                "Give a detector.safetensors or a checkpoint.pt that `dp2bench train detector` wrote with such a recipe.",
            ) from error
    networks = networks.to(device, memory_format=torch.channels_last)

    def maps(pictures: list[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            x = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2)
            found = trunk.maps(x, deepest=8)
        return found[4], found[8]

    def loss_of(chosen: Tensor) -> tuple[Tensor, Tensor]:
        r = np.random.default_rng(int(torch.randint(2**62, ())))
        regions, people = [], []
        for i in chosen.tolist():
            seen = scene(dataset, samples[i])
            if r.random() < 0.5:
                seen = mirrored(seen, template)
            seen = Scene(recoloured(seen.picture, r), seen.owner, seen.vertices, seen.faces)
            regions.append(region(seen, r, recipe))
            people += crops(seen, r, recipe.people)
        mixed = recipe.precision == "bf16-mixed"
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed):
            centres = networks.finder(*maps([a.pixels for a in regions]))
        loss = finder_loss(centres[0], centres[1], regions)
        if not people:
            return loss, loss.new_tensor(0.0)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed):
            bodies = networks.body.answer(*maps([c.pixels for c in people]))
        more, iou = body_loss(bodies[0], bodies[1], bodies[2], people, table)
        return loss + more, torch.nan_to_num(iou)

    fit(
        networks,
        loss_of,
        len(samples),
        out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        progress=progress,
        what="the detector",
        measure="iou",
    )
    told = {
        "channels": recipe.channels,
        "template": TEMPLATE,
        "licence": recipe.licence,
        "trained_on": f"{dataset.meta.name} {dataset.meta.version}, {recipe.data.split}",
        "recipe": recipe.model_dump(mode="json"),
        "start_sha256": begun,
    }
    save(networks, weights, told)
    (out / "checkpoint.pt").unlink(missing_ok=True)
    return weights
