"""The surface template ``passersby-13380``: the skin of the rendered body, and eigenfunctions of its Laplace-Beltrami operator.

The table is package data; ``python -m dp2bench.datasets.passersby.rendering.template FILE`` computes it anew (seconds).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp2bench.core.templates import DIMENSIONS, Template, standardised
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, kit

NAME = "passersby-13380"
FILE = Path(__file__).with_name("template.npz")

_MIDDLE = {
    "torso": ("root", "pelvis", "spine", "clavicle", "shoulder", "neck01"),
    "head": ("neck", "head", "eye"),
}
_SIDES = {
    "upper arm": ("upperarm",),
    "lower arm": ("lowerarm",),
    "hand": ("wrist", "finger", "metacarpal"),
    "upper leg": ("upperleg",),
    "lower leg": ("lowerleg",),
    "foot": ("foot", "toe"),
}
PART_NAMES = (*_MIDDLE, *(f"{side} {part}" for part in _SIDES for side in ("left", "right")))


def passersby() -> Template:
    """The template as it is shipped.

    Ids are those of the body's skin alone: clothes, hair and eyes are helper meshes, and where one is seen the surface
    names the skin vertex closest to it (`BodyKit.nearest`); what is carried belongs to the person's mask and has no
    vertex (-1).
    """
    return Template.read(FILE)


def compute() -> Template:
    """The template from the body's mesh; equal on every machine up to the solver's rounding (about 1e-6)."""
    body = kit()
    points = body.template[:SKIN_VERTICES]
    mirrored = cKDTree(points).query(points * [-1, 1, 1])[1].astype(np.int32)
    return Template(
        NAME,
        eigenfunctions(points, body.skin_mesh, DIMENSIONS),
        mirrored,
        _parts(),
        PART_NAMES,
        "CC0-1.0",
    )


def eigenfunctions(
    points: NDArray[np.float64], triangles: NDArray[np.int32], count: int
) -> NDArray[np.float32]:
    """(V, count) smoothest functions on a mesh but the constant, by rising eigenvalue, standardised.

    Those of the cotangent Laplacian with lumped masses (Lévy 2006; Rustamov 2007). The sign makes the largest value at
    x >= 0 positive. Vertices that no triangle of positive area uses take the values of the nearest one that is used.
    """
    n = len(points)
    stiffness = scipy.sparse.csr_matrix((n, n))
    mass = np.zeros(n)
    for corner in range(3):
        i, j, k = (triangles[:, (corner + s) % 3] for s in range(3))
        a, b = points[i] - points[k], points[j] - points[k]
        doubled = np.linalg.norm(np.cross(a, b), axis=1)
        weight = (a * b).sum(1) / np.maximum(doubled, 1e-12) / 2
        pair = scipy.sparse.coo_matrix((weight, (i, j)), (n, n))
        stiffness = stiffness + pair + pair.T
        np.add.at(mass, k, doubled / 6)
    used = np.flatnonzero(mass > 0)
    stiffness = scipy.sparse.diags(np.asarray(stiffness.sum(1)).ravel()) - stiffness
    # Shift and invert just below zero: the operator itself is singular. A fixed start makes the solver repeatable.
    _, functions = scipy.sparse.linalg.eigsh(
        stiffness[used][:, used].tocsc(),
        count + 1,
        scipy.sparse.diags(mass[used]).tocsc(),
        sigma=-1e-3,
        v0=np.ones(len(used)) + np.arange(len(used)) / len(used),
    )
    side = points[used, 0] >= 0
    largest = np.abs(functions[side]).argmax(0)
    functions *= np.sign(functions[side][largest, np.arange(count + 1)])
    nearest = cKDTree(points[used]).query(points)[1]
    return standardised(functions[nearest, 1:])


def _parts() -> NDArray[np.int8]:
    """(V,) index into `PART_NAMES` of the bone that moves a vertex most."""
    body = kit()
    of_bone = np.zeros(len(body.bones), np.int8)
    for name, index in body.bones.items():
        side = {".L": "left ", ".R": "right "}.get(name[-2:], "")
        limb = next((part for part, prefixes in _SIDES.items() if name.startswith(prefixes)), None)
        middle = next((part for part, prefixes in _MIDDLE.items() if name.startswith(prefixes)), None)
        of_bone[index] = PART_NAMES.index(f"{side}{limb}" if middle is None else middle)
    parts: NDArray[np.int8] = of_bone[body.dominant_bone[:SKIN_VERTICES]]
    return parts


if __name__ == "__main__":
    compute().save(Path(sys.argv[1]))
