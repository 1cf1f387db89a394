import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp2bench.core import registry
from dp2bench.core.errors import DatasetError, Dp2benchError, PluginError
from dp2bench.core.people_io import load_people, save_people
from dp2bench.core.results import Score, content_key
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Category, People, SurfaceMap


def test_importing_the_package_imports_no_torch(tmp_path):
    code = (
        "import sys, dp2bench, dp2bench.cli.main, dp2bench.core.contracts; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


def test_seeds_are_stable_and_separate_their_parts():
    assert derive_seed(0, "a", 1) == derive_seed(0, "a", 1)
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert derive_seed(1) != derive_seed("1")
    assert derive_seed(7, "0002_c1s1_000451_03.jpg", 0) == 8591837450930857813


@st.composite
def crowds(draw):
    n, h, w = draw(st.integers(0, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    maybe = lambda make: make() if draw(st.booleans()) else None  # noqa: E731
    surfaces = [
        maybe(
            lambda: SurfaceMap(
                "t", np.array([0, 0, w, h], np.int32), rng.integers(-1, 9, (h, w)).astype(np.int32)
            )
        )
        for _ in range(n)
    ]
    return People.of(
        rng.random((n, 4)),
        masks=maybe(lambda: rng.random((n, h, w)) < draw(st.sampled_from([0.0, 0.3, 1.0]))),
        surfaces=surfaces,
        keypoints=maybe(lambda: rng.random((n, 17, 3)).astype(np.float32)),
        faces=maybe(lambda: np.full((n, 4), np.nan, np.float32)),
        track_ids=maybe(lambda: np.arange(n)),
        image_size=maybe(lambda: (h, w)),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(crowds(), max_size=3))
def test_people_survive_the_disk(tmp_path_factory, crowd):
    path = tmp_path_factory.mktemp("people") / "p.npz"
    save_people(path, ((f"picture {i}", p) for i, p in enumerate(crowd)))
    back = load_people(path)
    assert len(back) == len(crowd)
    for i, p in enumerate(crowd):
        q = back[f"picture {i}"]
        assert p.image_size == q.image_size
        for name in ("boxes", "masks", "keypoints", "faces", "categories", "scores", "track_ids"):
            np.testing.assert_array_equal(getattr(p, name), getattr(q, name))
        for a, b in zip(p.surfaces, q.surfaces, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.template == b.template
                np.testing.assert_array_equal(a.vertices, b.vertices)


@settings(max_examples=40, deadline=None)
@given(crowds())
def test_people_know_the_size_of_their_picture(people):
    if people.masks is not None:
        assert people.image_size == people.masks.shape[1:]
    assert people.take([]).image_size == people.image_size
    if people.image_size is None:
        people.check_image_size((5, 6))
        return
    height, width = people.image_size
    people.check_image_size((height, width))
    with pytest.raises(
        Dp2benchError, match=f"{width}x{height} pixels do not belong to one of {width}x{height + 1}"
    ):
        people.check_image_size((height + 1, width))
    with pytest.raises(Dp2benchError, match="do not belong"):
        replace(people, masks=np.zeros((len(people), height, width + 1), bool))


def test_people_are_written_as_they_come_and_not_kept(tmp_path):
    rng, pictures = np.random.default_rng(0), 150

    def crowds():
        for i in range(pictures):
            yield f"{i:06d}", People.of(np.zeros((3, 4)), masks=rng.random((3, 512, 512)) < 0.5)

    one = 3 * 512 * 512
    tracemalloc.start()
    try:
        save_people(tmp_path / "p.npz", crowds())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One picture being made takes 8 bytes a random number and 1 a pixel, beside the one before it.
    assert peak < 12 * one < pictures * one / 10
    assert len(load_people(tmp_path / "p.npz")) == pictures
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_a_broken_people_file_is_named(tmp_path):
    for content in (b"not a zip", b"PK\3\4 cut off"):
        (tmp_path / "p.npz").write_bytes(content)
        with pytest.raises(DatasetError, match=r"p\.npz"):
            load_people(tmp_path / "p.npz")


def test_people_refuse_arrays_that_disagree():
    with pytest.raises(ValueError, match="keypoints"):
        People.of([[0, 0, 1, 1]], keypoints=np.zeros((2, 17, 3), np.float32))
    people = People.of([[0, 0, 1, 1], [1, 1, 2, 2]], masks=np.zeros((2, 3, 3), bool))
    assert people.take([1]).boxes.tolist() == [[1, 1, 2, 2]]
    assert people.categories.tolist() == [Category.PERSON] * 2


def test_scores_are_finite_and_closed():
    with pytest.raises(ValueError, match="finite"):
        Score(metric="x", value=float("nan"), n=1)
    with pytest.raises(ValueError, match="extra"):
        Score(metric="x", value=1.0, n=1, colour="red")  # type: ignore[call-arg]


def test_content_keys_ignore_the_order_of_keys():
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    with pytest.raises(TypeError):
        content_key({"a": object()})


def test_unknown_plugins_get_the_nearest_name():
    with pytest.raises(PluginError, match="mask-out"):
        registry.load("methods", "mask-uot")
    with pytest.raises(PluginError, match="no_such_module"):
        registry.load("methods", "no_such_module:X")
    with pytest.raises(PluginError, match="does not take these arguments"):
        registry.create("methods", "identity", {"strength": 3})


def test_duplicate_and_broken_plugins_are_named(monkeypatch):
    twice = (EntryPoint("x", "a:A", "dp2bench.methods"), EntryPoint("x", "b:B", "dp2bench.methods"))
    broken = (EntryPoint("y", "no_such_module:A", "dp2bench.methods"),)
    monkeypatch.setattr(registry, "_entries", lambda kind: {"x": twice, "y": broken})
    with pytest.raises(PluginError, match="more than once: a:A .* b:B"):
        registry.load("methods", "x")
    with pytest.raises(PluginError, match="broken"):
        registry.load("methods", "y")


@pytest.mark.parametrize(
    ("source", "word"),
    [("1/0", "ZeroDivisionError"), ("def (:", "SyntaxError"), ("raise SystemExit(3)", "SystemExit: 3")],
)
def test_a_named_module_that_fails_to_import_says_how(tmp_path, monkeypatch, source, word):
    name = f"somebodys_{word.partition('E')[0].lower()}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=f"{name}.*{word}.*Correct the module"):
        registry.load("methods", f"{name}:X")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "class X:\n    def __init__(self, by=0):\n        self.rate = 1 / by",
            "cannot be made: ZeroDivisionError: .*{file}:3",
        ),
        (
            "import json\ndef X():\n    return json.loads('{{')",
            "does not take these arguments: Expecting .*{file}:3",
        ),
        ("X = 1\nX / 0", "cannot be imported: ZeroDivisionError: .*{file}:2"),
        ("import numpy\nnumpy.no_such_thing", "cannot be imported: .*no_such_thing.*{file}:2"),
    ],
    ids=["constructor", "argument", "module", "attribute"],
)
def test_a_broken_plugin_is_named_with_file_and_line(tmp_path, monkeypatch, request, source, said):
    """The innermost line of its own, not of the library that it called; the same as an entry point and by its full name."""
    name = f"faulty_{request.node.callspec.id}"
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("faulty", f"{name}:X", "dp2bench.methods")
    with pytest.raises(PluginError, match=said.format(file=re.escape(str(file)))):
        registry.create("methods", f"{name}:X", {})
    monkeypatch.setattr(registry, "_entries", lambda kind: {"faulty": (entry,)})
    with pytest.raises(PluginError, match=rf"faulty.*: .*{re.escape(str(file))}:\d\)\.") as caught:
        registry.create("methods", "faulty", {})
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("name", [":X", "os:", ".relative:X"])
def test_half_a_name_asks_for_the_whole(name):
    with pytest.raises(PluginError, match=r"package\.module:Class"):
        registry.load("methods", name)


def test_a_method_can_be_named_by_module_and_class():
    from dp2bench.baselines.identity import Identity

    assert registry.load("methods", "dp2bench.baselines.identity:Identity") is Identity


def test_a_plugin_of_the_folder_one_works_in_is_found(tmp_path):
    (tmp_path / "of_this_folder.py").write_text(
        "from dp2bench.baselines.identity import Identity\nclass Own(Identity): pass\n"
    )
    code = (
        "from dp2bench.core import registry; import sys; "
        "assert sys.path[0] not in ('', '.'); "
        "print(type(registry.create('methods', 'of_this_folder:Own', {})).__name__)"
    )
    (tmp_path / "elsewhere").mkdir()
    script = tmp_path / "elsewhere" / "run.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("Own\n", 0), done.stderr


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class X:\n    meta = MethodMeta('x')", "gives X, which is no Anonymizer: it lacks `anonymize`"),
        (
            "class X:\n    meta = 'x'\n    def anonymize(self, image, people, *, seed): ...",
            "`meta` is of type str",
        ),
        ("def X(): return None", "gives NoneType, which is no Anonymizer: it lacks `anonymize`, `meta`"),
    ],
)
def test_what_breaks_its_contract_is_refused_by_name(tmp_path, monkeypatch, source, problem):
    monkeypatch.chdir(tmp_path)
    name = f"breaks_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(f"from dp2bench.core.contracts import MethodMeta\n{source}\n")
    with pytest.raises(PluginError, match=f"{name}:X.*{re.escape(problem)}"):
        registry.create("methods", f"{name}:X", {})


def test_plugins_say_what_they_are():
    assert registry.describe("methods", "identity") == "[none] Changes nothing."
    assert registry.describe("methods", "blur").startswith("[body] Gaussian blur")
    assert registry.describe("tasks", "runtime").startswith("Seconds a picture")
    assert registry.describe("detectors", "annotations").startswith("Looks people up")
    assert registry.needs_root("market1501")
    assert not registry.needs_root("passersby-reid")
