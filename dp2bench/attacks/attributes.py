"""What can still be told of somebody: sex, clothes, colours, skin, bag, age."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.adaptive import ensemble_features
from dp2bench.attacks.learning import Rows, centred, logistic
from dp2bench.attacks.retrieval import PERMUTATIONS
from dp2bench.core.attacks import Attack, AttackMeta, Measurement, Split, Version
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed

Question = Callable[[Mapping[str, Any]], float]
FEWEST = 4
"""People on each side of a question, among those learned from and among those asked about, without which it is not asked."""


def _brightness(name: str) -> Question:
    return lambda look: float(np.dot(look[name], (0.299, 0.587, 0.114)))


def _warmth(name: str) -> Question:
    return lambda look: float(look[name][0] - look[name][2])


def _is(name: str, *values: Any) -> Question:
    return lambda look: float(look[name] in values)


def _number(name: str) -> Question:
    return lambda look: float(look[name])


QUESTIONS: Mapping[str, tuple[str, Question]] = {
    "sex": ("female", _is("female", True)),
    "age": ("body_age", _number("body_age")),
    "weight": ("body_weight", _number("body_weight")),
    "skin-brightness": ("skin", _brightness("skin")),
    "hair-brightness": ("hair", _brightness("hair")),
    "sleeves": ("sleeve", _number("sleeve")),
    "top-brightness": ("top_colour", _brightness("top_colour")),
    "top-warmth": ("top_colour", _warmth("top_colour")),
    "trousers": ("bottom", _is("bottom", "trousers")),
    "bottom-brightness": ("bottom_colour", _brightness("bottom_colour")),
    "bag": ("bag", _is("bag", "none")),
}
"""By name: the entry of the attribute table that it needs, and a number. Which side of the train people's median somebody is on is asked."""


class Attributes(Attack):
    """Logistic regression on the features of the adaptive attacker, one yes-or-no question each, both answers weighing the same.

    The score is balanced accuracy, 0.5 by chance; the first measurement is the mean over all questions. The floor deals the answers out
    to the test people anew.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="attributes",
        title="attributes",
        claim="Sex, clothes, colours, skin, bag or age can be told from the output.",
        needs=frozenset({"attributes"}),
        main_metric="balanced-accuracy",
        identifies=False,
    )

    def __init__(self) -> None:
        self.models: dict[tuple[Version, str], tuple[float, NDArray[np.float64], float]] = {}
        self.scales: dict[Version, Rows] = {}

    def fit(self, train: Split, context: RunContext) -> None:
        """One regression a question and version."""
        table = train.clear.attributes
        if table is None:
            raise Dp2benchError("Nobody says what these people look like.", "Leave the attack out.")
        looks = [table.get(int(i)) for i in train.clear.identities]
        people = np.array([look is not None for look in looks])
        versions: tuple[Version, ...] = ("anonymized", "clear")
        for version in versions:
            rows = centred(ensemble_features(train, version), train.view(version).cameras)[people]
            scale = self.scales[version] = np.maximum(rows.std(0), 1e-6)
            for name, (entry, question) in QUESTIONS.items():
                if any(entry not in look for look in looks if look is not None):
                    continue
                numbers = np.array([question(look) for look in looks if look is not None])
                middle = _middle(numbers)
                answers = numbers > middle
                who = train.clear.identities[people]
                if min(len(set(who[answers])), len(set(who[~answers]))) < FEWEST:
                    continue
                self.models[version, name] = (
                    middle,
                    *logistic(rows / scale, answers, penalty=len(rows) * 0.05),
                )

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`: every test picture is asked about, queries and gallery alike."""
        clear = {m.subset: m.value for m in self._measure((query, gallery), "clear", context)}
        return [
            Measurement(**{**vars(m), "clear": clear[m.subset]})
            for m in self._measure((query, gallery), "anonymized", context)
        ]

    def _measure(self, splits: Sequence[Split], version: Version, context: RunContext) -> list[Measurement]:
        table = splits[0].clear.attributes
        assert table is not None
        rows = np.concatenate(
            [centred(ensemble_features(s, version), s.view(version).cameras) for s in splits]
        )
        who = np.concatenate([s.clear.identities for s in splits])
        names = [n for s in splits for n in s.clear.names]
        known = np.array([int(i) in table for i in who])
        rows, who = rows[known] / self.scales[version], who[known]
        names = [n for n, k in zip(names, known, strict=True) if k]
        people, member = np.unique(who, return_inverse=True)
        random = np.random.default_rng(derive_seed(context.seed, "attributes"))
        orders = [random.permutation(len(people)) for _ in range(PERMUTATIONS)]
        found: list[Measurement] = []
        for name, (_, question) in QUESTIONS.items():
            if (version, name) not in self.models:
                continue
            middle, weights, intercept = self.models[version, name]
            truth = np.array([question(table[int(i)]) > middle for i in people])
            if min(truth.sum(), (~truth).sum()) < FEWEST:
                continue
            said = rows @ weights + intercept > 0
            right = _balanced(said, truth[member])
            null = np.array([_balanced(said, truth[order][member]).mean() for order in orders])
            found.append(
                Measurement(
                    metric="balanced-accuracy",
                    value=float(right.mean()),
                    units=dict(zip(names, right.tolist(), strict=True)),
                    clusters=dict(zip(names, who.tolist(), strict=True)),
                    subset=name,
                    null=null,
                    chance=0.5,
                )
            )
        if not found:
            raise Dp2benchError(
                "There are too few people to ask anything about.",
                "Leave the attack out, or take a larger dataset.",
            )
        values = np.array([list(m.units.values()) for m in found]).mean(0)
        return [
            Measurement(
                metric="balanced-accuracy",
                value=float(values.mean()),
                units=dict(zip(names, values.tolist(), strict=True)),
                clusters=found[0].clusters,
                null=np.mean([m.null for m in found], axis=0),
                chance=0.5,
            ),
            *found,
        ]


def _middle(numbers: NDArray[np.float64]) -> float:
    """What parts the people: between no and yes, or the median of a quantity."""
    values = np.unique(numbers)
    return float(values.mean()) if len(values) == 2 else float(np.median(numbers))


def _balanced(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) whose mean is the mean recall of both answers."""
    weight = np.where(truth, 0.5 / max(truth.sum(), 1), 0.5 / max((~truth).sum(), 1)) * len(truth)
    out: NDArray[np.float64] = (said == truth) * weight
    return out
