"""Verdicts in words say what the numbers say."""

import pytest

from dp2bench.core.results import Coverage, Score
from dp2bench.reports.first_screen import first_screen, verdict
from dp2bench.reports.load import load_report

from .synthetic import METHODS, write_many


def told(make, *further, **score):
    result = make("blur", 0.5)
    given = {"metric": "mAP", "scenario": "clear-anonymized", "n": 9, "value": 0.5, "chance": 0.02} | score
    return result.model_copy(update={"scores": (Score(**given), *further)})


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ({"lift": 0.97}, "Hides nothing: the attacker of market1501-reid reaches 50.0 % mAP, 97 % of that on clear pictures."),
        ({"lift": 1.3}, "Hides nothing: the attacker of market1501-reid reaches 50.0 % mAP, as much as on clear pictures."),
        ({"lift": 0.6}, "Hides little:"),
        ({"lift": 0.3}, "Hides a part:"),
        ({"lift": 0.1}, "Hides most:"),
        ({"lift": 0.03}, "Hides nearly all:"),
        ({"lift": 0.6, "by": "adaptive"}, "the worst attacker (adaptive)"),
        ({"lift": 0.03, "p_value": 0.3}, "Hides identity: the attacker of market1501-reid reaches 50.0 % mAP, no more than chance."),
        ({"lift": 0.03, "p_value": 0.01}, "Hides nearly all:"),
        ({"chance_high": 0.6}, "no more than chance"),
        ({"chance_high": 0.03, "p_value": 1 / 21}, "25.0 times chance"),  # so few permutations have no smaller p value
        ({"ci95": (0.01, 0.6)}, "no more than chance"),
        ({"ci95": (0.4, 0.6)}, "The attacker of market1501-reid reaches 50.0 % mAP, 25.0 times chance."),
    ],
)  # fmt: skip
def test_identity(make, score, words):
    result = told(make, **score)
    assert words in verdict([result], result)


def test_how_many_are_among_the_first_answers(make):
    ranks = [
        Score(metric=f"rank-{k}", scenario="clear-anonymized", n=9, value=v, chance=c)
        for k, v, c in ((1, 0.2, 0.01), (10, 0.56, 0.11))
    ]
    said = verdict([told(make, *ranks, lift=0.08)], None)
    assert said.endswith("; 56 % are among its first 10 answers (by chance 11 %).")


def test_another_attacker_that_finds_people_is_not_left_out(make):
    nothing, much = told(make, value=0.03, chance_high=0.03), told(make, value=0.92, chance_high=0.03)
    assert "But market1501-reid reaches 92.0 % mAP, beyond chance." in verdict([nothing, much], None)
    assert "But" not in verdict([nothing, nothing], None)


@pytest.mark.parametrize(
    ("coverage", "detector", "words"),
    [
        ({"missed": 3, "undetected": 5}, "annotations", "8 of 820 people are left as they are."),
        ({"missed": 0, "undetected": 0}, "annotations", "All 815 people, whose places were given, are covered."),
        ({"missed": 3, "undetected": 5}, "photo", "3 of 815 people found are left as they are. 5 of those annotated were never found."),
        ({"missed": 0, "undetected": None}, "photo", "Nobody knows who was not found."),
    ],
)  # fmt: skip
def test_people(make, coverage, detector, words):
    counts = {
        "pictures": 9,
        "found": 815,
        "anonymized": 815 - coverage["missed"],
        "pictures_without_detection": 0,
    }
    result = make("blur", coverage=Coverage(**counts, **coverage))
    result = result.model_copy(update={"spec": result.spec.model_copy(update={"detector": detector})})
    assert verdict([result], result).endswith(words)


def test_people_of_another_dataset_are_called_so(make):
    here, there = make("blur"), make("blur", dataset="elsewhere")
    assert " people on elsewhere are left" in verdict([here], there)
    assert " on " not in verdict([here], here)


def test_a_failure_is_no_verdict_on_privacy(make):
    assert verdict([make("blur", None)], None).startswith("error: RuntimeError")
    assert "reaches" not in verdict([make("blur", coverage=None)], None)
    assert verdict([], None) == ""


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


def test_a_headline_without_coverage_takes_no_other_datasets(tmp_path, make, write):
    nothing, other = make("blur", coverage=None), make("blur", dataset="other")
    (row,) = first_screen(load_report([write(tmp_path / "run", [nothing, other])])).rows
    assert "covered" not in row.verdict
    assert "left as they are" not in row.verdict
