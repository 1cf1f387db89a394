"""Verdicts in words say what the numbers say."""

import pytest

from dp2bench.core.results import Coverage, Score
from dp2bench.reports.first_screen import first_screen, verdict
from dp2bench.reports.load import load_report

from .synthetic import METHODS, write_many


def told(make, **score):
    result = make("blur", 0.5)
    given = {"metric": "mAP", "scenario": "clear-anonymized", "n": 9, "value": 0.5, "chance": 0.02} | score
    return result.model_copy(update={"scores": (Score(**given),)})


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ({"lift": 0.97}, "Hides nothing: the attacker finds 50.0 %, 97 % of the identity"),
        ({"lift": 0.6}, "Hides little:"),
        ({"lift": 0.3}, "Hides a part:"),
        ({"lift": 0.1}, "Hides most:"),
        ({"lift": 0.03}, "Hides nearly all:"),
        ({"lift": 0.6, "by": "adaptive"}, "the worst attacker (adaptive)"),
        ({"lift": 0.03, "p_value": 0.3}, "Hides identity: the attacker finds 50.0 %, no more than chance."),
        ({"lift": 0.03, "p_value": 0.01}, "Hides nearly all:"),
        ({"chance_high": 0.6}, "no more than chance"),
        ({"ci95": (0.01, 0.6)}, "no more than chance"),
        ({"ci95": (0.4, 0.6)}, "The attacker finds 50.0 %, 25.0 times chance."),
    ],
)
def test_identity(make, score, words):
    result = told(make, **score)
    assert words in verdict(result, result)


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        ({"missed": 3, "undetected": 5}, "8 of 820 people are left as they are."),
        ({"missed": 0, "undetected": 0}, "All 815 people are covered."),
        ({"missed": 0, "undetected": None}, "Nobody knows who was not found."),
    ],
)
def test_people(make, coverage, words):
    counts = {
        "pictures": 9,
        "found": 815,
        "anonymized": 815 - coverage["missed"],
        "pictures_without_detection": 0,
    }
    result = make("blur", coverage=Coverage(**counts, **coverage))
    assert verdict(result, result).endswith(words)


def test_a_failure_is_no_verdict_on_privacy(make):
    assert verdict(make("blur", None), None).startswith("error: RuntimeError")
    assert "finds" not in verdict(make("blur", coverage=None), None)


def test_columns_have_words_for_titles_and_bars_within_their_cells(tmp_path):
    screen = first_screen(load_report([write_many(tmp_path / "run")]))
    assert [row.label for row in screen.rows] == list(METHODS)
    assert screen.columns[0].name == "passersby-reid: market1501-reid, clear-anonymized.mAP."
    assert screen.columns[-1].title == "people left as they are ↓"
    for row in screen.rows:
        assert len(row.cells) == len(screen.columns)
        assert len(row.pictures) == len(screen.originals) > 3
        assert all(cell.bar is None or 0 <= cell.bar <= 1 for cell in row.cells)
        assert not any("e-" in cell.text for cell in row.cells)
