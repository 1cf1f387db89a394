"""Sequences that make their items when they are asked for."""

import pytest

from dp2bench.core.lazy import Again, Lazy


def test_items_are_made_when_they_are_asked_for():
    made = []
    squares = Lazy(5, lambda k: made.append(k) or k * k)
    assert len(squares) == 5
    assert made == []
    assert squares[-1] == 16
    assert made == [4]
    assert squares[1:3] == [1, 4]
    assert list(squares) == [0, 1, 4, 9, 16]
    assert not Lazy(0, str)
    for outside in (5, -6):
        with pytest.raises(IndexError):
            squares[outside]


def test_what_can_be_gone_through_again():
    letters = Again(lambda: iter("abc"))
    assert list(letters) == list(letters) == ["a", "b", "c"]
