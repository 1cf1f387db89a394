import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dp2bench.core import registry
from dp2bench.core.contracts import Detector
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.types import Category, People, SurfaceMap
from dp2bench.datasets.passersby.coco import PassersbyCoco
from dp2bench.detection.compact import networks as compact
from dp2bench.detection.compact import predictor, samples
from dp2bench.detection.compact.detectors import EmbeddedFace, EmbeddedMask, EmbeddedSurface
from dp2bench.detection.compact.networks import FACE, PERSON, Networks
from dp2bench.detection.compact.predictor import CompactPredictor
from dp2bench.detection.compact.recipe import DetectorConfig, load_recipe
from dp2bench.detection.compact.training import train_detector
from dp2bench.detection.ensemble import deepprivacy2
from dp2bench.metrics.coverage import match
from dp2bench.weights import embedded as shipped
from dp2bench.weights.digests import sha256


@pytest.fixture(scope="module")
def scenes():
    """Three val scenes and who is in them; the detector was trained on train scenes alone."""
    dataset = PassersbyCoco("smoke")
    samples = dataset.samples("val")[:3]
    return [dataset.read(s) for s in samples], [dataset.people(s) for s in samples]


@pytest.fixture(scope="module")
def found(scenes):
    return deepprivacy2().detect(scenes[0], [None] * 3)


def test_the_shipped_file():
    assert sha256(shipped.path("embedded-detector")) == shipped.manifest()["embedded-detector"]["sha256"]
    assert shipped.path("embedded-detector").stat().st_size < 6_000_000
    with safe_open(shipped.path("embedded-detector"), framework="numpy") as file:  # a format without code
        told = json.loads(file.metadata()["detector"])
    assert told["template"] == compact.TEMPLATE
    assert told["trained_on"].endswith(", train")
    assert told["licence"] == "Apache-2.0"
    assert DetectorConfig.model_validate(told["recipe"]).name == "passersby-people"


def test_people_of_rendered_scenes_are_found(scenes, found):
    truth = [p for people in scenes[1] for p in people.masks.sum((1, 2))]
    hits = [
        hit
        for people, got in zip(scenes[1], found, strict=True)
        for hit in match(people.boxes, got.boxes[got.categories != Category.FACE]) >= 0
    ]
    seen = np.array(hits)[np.array(truth) >= 32**2]
    assert seen.mean() >= 0.8
    covered = pixels = 0
    for people, got in zip(scenes[1], found, strict=True):
        large = people.masks[people.masks.sum((1, 2)) >= 32**2].any(0)
        covered, pixels = covered + int((large & got.masks.any(0)).sum()), pixels + int(large.sum())
    assert covered >= 0.8 * pixels


def test_surfaces_are_those_of_the_template(scenes):
    everybody = EmbeddedSurface(surface_threshold=0.0).detect(scenes[0][:1], [None])
    assert all(s is not None for got in everybody for s in got.surfaces)
    for image, got in zip(scenes[0], everybody, strict=False):
        for mask, surface in zip(got.masks, got.surfaces, strict=True):
            if surface is None:
                continue
            assert surface.template == compact.TEMPLATE
            x0, y0, x1, y1 = surface.box.tolist()
            assert 0 <= x0 < x1 <= image.shape[1]
            assert 0 <= y0 < y1 <= image.shape[0]
            assert surface.vertices.shape == (y1 - y0, x1 - x0)
            assert ((surface.vertices >= 0) <= mask[y0:y1, x0:x1]).all()
            assert surface.vertices.max() < 13380


def test_faces_are_found(scenes, found):
    there, seen = 0, 0
    for people, got in zip(scenes[1], found, strict=True):
        tall = people.faces[np.isfinite(people.faces).all(1)]
        tall = tall[tall[:, 3] - tall[:, 1] >= 12]
        faces = got.faces[np.isfinite(got.faces).all(1)]
        there += len(tall)
        seen += int((match(tall, faces, 0.4) >= 0).sum())
    assert there
    assert seen >= 0.6 * there


def test_the_same_picture_gives_the_same_people(scenes, found):
    again = deepprivacy2().detect(scenes[0][1::-1], [None] * 2)[::-1]
    for a, b in zip(found[:2], again, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.masks, b.masks)
        np.testing.assert_array_equal(a.scores, b.scores)
        assert a.categories.tolist() == b.categories.tolist()


def test_the_modalities_by_their_registered_names(scenes):
    image = scenes[0][0][::2, ::2]
    masks, surfaces, faces = (
        registry.create("detectors", f"embedded-{name}", {}) for name in ("mask", "surface", "face")
    )
    for detector in (masks, surfaces, faces):
        assert isinstance(detector, Detector)
        assert detector.meta.weights[0].sha256 == shipped.manifest()["embedded-detector"]["sha256"]
        assert detector.meta.weights[0].licence == "Apache-2.0"
    assert set(faces.detect([image], [None])[0].categories.tolist()) <= {Category.FACE}
    assert set(masks.detect([image], [None])[0].categories.tolist()) <= {Category.PERSON}
    assert set(surfaces.detect([image], [None])[0].categories.tolist()) <= {Category.PERSON_WITH_SURFACE}


def test_nobody_is_dropped_for_an_unsure_surface_and_categories_are_three(scenes):
    image = scenes[0][0][::2, ::2]
    look = CompactPredictor()
    seen = look.predict(image)
    everybody = EmbeddedMask(predictor=look).detect([image], [None])[0]
    assert len(everybody) == len(seen.boxes) > 0
    middle = float(np.sort(seen.surface_confidence)[len(seen.surface_confidence) // 2])
    surface_confidence = EmbeddedSurface(surface_threshold=middle).detect([image], [None])[0]
    assert len(surface_confidence) == (seen.surface_confidence >= middle).sum()
    assert len(EmbeddedSurface(surface_threshold=1.01).detect([image], [None])[0]) == 0
    for got in (everybody, surface_confidence):
        assert got.masks.any((1, 2)).all(), "everybody has pixels"
    assert len(EmbeddedFace(predictor=look).detect([image], [None])[0]) == len(seen.faces)


def test_a_box_without_an_outline_is_covered_whole(monkeypatch, scenes):
    look = CompactPredictor()
    boxes = np.array([[10, 20, 60, 120], [600, 440, 640, 480]], np.float32)
    monkeypatch.setattr(predictor, "paste_masks", lambda m, b, size: np.zeros((len(m), *size), bool))
    with torch.inference_mode():
        masks, surfaces, surface_confidence = look._bodies(look.networks(), scenes[0][0], boxes)
    assert masks.sum((1, 2)).tolist() == [5000, 1600]
    assert masks[0, 20:120, 10:60].all()
    assert len(surfaces) == len(surface_confidence) == 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (64, 33), (900, 20)])
def test_pictures_of_any_size(shape):
    got = deepprivacy2().detect([np.full((*shape, 3), 90, np.uint8)], [None])[0]
    assert len(got) == 0 or got.masks.shape[1:] == shape


def test_clear_messages(tmp_path):
    with pytest.raises(Dp2benchError, match="no file") as error:
        CompactPredictor(weights=tmp_path / "none.safetensors")
    assert "dp2bench train detector" in str(error.value.remedy)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(shipped.path("embedded-detector").read_bytes()[:1000])
    with pytest.raises(Dp2benchError, match=r"broken\.safetensors"):
        EmbeddedMask(weights=broken).detect([np.zeros((40, 40, 3), np.uint8)], [None])
    with pytest.raises(ValueError, match="sides"):
        CompactPredictor(sides=[])
    with pytest.raises(Dp2benchError, match="face_arguments"):
        deepprivacy2(face_arguments={"long": 3})
    with pytest.raises(Dp2benchError, match="weights of others"):
        deepprivacy2(weights=shipped.path("embedded-detector"), cse="official")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    changed = tmp_path / "embedded-detector.safetensors"
    changed.write_bytes(shipped.path("embedded-detector").read_bytes()[:-1] + b"\1")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(Dp2benchError, match="sha256 differs"):
        EmbeddedMask()


def test_weights_survive_a_file(tmp_path):
    torch.manual_seed(0)
    networks = Networks(8)
    compact.save(networks, tmp_path / "a.safetensors", {"channels": 8})
    loaded, told = compact.load(tmp_path / "a.safetensors")
    assert told == {"channels": 8}
    for key, value in networks.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-6, check_dtype=True)


def test_what_is_learned_is_what_is_decoded():
    """Boxes go through the goals, a network that is right, and the decoder, and come back."""
    boxes = np.array([[20, 30, 60, 150], [100, 40, 180, 190], [110, 45, 126, 65]], np.float64)
    kinds = (PERSON, PERSON, FACE)
    heat, at, weight, counts = samples.window_targets(
        [(k, b, True) for k, b in zip(kinds, boxes, strict=True)] + [(FACE, np.array([0.0, 0, 3, 3]), False)],
        192,
    )
    assert counts[FACE, 0, 0] == 0
    assert (heat == 1).sum() == 3
    assert ((weight > 0) <= (counts > 0)).all()
    logits = torch.logit(torch.from_numpy(heat).clamp(1e-4, 1 - 1e-4))
    centres = compact.cells(48, 48, torch.device("cpu"))
    there = torch.from_numpy(at)
    ltrb = torch.cat((centres - there[..., :2], there[..., 2:] - centres), -1).movedim(-1, 1)
    for kind, (got, scores) in enumerate(compact.decode(logits, ltrb, 0.5)):
        want = boxes[[k == kind for k in kinds]]
        assert len(got) == len(want)
        assert (scores > 0.9).all()
        order = np.argsort(got[:, 0].numpy())
        np.testing.assert_allclose(got.numpy()[order], want, atol=1e-3)


def test_crops_and_regions_show_what_the_scene_shows():
    r = np.random.default_rng(0)
    owner = np.zeros((120, 160), np.uint8)
    owner[30:110, 40:80] = 1
    vertices = np.where(owner == 1, 7, -1).astype(np.int16)
    picture = np.where(owner[..., None] == 1, 200, 50).astype(np.uint8).repeat(3, 2)
    faces = np.array([[50, 35, 66, 55]], np.float32)
    seen = samples.Scene(picture, owner, vertices, faces)
    recipe = load_recipe("passersby-people", {"region": 128, "zoom": (1.0, 1.0)})
    for _ in range(20):
        area = samples.scene_window(seen, r, recipe)
        for kind, bright in ((PERSON, 200), (FACE, None)):
            own = np.unique(area.boxes[kind][area.weight[kind] > 0], axis=0)
            if len(own) and bright:
                x0, y0, x1, y1 = own[0].astype(int)
                assert (area.pixels[y0:y1, x0:x1] > 150).mean() > 0.95
    for _ in range(20):
        for crop in samples.body_crops(seen, r, 3):
            bright = crop.pixels[::2, ::2, 0] > 125
            assert ((crop.mask > 127) != bright).mean() < 0.06 or not crop.mask.any()
            assert ((crop.vertices == 7) == (crop.mask > 127)).mean() > 0.95


def test_a_mirrored_scene_is_mirrored_back():
    r = np.random.default_rng(0)
    from dp2bench.core import templates

    template = templates.get(compact.TEMPLATE)
    seen = samples.Scene(
        r.integers(0, 255, (8, 12, 3), dtype=np.uint8),
        r.integers(0, 3, (8, 12), dtype=np.uint8),
        r.integers(-1, 13380, (8, 12)).astype(np.int16),
        np.array([[1, 2, 4, 5], [np.nan] * 4], np.float32),
    )
    again = samples.mirror(samples.mirror(seen, template), template)
    for a, b in zip(vars(seen).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def _small(**more):
    return load_recipe(
        "passersby-people",
        {
            "channels": 8,
            "region": 64,
            "people": 1,
            "batch_size": 2,
            "epochs": 2,
            "precision": "32-true",
            **more,
        },
    )


class _Few:
    """The first scenes of a dataset."""

    def __init__(self, count):
        self.whole = PassersbyCoco("smoke")
        self.meta, self.count = self.whole.meta, count

    def samples(self, split):
        return self.whole.samples(split)[: self.count]

    def people(self, sample):
        return self.whole.people(sample)

    def read(self, sample):
        return self.whole.read(sample)


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_weights(tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    whole = train_detector(_Few(4), _small(), tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train_detector(_Few(4), _small(), tmp_path / "b", progress=stop)
    assert not (tmp_path / "b" / "detector.safetensors").exists()
    again = train_detector(_Few(4), _small(), tmp_path / "b")
    assert whole.read_bytes() == again.read_bytes()
    assert (tmp_path / "a" / "curve.csv").read_text() == (tmp_path / "b" / "curve.csv").read_text()
    assert not (tmp_path / "b" / "checkpoint.pt").exists()
    got = deepprivacy2(weights=again).detect([np.zeros((50, 50, 3), np.uint8)], [None])[0]
    assert isinstance(got, People)
    more = train_detector(_Few(2), _small(epochs=1), tmp_path / "c", start=again)
    with safe_open(more, framework="numpy") as file:
        assert json.loads(file.metadata()["detector"])["start_sha256"] == sha256(again)
    with pytest.raises(Dp2benchError, match="no detector of 16 channels"):
        train_detector(_Few(2), _small(channels=16), tmp_path / "d", start=again)
    with pytest.raises(Dp2benchError, match="another recipe"):
        train_detector(_Few(4), _small(seed=1), tmp_path / "b")


def test_training_says_what_it_cannot_learn_from(tmp_path, monkeypatch):
    few = _Few(1)
    monkeypatch.setattr(few, "people", lambda sample: People.of([[0, 0, 3, 3]]))
    with pytest.raises(DatasetError, match="no masks"):
        train_detector(few, _small(), tmp_path / "a")
    other = SurfaceMap("smpl-27554", np.array([0, 0, 2, 2], np.int32), np.zeros((2, 2), np.int32))
    mask = np.zeros((1, 480, 640), bool)
    monkeypatch.setattr(few, "people", lambda sample: People.of([[0, 0, 3, 3]], masks=mask, surfaces=[other]))
    with pytest.raises(DatasetError, match="smpl-27554"):
        train_detector(few, _small(), tmp_path / "a")
    with pytest.raises(Dp2benchError, match="There is no recipe nothing"):
        load_recipe("nothing")
    (tmp_path / "r.yaml").write_text("name: a\ndata: {dataset: passersby-coco}\nepoch: 3\n")
    with pytest.raises(Dp2benchError, match=r"r\.yaml:3: epoch: unknown key"):
        load_recipe(str(tmp_path / "r.yaml"))


def test_the_wheel_holds_the_weights_and_the_recipe():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    data = project["tool"]["setuptools"]["package-data"]
    rooms = {
        "dp2bench.weights": shipped.FOLDER.parent,
        "dp2bench.detection.compact": Path(compact.__file__).parent,
    }
    held = {path for name, here in rooms.items() for pattern in data[name] for path in here.glob(pattern)}
    assert set(shipped.paths().values()) <= held
    assert rooms["dp2bench.detection.compact"] / "recipes" / "passersby-people.yaml" in held
