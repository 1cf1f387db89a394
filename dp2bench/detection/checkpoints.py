"""Which file a detector's weights are, and what is said of it."""

from __future__ import annotations

from pathlib import Path

from dp2bench.core.contracts import Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.weights import catalogue
from dp2bench.weights.digests import check_record, sha256

CSE_LICENCE = "see the DensePose project"
WITHOUT = "Or choose a detector that needs no download (the embedded `deepprivacy2`, `annotations`, `coco-json`, `full-image`)."


def find(weights: str | Path | None, detector: str, official: str, *, otherwise: str = WITHOUT) -> Path:
    """The checkpoint's path.

    Args:
        weights: a path, or a name of the catalogue of weights; None and ``official`` take the published one from the user's folder of
            weights.
        detector: the detector's registered name.
        official: the published checkpoint's name in the catalogue.
        otherwise: what else helps, as a sentence.

    Raises:
        MissingWeightsError: published ones that are not there. Dp2benchError: no such weights.

    """
    name = official if weights in {None, "official"} else str(weights)
    if name in catalogue.names("detector"):
        if (path := catalogue.installed(name)) is not None:
            return path
        raise catalogue.MissingWeightsError([name], f"The detector {detector!r}", otherwise)
    path = Path(name).expanduser()
    if not path.is_file():
        raise Dp2benchError(
            f"The detector {detector!r} needs trained weights, and there is no file {weights}.",
            "Give the path of a checkpoint, `official`, or a detector's name of `dp2bench weights list`.",
        )
    return path


def describe(path: Path, licence: str) -> Weights:
    """Name, sha256 and licence of a checkpoint; a Dp2benchError if it has changed since it was fetched or imported."""
    check_record(path)
    return Weights(path.name, sha256(path), licence)
