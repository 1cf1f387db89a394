"""What counts as worse: the policy of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dp2bench.core import yaml_model
from dp2bench.core.errors import Dp2benchError

Tolerance = Annotated[float, Field(ge=0)]


class GateError(Dp2benchError):
    """Runs, a policy or a folder that cannot be used for a comparison."""


class Policy(BaseModel):
    """Tolerances and how sure to be.

    Patterns are those of file names (``*``, ``?``, ``[...]``). One with a slash is matched against ``method/dataset/task/score``,
    one without against the score's name. Of several tolerances the first in the file that matches is taken.

    Attributes:
        alpha: chance that two equal runs fail, over all scores together, at most.
        tolerance: for scores that are fractions (0.01 is one point).
        lift_tolerance: for scores with a lift, as a share of the way from chance to the score on clear pictures.
        relative_tolerance: for all other scores, as a share of BASE's value.
        tolerances: by pattern, in the score's unit.
        ignore: patterns of scores that are left out; coverage and missing results never are.
        paired_seeds: the same seed means the same training in both runs.

    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    tolerance: Tolerance = 0.01
    lift_tolerance: Tolerance = 0.01
    relative_tolerance: Tolerance = 0.05
    tolerances: Mapping[str, Tolerance] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    paired_seeds: bool = False

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value

    def tolerance_of(
        self, result: str, score: str, unit: str, base: float, reach: float | None = None
    ) -> float:
        """The tolerance of a score whose value in BASE is ``base``, in its unit; ``result`` is ``method/dataset/task``.

        ``reach`` is how far the score on clear pictures lies above chance; None where the score has no lift.
        """
        for pattern, value in self.tolerances.items():
            if matches(pattern, result, score):
                return value
        if reach is not None:
            return self.lift_tolerance * reach
        return self.tolerance if unit == "fraction" else self.relative_tolerance * abs(base)


def matches(pattern: str, result: str, score: str) -> bool:
    """Whether a policy's pattern means the score of that name of the result ``method/dataset/task``."""
    return fnmatchcase(f"{result}/{score}" if "/" in pattern else score, pattern)


def load_policy(path: Path | None) -> Policy:
    """A policy file, or the defaults. GateError names file, line and key."""
    if path is None:
        return Policy()
    return yaml_model.parse(Policy, yaml_model.read_text(path, GateError), str(path), GateError)
