"""What an attack is given, what it declares, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.chance import p_value, quantile
from dp2bench.core.contracts import ComponentMeta, RunContext

Version = Literal["clear", "anonymized"]
Need = Literal["masks", "keypoints", "attributes"]
Extract = Callable[[str, NDArray[np.uint8]], NDArray[np.float32]]
"""(name of a network, (N, H, W, 3) pictures) -> (N, D) features."""


@dataclass(frozen=True)
class View:
    """The pictures of one split in one version, and what an attacker may know of them; N rows.

    Attributes:
        names: N names, unique within the split.
        identities: (N,) int64; 0 is a distractor.
        cameras: (N,) int64.
        pictures: (N, H, W, 3) uint8 RGB.
        masks: (N, H, W) bool of the person each picture is named after; None where nobody knows.
        keypoints: (N, 17, 3) float32 of that person, COCO order, pixels of ``pictures``; None where nobody knows.
        attributes: by identity, what the dataset's authors say about how people look; None where they say nothing.
        extract: computes features; its results are kept with the view, and shared by the views taken of it.

    """

    names: tuple[str, ...]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    pictures: NDArray[np.uint8]
    extract: Extract
    masks: NDArray[np.bool_] | None = None
    keypoints: NDArray[np.float32] | None = None
    attributes: Mapping[int, Mapping[str, Any]] | None = None
    _kept: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    _whole: tuple[View, NDArray[np.intp]] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def features(self, network: str) -> NDArray[np.float32]:
        """(N, D) features of a network, computed once for every attack; whoever needs those of a part gets them from the whole."""
        if network not in self._kept and self._whole is not None:
            self._whole[0].features(network)
        return self.rows(network, lambda: self.extract(network, self.pictures))

    def rows(self, name: str, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """What ``compute`` says of each picture, (N, ...); kept under its name, with what is known of the whole view made use of."""
        if name not in self._kept:
            known = None if self._whole is None else self._whole[0]._kept.get(name)
            self._kept[name] = compute() if known is None or self._whole is None else known[self._whole[1]]
        return self._kept[name]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> View:
        """The view of some pictures."""
        index = np.arange(len(self))[rows]
        return replace(
            self,
            names=tuple(self.names[i] for i in index),
            identities=self.identities[index],
            cameras=self.cameras[index],
            pictures=self.pictures[index],
            masks=None if self.masks is None else self.masks[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
            _kept={},
            _whole=(self, index),
        )


class Split(NamedTuple):
    """The same pictures, clear and anonymized; row i of one is row i of the other."""

    clear: View
    anonymized: View

    def view(self, version: Version) -> View:
        """One of the two."""
        return self.clear if version == "clear" else self.anonymized

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Split:
        """Some pictures, in both versions."""
        return Split(self.clear.take(rows), self.anonymized.take(rows))


@dataclass(frozen=True)
class Scenario:
    """What the attacker learned from, and which versions they compare."""

    train: Literal["clear", "anonymized", "both"]
    query: Version
    gallery: Version

    def __str__(self) -> str:
        return f"{self.train}-{self.query}-{self.gallery}"


@dataclass(frozen=True)
class Measurement:
    """One number of an attack.

    Attributes:
        metric: ``mAP``, ``rank-1``, ``balanced-accuracy``, ...; always higher where more is left of somebody.
        value: mean of ``units``.
        units: the value of each unit (query, picture) by name.
        clusters: whose each unit is; intervals draw whole clusters.
        scenario: a `Scenario` as text, or empty.
        subset: a part of the units or questions (an attribute's name); empty for all.
        null: (P,) what permuted labels score; empty where chance is known exactly.
        chance: the mean of ``null``, or what chance is known to be; None where there is no such thing.
        clear: what the same attack scores with nothing anonymized; None where it was not measured.
        ranking: (Q, G) distances behind a retrieval score, for evidence.

    """

    metric: str
    value: float
    units: Mapping[str, float]
    clusters: Mapping[str, int]
    scenario: str = ""
    subset: str = ""
    null: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    chance: float | None = None
    clear: float | None = None
    ranking: NDArray[np.float32] | None = field(default=None, repr=False)

    @property
    def chance_high(self) -> float | None:
        """The quantile that chance alone exceeds one time in forty."""
        return quantile(self.null) if len(self.null) else None

    @property
    def p_value(self) -> float | None:
        """Chance of this value or a higher one where nothing leaks (Phipson and Smyth, 2010)."""
        return p_value(self.null, self.value) if len(self.null) else None


@dataclass(frozen=True)
class AttackMeta(ComponentMeta):
    """What an attack declares.

    Attributes:
        title: its name in a table, a few words.
        claim: what is shown where it succeeds, a sentence.
        needs: what must be known of the pictures; without it the attack is left out, with that reason.
        main_metric: by which it is compared over methods.
        positive: the control (`dp2bench.attacks.controls`) that it must find.
        negative: the control in which it must find nothing.
        identifies: it ranks people.
        headline: it may be a method's worst attacker: what it looks at is in the output, or can be read off it.

    """

    title: str = ""
    claim: str = ""
    needs: frozenset[Need] = frozenset()
    main_metric: str = "mAP"
    positive: str = "clear"
    negative: str = "grey-picture"
    identifies: bool = True
    headline: bool = True


class Attack(ABC):
    """Tries to find out who is shown. Learns from train identities only; is scored on identities it never saw.

    Constructed with keyword arguments. One instance is fitted once; another fold gets another instance.
    """

    meta: ClassVar[AttackMeta]

    @abstractmethod
    def fit(self, train: Split, context: RunContext) -> None:
        """Learn from the train split; the same people's clear and anonymized pictures are both at hand."""

    @abstractmethod
    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """Attack people who are not in the train split. The first measurement is the main one."""

    def missing(self, split: Split) -> str:
        """What the pictures lack for this attack, or nothing."""
        absent = [need for need in sorted(self.meta.needs) if getattr(split.clear, need) is None]
        return f"it needs {' and '.join(absent)}, which nobody knows here" if absent else ""
