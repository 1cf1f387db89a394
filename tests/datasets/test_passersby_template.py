import numpy as np
import pytest
from scipy.spatial import cKDTree

from dp2bench.core import templates
from dp2bench.datasets.passersby.rendering import template
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, kit


@pytest.fixture(scope="module")
def shipped():
    return templates.get(template.NAME)


def test_the_shipped_table_is_what_the_mesh_gives(shipped):
    again = template.compute()
    assert len(shipped) == SKIN_VERTICES
    np.testing.assert_allclose(shipped.embeddings, again.embeddings, atol=1e-3)
    np.testing.assert_array_equal(shipped.mirrored, again.mirrored)
    np.testing.assert_array_equal(shipped.parts, again.parts)


def test_columns_have_mean_0_and_deviation_1(shipped):
    np.testing.assert_allclose(shipped.embeddings.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(shipped.embeddings.std(0), 1, atol=1e-3)


def test_neighbours_on_the_body_are_neighbours_in_the_table(shipped):
    mesh = kit().skin_mesh
    edge = np.linalg.norm(shipped.embeddings[mesh[:, 0]] - shipped.embeddings[mesh[:, 1]], axis=1)
    r = np.random.default_rng(0)
    anywhere = np.linalg.norm(
        shipped.embeddings[r.permutation(SKIN_VERTICES)] - shipped.embeddings[r.permutation(SKIN_VERTICES)],
        axis=1,
    )
    assert np.median(edge) < 0.02 * np.median(anywhere)
    # The vertices a short way off in the table lie close on the body, too.
    near = cKDTree(shipped.embeddings).query(shipped.embeddings[::50], 5)[1]
    points = kit().template[:SKIN_VERTICES]
    apart = np.linalg.norm(points[near] - points[::50][:, None], axis=-1).max(1)
    assert np.median(apart) < 0.03
    assert np.quantile(apart, 0.95) < 0.1  # metres, on a body of 1.8


def test_mirrored_vertices_and_parts_lie_on_the_other_side(shipped):
    points = kit().template[:SKIN_VERTICES]
    np.testing.assert_allclose(points[shipped.mirrored], points * [-1, 1, 1], atol=1e-4)
    names = np.array(shipped.part_names)[shipped.parts]
    swap = {"left": "right", "right": "left"}
    swapped = [" ".join(swap.get(word, word) for word in n.split()) for n in names]
    assert names[shipped.mirrored].tolist() == swapped
    # Left is the person's own: the body faces -y with z up, so its left hand is at +x.
    assert points[names == "left hand", 0].min() > 0
    # Smooth functions on a symmetric body are symmetric or antisymmetric.
    for column in shipped.embeddings.T:
        assert abs(np.corrcoef(column, column[shipped.mirrored])[0, 1]) > 0.999
