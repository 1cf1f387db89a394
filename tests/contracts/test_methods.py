"""Every registered method passes the conformance suite that `dp2bench check` runs."""

import numpy as np
import pytest

from dp2bench.core import conformance, registry
from dp2bench.core.seeds import Seed
from dp2bench.core.types import People
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.inpainter import GeneratorInpainter
from dp2bench.inpainting.filling import Pending, fill_together, requests_of

EXAMPLES = conformance.Examples(template="passersby-13380", vertices=13380)
NEEDS = {
    "deepprivacy2": {"cse": "body-cse", "person": "body", "face": "face"},
    "deepprivacy2-no-cse": {"person": "body", "face": "face"},
    "deepprivacy2-face": {"face": "face"},
    "surface-guided-gan": {"weights": "surface-guided"},
    "triagan": {"weights": "keypoint-guided"},
}
"""Argument to kind of weights: the published ones are not on every machine, small random ones show the same wiring."""
ELSEWHERE = {"deepprivacy1"}
"""Its network has one size: see the tests of DeepPrivacy2's methods, which shrink it."""


@pytest.fixture(params=[name for name in registry.names("methods") if name not in ELSEWHERE])
def name(request):
    return request.param


@pytest.fixture
def make(name, random_generators):
    arguments = {argument: random_generators[role] for argument, role in NEEDS.get(name, {}).items()}
    return lambda: registry.create("methods", name, arguments)


def test_conformance(name, make):
    meta = make().meta
    assert meta.name == name
    assert meta.description.endswith(".")
    outcomes = {o.check: o for o in conformance.run(make, EXAMPLES)}
    assert list(outcomes) == list(conformance.CHECKS)
    assert [o for o in outcomes.values() if o.status == "fail"] == []
    assert outcomes["information-flow"].status == ("skip" if meta.uses_masked_pixels else "pass")


EMBEDDED = {
    "mini-body-cse": ("deepprivacy2", {"cse": "mini-body-cse", "person": "none", "mode": "body"}),
    "mini-body": ("deepprivacy2-no-cse", {"person": "mini-body", "mode": "body"}),
    "mini-face": ("deepprivacy2-face", {"face": "mini-face"}),
    "all of them": ("deepprivacy2", {"weights": "mini"}),
}
"""Method and arguments by the embedded generators that fill."""


def test_every_embedded_generator_is_checked():
    assert {*EMBEDDED} == {*generator_weights.embedded(), "all of them"}


@pytest.mark.slow
@pytest.mark.parametrize("which", EMBEDDED)
def test_conformance_of_embedded_generators(which):
    """As above, with the trained networks in the size and precision in which they are used."""
    method, arguments = EMBEDDED[which]
    made = registry.create("methods", method, arguments)
    names = generator_weights.embedded() if which == "all of them" else [which]
    assert sorted(w.name for w in made.meta.weights) == sorted(names)
    outcomes = list(conformance.run(lambda: registry.create("methods", method, arguments), EXAMPLES))
    assert [(o.check, o.detail) for o in outcomes if o.status != "pass"] == []


@pytest.mark.parametrize("name", [name for name in registry.names("methods") if name not in ELSEWHERE])
def test_pictures_come_out_of_a_stream_as_they_do_alone(name, random_generators, monkeypatch):
    """Whoever their people share a batch with: a network that runs on three crops gets those of several pictures."""
    arguments = {argument: random_generators[role] for argument, role in NEEDS.get(name, {}).items()}
    method = registry.create("methods", name, arguments | ({"batch_size": 3} if name in NEEDS else {}))
    pictures = [EXAMPLES.street(seed) for seed in range(4)]
    pictures += [(image, people) for _, image, people in EXAMPLES.awkward() if len(people) < 100]
    pictures.insert(2, (pictures[0][0], People.none()))
    calls, inpaint = [], GeneratorInpainter.inpaint

    def counted(self, crops, *, seeds):
        calls.append(-(-len(crops) // 3))
        return inpaint(self, crops, seeds=seeds)

    monkeypatch.setattr(GeneratorInpainter, "inpaint", counted)
    alone = [method.anonymize(image, people, seed=Seed(i)) for i, (image, people) in enumerate(pictures)]
    runs_alone = sum(calls)
    calls.clear()
    waiting = (
        Pending(i, requests_of(method, image, people, Seed(i)), image.nbytes)
        for i, (image, people) in enumerate(pictures)
    )
    together = list(fill_together(waiting))
    assert sum(calls) < runs_alone if name in NEEDS else not calls
    assert [i for i, _ in together] == list(range(len(pictures)))
    for one, (_, other) in zip(alone, together, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.changed, other.changed)
        assert one.missed == other.missed
