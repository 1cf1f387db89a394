"""What every anonymization method must hold, as checks that anybody can run on a method of his own.

`run` makes the method afresh for each check, so that nothing carries over. The pictures are small and made here; people in them
have masks, faces, keypoints and, where `Examples` is given a template, surfaces.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Anonymizer, MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, Category, Image, People, SurfaceMap

Status = Literal["pass", "fail", "skip"]
Make = Callable[[], Anonymizer]
SEED = Seed(11)
VISIBLE = 2.0
"""Mean difference in grey levels under which a person counts as left as he was."""


class Violation(Exception):  # noqa: N818 - it is what a check finds, not a failure of the check
    """What a method does that it must not."""


class NotApplicable(Exception):  # noqa: N818 - the method declares something else
    """The method makes no such claim."""


@dataclass(frozen=True)
class CheckOutcome:
    """What one check found."""

    check: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class Examples:
    """Makes pictures with people.

    Attributes:
        template: name of the surfaces that people get, None for none.
        vertices: how many vertices it has.

    """

    template: str | None = None
    vertices: int = 0
    _cache: dict[int, tuple[Image, People]] = field(default_factory=dict, repr=False, compare=False)

    def street(self, seed: int, size: tuple[int, int] = (160, 200), n: int = 4) -> tuple[Image, People]:
        """Noise with ``n`` people, who may overlap; the first has no face, the last, where there are four, is a face alone."""
        if seed not in self._cache:
            self._cache[seed] = self._street(seed, size, n)
        image, people = self._cache[seed]
        return image.copy(), people

    def _street(self, seed: int, size: tuple[int, int], n: int) -> tuple[Image, People]:
        rng = np.random.default_rng(seed)
        height, width = size
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        yy, xx = np.mgrid[:height, :width]
        masks = np.zeros((n, height, width), np.bool_)
        boxes = np.zeros((n, 4), np.float32)
        faces = np.full((n, 4), np.nan, np.float32)
        categories = np.full(n, Category.PERSON, np.int8)
        for i in range(n):
            cx, cy = rng.integers(20, width - 20), rng.integers(30, min(100, height - 30))
            rx, ry = rng.integers(9, 25), rng.integers(25, 55)
            masks[i] = ((xx - cx) / rx) ** 2 + ((yy - cy) / ry) ** 2 < 1
            if i:
                faces[i] = cx - 6, max(0, cy - ry), cx + 6, max(0, cy - ry) + 15
            if i == 3:
                categories[i] = Category.FACE
                masks[i] = (xx >= cx - 6) & (xx < cx + 6) & (yy >= faces[i, 1]) & (yy < faces[i, 3])
            boxes[i] = _tight(masks[i])
        return image, self.people(boxes, masks, faces, categories, rng)

    def people(
        self,
        boxes: NDArray[np.float32],
        masks: NDArray[np.bool_] | None,
        faces: NDArray[np.float32] | None,
        categories: NDArray[np.int8],
        rng: np.random.Generator,
    ) -> People:
        """People with keypoints, tracks, and surfaces where there is a template; the others are without."""
        n = len(boxes)
        keypoints = np.full((n, 17, 3), 2, np.float32)
        keypoints[..., :2] = boxes[:, None, :2] + rng.random((n, 17, 2)) * (
            boxes[:, None, 2:] - boxes[:, None, :2]
        )
        surfaces: list[SurfaceMap | None] = [None] * n
        categories = categories.copy()
        if self.template is not None:
            for i in range(0, n, 2):
                if categories[i] != Category.FACE and np.isfinite(boxes[i]).all():
                    x0, y0, x1, y1 = box = boxes[i].astype(np.int32)
                    shape = max(0, y1 - y0), max(0, x1 - x0)
                    vertices = rng.integers(-1, self.vertices, shape).astype(np.int32)
                    surfaces[i] = SurfaceMap(self.template, box, vertices)
                    categories[i] = Category.PERSON_WITH_SURFACE
        return People.of(
            boxes,
            masks=masks,
            faces=faces,
            keypoints=keypoints,
            surfaces=surfaces,
            categories=categories,
            track_ids=np.arange(n) + 5,
        )

    def awkward(self) -> Iterator[tuple[str, Image, People]]:
        """Named pictures at the limits: tiny people, people beyond the border, everybody at one place, a crowd, odd pictures."""
        rng = np.random.default_rng(3)
        image = rng.integers(0, 256, (120, 150, 3), np.uint8)

        def made(boxes: Any, *, masks: bool = False) -> People:
            b = np.asarray(boxes, np.float32)
            m = np.stack([_box_mask(one, (120, 150)) for one in b]) if masks else None
            category = np.full(len(b), Category.PERSON, np.int8)
            with np.errstate(invalid="ignore"):
                faces = np.stack([b[:, 0], b[:, 1], b[:, 2], b[:, 1] + (b[:, 3] - b[:, 1]) / 4], 1)
            return self.people(b, m, faces, category, rng)

        yield "tiny people", image, made([[3, 4, 7, 10], [60, 60, 61, 61], [100, 20, 112, 44]], masks=True)
        yield (
            "people who reach out of the picture",
            image,
            made([[-30, -20, 40, 60], [120, 60, 190, 160], [40, -5, 80, 130]], masks=True),
        )
        yield "one person who is the whole picture", image, made([[0, 0, 150, 120]], masks=True)
        yield "three people at one place", image, made([[40, 20, 80, 100]] * 3, masks=True)
        yield "people without masks", image, made([[20, 20, 60, 110], [70, 10, 120, 100]])
        yield "people outside the picture", image, made([[200, 10, 240, 60], [-50, -50, -2, -2]])
        corner = rng.integers(0, 110, (120, 2))
        yield "a crowd of 120", image, made(np.concatenate([corner, corner + np.array([8, 16])], 1))
        yield (
            "a picture of 1 x 1 pixel",
            image[:1, :1],
            self.people(
                np.array([[0, 0, 1, 1]], np.float32),
                np.ones((1, 1, 1), np.bool_),
                np.array([[0, 0, 1, 1]], np.float32),
                np.array([Category.PERSON], np.int8),
                rng,
            ),
        )


def run(make: Make, examples: Examples | None = None) -> Iterator[CheckOutcome]:
    """Every check's outcome, in the order of `CHECKS`. A check that raises anything is a failure that says what was raised."""
    examples = Examples() if examples is None else examples
    for name, check in CHECKS.items():
        try:
            check(make, examples)
            yield CheckOutcome(name, "pass")
        except NotApplicable as reason:
            yield CheckOutcome(name, "skip", str(reason))
        except Violation as violation:
            yield CheckOutcome(name, "fail", str(violation))
        except Exception as error:  # noqa: BLE001 - a third party's method may raise anything
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
            yield CheckOutcome(name, "fail", f"raised {type(error).__name__} at {where}: {error}")


def declaration(make: Make, examples: Examples) -> None:
    """Name, scope, description and weights are declared."""
    method = make()
    _must(isinstance(method, Anonymizer), "it has no `meta`, or no method `anonymize`")
    meta = method.meta
    _must(isinstance(meta, MethodMeta), "its `meta` is not of type MethodMeta")
    _must(bool(meta.name.strip()), "its name is empty")
    _must(meta.scope in {"none", "face", "body", "image"}, f"its scope is {meta.scope!r}")
    _must(
        bool(meta.description.strip()) and "\n" not in meta.description,
        "its description is empty or longer than a line",
    )
    for one in meta.weights:
        _must(len(one.sha256) == 64, f"the sha256 of its weights {one.name} is {one.sha256!r}")
        _must(bool(one.licence), f"its weights {one.name} have no licence")


def shape_and_type(make: Make, examples: Examples) -> None:
    """A new picture of the same size; the input is kept."""
    image, people = examples.street(0)
    before = image.copy()
    assert people.masks is not None
    masks = people.masks.copy()
    got = make().anonymize(image, people, seed=SEED)
    _must(got.image.shape == image.shape, f"the output is {got.image.shape}, the input {image.shape}")
    _must(got.image.dtype == np.uint8, f"the output is {got.image.dtype}, not uint8")
    _must(got.changed.shape == image.shape[:2], f"`changed` is {got.changed.shape}")
    _must(got.changed.dtype == np.bool_, f"`changed` is {got.changed.dtype}, not bool")
    _must(np.array_equal(image, before), "it wrote into the picture it was given")
    _must(np.array_equal(people.masks, masks), "it wrote into the masks it was given")
    _must(not np.shares_memory(got.image, image), "the output shares memory with the input")


def untouched_surroundings(make: Make, examples: Examples) -> None:
    """No pixel outside the declared region differs.

    And the region of a method for bodies or faces lies around the people.
    """
    method = make()
    for seed in (0, 1):
        image, people = examples.street(seed)
        got = method.anonymize(image, people, seed=SEED)
        outside = ~got.changed
        differing = (got.image[outside] != image[outside]).any(-1).sum()
        _must(differing == 0, f"{differing} pixels outside the region that it declares as changed differ")
        if method.meta.scope in {"face", "body"}:
            far = got.changed & ~_around(people, image.shape[:2])
            _must(not far.any(), f"it declares {far.sum()} pixels as changed that are far from everybody")


def determinism(make: Make, examples: Examples) -> None:
    """The same arguments give the same bytes.

    Whatever was done in between; with ``deterministic``, for every seed.
    """
    method = make()
    image, people = examples.street(1)
    first = method.anonymize(image, people, seed=SEED)
    method.anonymize(*examples.street(2, (90, 77), 2), seed=Seed(3))
    _same(
        first,
        method.anonymize(image, people, seed=SEED),
        "a second call with the same arguments gives another picture",
    )
    _same(first, make().anonymize(image, people, seed=SEED), "a second instance gives another picture")
    if method.meta.deterministic:
        other = method.anonymize(image, people, seed=Seed(99))
        _same(first, other, "it declares to be deterministic, and another seed gives another picture")


def order(make: Make, examples: Examples) -> None:
    """The order of pictures changes nothing."""
    pictures = [examples.street(seed) for seed in range(3)]
    one, two = make(), make()
    forward = [one.anonymize(*p, seed=SEED) for p in pictures]
    backward = [two.anonymize(*p, seed=SEED) for p in reversed(pictures)][::-1]
    for a, b in zip(forward, backward, strict=True):
        _same(a, b, "a picture comes out differently when the pictures come in another order")


def others(make: Make, examples: Examples) -> None:
    """People far away and their order change nothing.

    Track ids stay with their people, as seeds follow them.
    """
    method = make()
    if method.meta.scope in {"none", "image"}:
        raise NotApplicable(f"its scope is {method.meta.scope}")
    rng = np.random.default_rng(8)
    image = rng.integers(0, 256, (160, 420, 3), np.uint8)
    boxes = np.array([[20, 50, 50, 110], [190, 40, 225, 120], [370, 55, 395, 115]], np.float32)
    masks = np.stack([_box_mask(one, (160, 420)) for one in boxes])
    faces = np.stack([boxes[:, 0] + 5, boxes[:, 1], boxes[:, 2] - 5, boxes[:, 1] + 18], 1)
    people = examples.people(boxes, masks, faces, np.full(3, Category.PERSON, np.int8), rng)
    together = method.anonymize(image, people, seed=SEED)
    shuffled = method.anonymize(image, people.take([2, 0, 1]), seed=SEED)
    _must(
        np.array_equal(together.image, shuffled.image),
        "the order in which people are listed changes the picture",
    )
    for i, (x0, _, x1, _) in enumerate(boxes.astype(int)):
        alone = method.anonymize(image, people.take([i]), seed=SEED)
        part = np.s_[:, max(0, x0 - 30) : x1 + 30]
        _must(
            np.array_equal(alone.image[part], together.image[part]),
            f"person {i} comes out differently when people far away are in the picture",
        )


def coverage(make: Make, examples: Examples) -> None:
    """Everybody is really changed, or in `missed`."""
    method = make()
    for seed in (4, 5):
        image, people = examples.street(seed)
        got = method.anonymize(image, people, seed=SEED)
        _covered(method.meta, image, people, got)
        if method.meta.scope == "none":
            _must(
                len(got.missed) == len(people), "it changes nothing and does not report everybody as missed"
            )
        if method.meta.scope == "face":
            _must(0 in {m.person for m in got.missed}, "person 0 has no face and is not reported as missed")


def limits(make: Make, examples: Examples) -> None:
    """Tiny, cut off, stacked and very many people.

    Each is anonymized or missed, and nothing is raised.
    """
    method = make()
    for name, image, people in examples.awkward():
        try:
            got = method.anonymize(image, people, seed=SEED)
            _must(got.image.shape == image.shape, f"the output is {got.image.shape}")
            outside = ~got.changed
            _must(np.array_equal(got.image[outside], image[outside]), "it touched pixels it does not declare")
            _covered(method.meta, image, people, got)
        except Violation as violation:
            raise Violation(f"{name}: {violation}") from violation
        except Exception as error:
            raise Violation(f"{name}: it raised {type(error).__name__}: {error}") from error


def nobody(make: Make, examples: Examples) -> None:
    """A picture without people stays as it is.

    Unless the method replaces whole pictures.
    """
    method = make()
    image, _ = examples.street(6)
    got = method.anonymize(image, People.none(), seed=SEED)
    _must(got.missed == (), "it misses people where there are none")
    if method.meta.scope != "image":
        _must(np.array_equal(got.image, image), "it changed a picture without people")
        _must(not got.changed.any(), "it declares changes in a picture without people")


def read_only(make: Make, examples: Examples) -> None:
    """Read-only and oddly laid out pictures work."""
    method = make()
    image, people = examples.street(7)
    view = np.asfortranarray(image)
    view.flags.writeable = False
    got = method.anonymize(view, people, seed=SEED)
    _must(
        np.array_equal(method.anonymize(image, people, seed=SEED).image, got.image),
        "a picture in another memory layout gives another output",
    )


def information_flow(make: Make, examples: Examples) -> None:
    """No pixel under a mask reaches the output.

    With other pixels under the masks nothing changes by one grey level, where a method claims not to see them.
    """
    method = make()
    if method.meta.uses_masked_pixels:
        raise NotApplicable("it declares that its output may depend on what it replaces")
    cases = [examples.street(seed) for seed in (5, 9)]
    cases += [
        (image, people) for _, image, people in examples.awkward() if len(people) < 100 and image.size > 3
    ]
    for number, (image, people) in enumerate(cases):
        got = method.anonymize(image, people, seed=SEED)
        # The mask is what it replaces; a person whom it does not report as missed is in it, whatever it declares.
        mask = got.changed | _bodies(method.meta, people, got, image.shape[:2])
        for kind, other in _replaced(image, mask):
            again = method.anonymize(other, people, seed=SEED)
            differing = (again.image != got.image).any(-1)
            _must(
                not differing.any(),
                f"the pixels it replaces reach its output: with {kind} under the masks {differing.sum()} pixels differ, by up to "
                f"{np.abs(again.image.astype(int) - got.image).max()} grey levels (picture {number})",
            )
            _must(
                again.missed == got.missed and np.array_equal(again.changed, got.changed),
                f"with {kind} under the masks it declares other people or pixels (picture {number})",
            )


_FLOWS = ("tiny people", "people who reach out of the picture", "three people at one place")
CHECKS: Mapping[str, Callable[[Make, Examples], None]] = {
    "declaration": declaration,
    "shape-and-type": shape_and_type,
    "untouched-surroundings": untouched_surroundings,
    "determinism": determinism,
    "order": order,
    "others": others,
    "coverage": coverage,
    "limits": limits,
    "nobody": nobody,
    "read-only": read_only,
    "information-flow": information_flow,
}


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


def _same(a: Anonymized, b: Anonymized, otherwise: str) -> None:
    _must(np.array_equal(a.image, b.image) and a.missed == b.missed, otherwise)


def _tight(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _box_mask(box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(size, np.bool_)
    x0, y0, x1, y1 = np.clip(np.round(box), 0, [size[1], size[0]] * 2).astype(int)
    out[y0:y1, x0:x1] = True
    return out


def _around(people: People, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W), the boxes of people and faces grown by half their longer side and 8 pixels."""
    out = np.zeros(size, np.bool_)
    faces = np.zeros((0, 4), np.float32) if people.faces is None else people.faces
    for box in (*people.boxes, *faces):
        if np.isfinite(box).all():
            margin = 8 + max(box[2] - box[0], box[3] - box[1]) / 2
            out |= _box_mask(box + np.array([-margin, -margin, margin, margin], np.float32), size)
    return out


def _body(meta: MethodMeta, people: People, i: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W): the pixels of a person that the method's scope says it replaces."""
    if meta.scope == "face":
        assert people.faces is not None
        x0, y0, x1, y1 = people.faces[i]
        if not np.isfinite(people.faces[i]).all():
            return np.zeros(size, np.bool_)
        return _box_mask(np.array([np.ceil(x0), np.ceil(y0), np.floor(x1), np.floor(y1)], np.float32), size)
    if people.masks is None:
        return _box_mask(people.boxes[i], size)
    mask: NDArray[np.bool_] = people.masks[i]
    return mask


def _bodies(meta: MethodMeta, people: People, got: Anonymized, size: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(size, np.bool_)
    for i in set(range(len(people))) - {m.person for m in got.missed}:
        out |= _body(meta, people, i, size)
    return out


def _covered(meta: MethodMeta, image: Image, people: People, got: Anonymized) -> None:
    missed = [m.person for m in got.missed]
    _must(len(set(missed)) == len(missed), "it reports somebody as missed twice")
    _must(set(missed) <= set(range(len(people))), f"it reports people as missed who are not there: {missed}")
    _must(all(m.reason for m in got.missed), "it reports somebody as missed without a reason")
    size = (image.shape[0], image.shape[1])
    for i in set(range(len(people))) - set(missed):
        body = _body(meta, people, i, size)
        left = (body & ~got.changed).sum()
        _must(
            left == 0, f"person {i} is not reported as missed, and {left} of the pixels are outside `changed`"
        )
        if body.sum() >= 12:  # of fewer pixels any may be right by chance
            difference = np.abs(image[body].astype(int) - got.image[body]).mean()
            _must(
                difference > VISIBLE,
                f"person {i} is not reported as missed, and looks as before (mean difference {difference:.2f} grey levels)",
            )


def _replaced(image: Image, mask: NDArray[np.bool_]) -> Iterator[tuple[str, Image]]:
    n = int(mask.sum())
    rng = np.random.default_rng(17)
    fills: dict[str, Any] = {
        "the negative": 255 - image[mask],
        "noise": rng.integers(0, 256, (n, 3), np.uint8),
        "black": 0,
        "one grey level more": image[mask] ^ 1,
    }
    for kind, values in fills.items():
        other = image.copy()
        other[mask] = values
        yield kind, other
