"""The surface template ``smpl-27554``, whose table is a parameter of the published CSE networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.paths import cache_root
from dp2bench.core.templates import Template
from dp2bench.detection import checkpoints
from dp2bench.detection.rcnn import network as rcnn
from dp2bench.detection.rcnn.heads import VertexEmbedder
from dp2bench.weights import catalogue
from dp2bench.weights.digests import check_record
from dp2bench.weights.reading import read_arrays, read_state

_KEY = "roi_heads.embedder.embedder_smpl_27554."


def smpl_file() -> Path:
    """Where `register_smpl` keeps the table."""
    return cache_root() / "templates" / f"{rcnn.TEMPLATE}.npz"


def smpl() -> Template:
    """The template as `register_smpl` left it, or out of a CSE network's weights in the user's folder.

    Raises:
        Dp2benchError: neither is there; says how to get it.

    """
    path = smpl_file()
    if not path.is_file() and (weights := catalogue.installed(_official())) is not None:
        return register_smpl(weights)
    if not path.is_file():
        raise Dp2benchError(
            f"The surface template {rcnn.TEMPLATE!r} is not on this machine: its embeddings are parameters of a CSE network.",
            f"Run `dp2bench weights fetch {_official()}`, then once "
            f'`dp2bench data template {rcnn.TEMPLATE} --weights "$(dp2bench weights path {_official()})"`.',
        )
    return Template.read(path)


def register_smpl(weights: Path) -> Template:
    """Take the table out of a CSE checkpoint and keep it in the cache for `smpl`.

    Rows have length 1, as the network normalises them and the published anonymizer hands them to its generators
    (``normalize_embedding=False`` in its configurations). Which vertex mirrors which is no part of the checkpoint: see `add_symmetry`.

    Raises:
        Dp2benchError: the file cannot be read or is not a CSE network's.

    """
    check_record(Path(weights))
    state = read_state(Path(weights))
    try:
        features, directions = state[f"{_KEY}features"], state[f"{_KEY}embeddings"]
    except KeyError as error:
        raise Dp2benchError(
            f"{weights} holds no embeddings of {rcnn.TEMPLATE}: {error} is missing.",
            f"Give a checkpoint of DensePose CSE (`dp2bench weights fetch {_official()}`).",
        ) from error
    embedder = VertexEmbedder(len(features))
    embedder.load_state_dict({"features": features, "embeddings": directions})
    table = embedder().detach().float().numpy()
    template = Template(rcnn.TEMPLATE, table, licence=checkpoints.CSE_LICENCE)
    template.save(smpl_file())
    return template


def add_symmetry(path: Path) -> Template:
    """Take which vertex mirrors which out of DensePose's ``symmetry_smpl_27554.pkl``, for flips as the published training has them.

    Args:
        path: of the file; it holds an array ``vertex_transforms``, and nothing else in it is run.

    Raises:
        Dp2benchError: it is another file, or the template is not registered yet.

    """
    template, found = smpl(), read_arrays(path)
    ids = np.asarray(found.get("vertex_transforms", ()) if isinstance(found, Mapping) else ()).ravel()
    whole = ids.astype(np.int32) if ids.dtype.kind in "iuf" else np.zeros(0, np.int32)
    if len(whole) != len(template) or (whole != ids).any() or whole.min() < 0 or whole.max() >= len(template):
        raise Dp2benchError(
            f"{path} does not say which of {len(template)} vertices mirrors which.",
            "Give DensePose's symmetry_smpl_27554.pkl.",
        )
    if not np.array_equal(whole[whole], np.arange(len(whole))):
        # A few vertices of the published table have no exact partner: they keep their own id.
        stray = whole[whole] != np.arange(len(whole))
        whole[stray] = np.flatnonzero(stray)
    template = replace(template, mirrored=whole)
    template.save(smpl_file())
    return template


def _official() -> str:
    from dp2bench.detection.rcnn.detectors import CSEDetector

    return CSEDetector.official
