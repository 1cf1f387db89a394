import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dp2bench.core import registry, templates
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.templates import Template, standardised

TABLE = standardised(np.random.default_rng(0).normal(size=(6, 16)))
TOY = Template(
    "toy-6", TABLE, np.array([1, 0, 2, 3, 5, 4], np.int32), np.array([0, 0, 1, 1, 0, 0], np.int8), ("a", "b")
)


def test_embeds_vertices_and_leaves_no_trace_where_there_is_none():
    vertices = np.array([[0, -1], [5, 2]])
    embedded = TOY.embed(vertices)
    assert embedded.shape == (2, 2, 16)
    assert (embedded[0, 1] == 0).all()
    np.testing.assert_array_equal(embedded[1, 0], TABLE[5])
    np.testing.assert_array_equal(TOY.embeddings, TABLE)  # the table itself was not written to
    with pytest.raises(ValueError, match="vertex 6 is none of the 6"):
        TOY.embed(np.array([6]))


@given(arrays.arrays(np.int32, (3, 4), elements=st.integers(-1, 5)))
def test_mirroring_twice_gives_the_same_picture(vertices):
    np.testing.assert_array_equal(TOY.mirror(TOY.mirror(vertices)), vertices)
    assert ((TOY.mirror(vertices) < 0) == (vertices < 0)[:, ::-1]).all()


def test_mirroring_swaps_sides_where_they_are_known():
    assert TOY.mirror(np.array([[0, 2, -1]], np.int32)).tolist() == [[-1, 2, 1]]
    unknown = Template("toy-6", TABLE)
    assert unknown.mirror(np.array([[0, 2, -1]], np.int32)).tolist() == [[-1, 2, 0]]


def test_a_saved_template_is_read_back(tmp_path):
    TOY.save(tmp_path / "deep" / "t.npz")
    read = Template.read(tmp_path / "deep" / "t.npz")
    assert (read.name, read.part_names, len(read)) == ("toy-6", ("a", "b"), 6)
    for key in ("embeddings", "mirrored", "parts"):
        np.testing.assert_array_equal(getattr(read, key), getattr(TOY, key))
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(Dp2benchError, match=r"broken\.npz holds no surface template"):
        Template.read(tmp_path / "broken.npz")


@pytest.mark.parametrize(
    "wrong",
    [
        {"embeddings": TABLE.astype(np.float64)},
        {"embeddings": TABLE[:, :8]},
        {"embeddings": np.full((6, 16), np.nan, np.float32)},
        {"embeddings": TABLE, "mirrored": np.array([1, 2, 0, 3, 4, 5], np.int32)},
        {"embeddings": TABLE, "parts": np.full(6, 2, np.int8), "part_names": ("a", "b")},
    ],
)
def test_what_is_no_template_is_refused(wrong):
    with pytest.raises(ValueError, match="toy-6"):
        Template("toy-6", **wrong)


def test_templates_are_found_by_name(monkeypatch):
    assert {"passersby-13380", "smpl-27554"} <= set(registry.names("templates"))
    monkeypatch.setattr(registry, "create", lambda kind, name, arguments: TOY)
    monkeypatch.setattr(templates, "_loaded", {})
    assert templates.get("toy-6") is TOY
    with pytest.raises(PluginError, match="'other' gives 'toy-6'"):
        templates.get("other")
