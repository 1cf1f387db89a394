"""The conformance suite finds each kind of defect, and names the check that it breaks."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from dp2bench.core import conformance
from dp2bench.core.contracts import MethodMeta
from dp2bench.core.types import Anonymized, Missed

META = MethodMeta(
    "grey", scope="body", deterministic=True, uses_masked_pixels=False, description="Grey people."
)


@dataclass
class Grey:
    """An honest method; the others differ from it in one defect."""

    meta: MethodMeta = META

    def hole(self, image, people):
        out = np.zeros((len(people), *image.shape[:2]), bool)
        for i, box in enumerate(people.boxes):
            x0, y0, x1, y1 = np.clip(np.round(box), 0, [image.shape[1], image.shape[0]] * 2).astype(int)
            out[i, y0:y1, x0:x1] = True
            if people.masks is not None:
                out[i] |= people.masks[i]
        return out

    def anonymize(self, image, people, *, seed):
        masks = self.hole(image, people)
        changed = masks.any(0) if len(people) else np.zeros(image.shape[:2], bool)
        missed = tuple(Missed(i, "outside the picture") for i in range(len(people)) if not masks[i].any())
        out = np.array(image)
        self.inpaint(image, out, masks, changed, seed)
        return Anonymized(out, changed, missed)

    def inpaint(self, image, out, masks, changed, seed):
        out[changed] = 127


class MeanColour(Grey):
    """Leaks: fills with the mean colour of what it replaces."""

    def inpaint(self, image, out, masks, changed, seed):
        for hole in masks:
            if hole.any():
                out[hole] = image[hole].mean(0)


class LowestBit(Grey):
    """Leaks: one bit of one pixel."""

    def inpaint(self, image, out, masks, changed, seed):
        out[changed] = 126
        if changed.any():
            y, x = np.argwhere(changed)[0]
            out[y, x, 0] = 126 + image[y, x, 0] % 2


class FadedEdge(Grey):
    """Leaks: a soft edge that fades into the original inside the hole."""

    def inpaint(self, image, out, masks, changed, seed):
        inner = changed & np.roll(changed, 1, 0) & np.roll(changed, -1, 0)
        out[changed] = 127
        edge = changed & ~inner
        out[edge] = (127 * 3 + image[edge].astype(int)) // 4


class ThroughTheNeighbour(Grey):
    """Leaks: the fill of one person continues the colours of the next, not yet replaced one."""

    def inpaint(self, image, out, masks, changed, seed):
        out[changed] = 127
        if len(masks) > 1 and masks[1].any():
            out[masks[0]] = image[masks[1]].mean(0)


class Beyond(Grey):
    """Touches a pixel that it does not declare."""

    def inpaint(self, image, out, masks, changed, seed):
        out[changed] = 127
        out[-1, -1] += 1


class Everything(Grey):
    """Declares the whole picture as changed."""

    def anonymize(self, image, people, *, seed):
        got = super().anonymize(image, people, seed=seed)
        return got._replace(changed=np.ones_like(got.changed)) if len(people) else got


class Liar(Grey):
    """Says that it replaced everybody, and leaves them."""

    def inpaint(self, image, out, masks, changed, seed):
        pass


class Forgets(Grey):
    """Leaves small people and says nothing."""

    def anonymize(self, image, people, *, seed):
        kept = [i for i, box in enumerate(people.boxes) if (box[2] - box[0]) * (box[3] - box[1]) >= 300]
        got = super().anonymize(image, people.take(kept), seed=seed)
        return got._replace(missed=tuple(Missed(kept[m.person], m.reason) for m in got.missed))


class Remembers(Grey):
    """Depends on what it did before."""

    def inpaint(self, image, out, masks, changed, seed):
        self.shade = getattr(self, "shade", 100) + 1
        out[changed] = self.shade


class GlobalRandomness(Grey):
    """Draws from a random stream that is not the seed's."""

    def inpaint(self, image, out, masks, changed, seed):
        out[changed] = np.random.randint(0, 256, 3)  # noqa: NPY002


class ByPosition(Grey):
    """A person's colour depends on the place in the list."""

    def inpaint(self, image, out, masks, changed, seed):
        for i, hole in enumerate(masks):
            out[hole] = 100 + i


class FloatOutput(Grey):
    def anonymize(self, image, people, *, seed):
        got = super().anonymize(image, people, seed=seed)
        return got._replace(image=got.image.astype(np.float32))


class InPlace(Grey):
    def anonymize(self, image, people, *, seed):
        got = super().anonymize(image, people, seed=seed)
        image[...] = got.image
        return got._replace(image=image)


class Raises(Grey):
    def inpaint(self, image, out, masks, changed, seed):
        if len(masks) > 100:
            raise RuntimeError("too many")
        out[changed] = 127


class NoName(Grey):
    def __init__(self):
        super().__init__(replace(META, name="", description=""))


def failed(make):
    return {o.check: o.detail for o in conformance.run(make) if o.status == "fail"}


def test_an_honest_method_passes_all():
    outcomes = list(conformance.run(Grey))
    assert [o.check for o in outcomes] == list(conformance.CHECKS)
    assert {o.status for o in outcomes} == {"pass"}


@pytest.mark.parametrize("leaky", [MeanColour, LowestBit, FadedEdge, ThroughTheNeighbour])
def test_leaks_fail_the_information_flow_by_name(leaky):
    found = failed(leaky)
    assert "reach its output" in found["information-flow"]


@pytest.mark.parametrize("leaky", [MeanColour, LowestBit, FadedEdge])
def test_who_declares_that_he_sees_the_hole_is_not_blamed_for_it(leaky):
    outcomes = {
        o.check: o.status for o in conformance.run(lambda: leaky(replace(META, uses_masked_pixels=True)))
    }
    assert outcomes["information-flow"] == "skip"


@pytest.mark.parametrize(
    ("defect", "check", "word"),
    [
        (Beyond, "untouched-surroundings", "outside the region"),
        (Everything, "untouched-surroundings", "far from everybody"),
        (Liar, "coverage", "looks as before"),
        (Forgets, "limits", "is not reported as missed"),
        (Remembers, "determinism", "second call"),
        (GlobalRandomness, "determinism", "second call"),
        (ByPosition, "others", "listed"),
        (FloatOutput, "shape-and-type", "not uint8"),
        (InPlace, "shape-and-type", "wrote into the picture"),
        (Raises, "limits", "a crowd of 120: it raised RuntimeError"),
        (NoName, "declaration", "name is empty"),
    ],
)
def test_defects_are_found(defect, check, word):
    assert word in failed(defect)[check]
