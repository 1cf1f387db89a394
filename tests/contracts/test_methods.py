"""Every registered method passes the conformance suite that `dp2bench check` runs."""

import pytest

from dp2bench.core import conformance, registry

EXAMPLES = conformance.Examples(template="passersby-13380", vertices=13380)
NEEDS = {
    "deepprivacy2": {"cse": "body-cse", "person": "body", "face": "face"},
    "deepprivacy2-no-cse": {"person": "body", "face": "face"},
    "deepprivacy2-face": {"face": "face"},
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
    assert outcomes["information-flow"].status == ("skip" if meta.sees_hole else "pass")
