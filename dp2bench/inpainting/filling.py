"""Who answers the requests of anonymizers: one picture alone, or many whose crops fill batches together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Anonymizer, BatchedAnonymizer, FillRequest, FillRequests
from dp2bench.core.profiling import span
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, CropBatch, Image, People

T = TypeVar("T")
IN_FLIGHT = 256 << 20
"""Bytes of pictures that wait for each other's crops, at most; one picture may be larger."""


def fill(request: FillRequest) -> NDArray[np.uint8]:
    """The fills of a request. ValueError where the inpainter returns something else."""
    inpainter, crops, seeds = request
    with span("inpaint"):
        filled = inpainter.inpaint(crops, seeds=seeds)
    if filled.shape != crops.images.shape or filled.dtype != np.uint8:
        raise ValueError(
            f"{inpainter.meta.name} filled {filled.dtype} {filled.shape}, expected uint8 {crops.images.shape}"
        )
    return filled


def requests_of(method: Anonymizer, image: Image, people: People, seed: Seed) -> FillRequests:
    """The requests of any method; one that fills everything itself has none."""
    if _asks(method):
        return (yield from method.fill_requests(image, people, seed=seed))
    return method.anonymize(image, people, seed=seed)


def _asks(method: Anonymizer) -> TypeGuard[BatchedAnonymizer]:
    """Whether a method's own way is to ask for fills: whichever of ``anonymize`` and ``fill_requests`` its most derived class defines."""
    if not isinstance(method, BatchedAnonymizer):
        return False
    for owner in type(method).__mro__:
        if {"anonymize", "fill_requests"} & vars(owner).keys():
            return "fill_requests" in vars(owner)
    return False


def nothing_to_fill() -> FillRequests:
    """The requests of a picture that only keeps its place among the others."""
    return Anonymized(np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.bool_))
    yield


def advance(requests: FillRequests, filled: NDArray[np.uint8] | None) -> FillRequest | Anonymized:
    """Send fills (None to begin); the next request, or the anonymized picture."""
    try:
        return requests.send(filled)  # type: ignore[arg-type]
    except StopIteration as end:
        done: Anonymized = end.value
        return done


def fill_alone(requests: FillRequests) -> Anonymized:
    """Answer the requests of one picture."""
    given = advance(requests, None)
    while isinstance(given, FillRequest):
        given = advance(requests, fill(given))
    return given


class Pending(NamedTuple, Generic[T]):
    """A picture to anonymize.

    Attributes:
        tag: what it is known by; comes back with the outcome.
        requests: of `requests_of`, not begun.
        size: bytes that it holds in memory.

    """

    tag: T
    requests: FillRequests
    size: int


@dataclass
class _Picture(Generic[T]):
    pending: Pending[T]
    outcome: Anonymized | Exception | None = None
    request: FillRequest | None = None
    filled: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    left: int = 0
    """How many crops of the request are not filled."""


@dataclass
class _Group(Generic[T]):
    """Crops that one inpainter can fill together."""

    batch: int
    """How many it computes at once."""
    rows: list[tuple[_Picture[T], int]] = field(default_factory=list)

    def take(self) -> list[tuple[_Picture[T], int]]:
        """As many whole batches as there are; the rest where there is none."""
        whole = len(self.rows) // self.batch * self.batch or len(self.rows)
        taken, self.rows = self.rows[:whole], self.rows[whole:]
        return taken


def fill_together(pictures: Iterable[Pending[T]]) -> Iterator[tuple[T, Anonymized | Exception]]:
    """Anonymize pictures in batches that are formed across them; outcomes come in the order of the pictures.

    A picture is begun when no batch is full. Within a picture the order of filling stays, for it asks for its next crops when it has
    been sent the ones before. Whatever is raised is the outcome of the picture that it belongs to.
    """
    source = iter(pictures)
    begun: deque[_Picture[T]] = deque()
    groups: dict[tuple[int, bool], _Group[T]] = {}
    more = True

    def go_on(picture: _Picture[T], filled: NDArray[np.uint8] | None) -> None:
        """Take a picture to its next request, or to its end."""
        try:
            given = advance(picture.pending.requests, filled)
        except Exception as error:  # noqa: BLE001 - a third party's method may raise anything
            picture.outcome = error
            return
        if isinstance(given, Anonymized):
            picture.outcome = given
            return
        if not isinstance(given, FillRequest):
            picture.outcome = TypeError(f"the method returned {type(given).__name__}, not Anonymized")
            return
        if not len(given.crops):
            picture.outcome = ValueError("a request for fills holds no crops")
            return
        picture.request, picture.left = given, len(given.crops)
        picture.filled = np.empty_like(given.crops.images)
        key = id(given.inpainter), given.crops.keypoints is None
        group = groups.setdefault(key, _Group(given.inpainter.preferred_batch()))
        group.rows += [(picture, i) for i in range(len(given.crops))]

    def answer(rows: list[tuple[_Picture[T], int]]) -> None:
        """Fill crops, and take the pictures on that have all of theirs."""
        rows = [row for row in rows if row[0].outcome is None]
        if not rows:
            return
        owners = list({id(picture): picture for picture, _ in rows}.values())
        try:
            filled = fill(_joined(rows))
        except Exception as error:  # noqa: BLE001 - as above
            if len(owners) == 1:
                owners[0].outcome = error
                owners[0].pending.requests.close()
            else:
                for owner in owners:
                    answer([row for row in rows if row[0] is owner])
            return
        for (picture, i), crop in zip(rows, filled, strict=True):
            picture.filled[i] = crop
            picture.left -= 1
        for picture in owners:
            if not picture.left:
                go_on(picture, picture.filled)

    while more or begun:
        while begun and begun[0].outcome is not None:
            done = begun.popleft()
            yield done.pending.tag, done.outcome  # type: ignore[misc]
        waiting = [group for group in groups.values() if group.rows]
        full = next((group for group in waiting if len(group.rows) >= group.batch), None)
        if full is not None:
            answer(full.take())
        elif more and _has_room(begun, waiting):
            pending = next(source, None)
            more = pending is not None
            if pending is not None:
                begun.append(_Picture(pending))
                go_on(begun[-1], None)
        elif waiting:
            answer(max(waiting, key=lambda group: len(group.rows)).take())


def _has_room(begun: deque[_Picture[T]], waiting: list[_Group[T]]) -> bool:
    """Whether to begin another picture: few enough wait, and they are small enough."""
    most = 2 * max((group.batch for group in waiting), default=1)
    return len(begun) < most and sum(picture.pending.size for picture in begun) < IN_FLIGHT


def _joined(rows: list[tuple[_Picture[T], int]]) -> FillRequest:
    """Crops of several requests to one inpainter as one."""
    requests = [(picture.request, i) for picture, i in rows if picture.request is not None]
    first = requests[0][0]
    if all(request is first for request, _ in requests) and len(requests) == len(first.crops):
        return first
    crops = CropBatch.join([(request.crops, i) for request, i in requests])
    return FillRequest(first.inpainter, crops, [request.seeds[i] for request, i in requests])
