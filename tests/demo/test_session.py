"""What a visitor of the demonstration does, without its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

import dp2bench
from dp2bench.core.altered import source_type_of
from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.images import read_image, write_image
from dp2bench.core.types import People
from dp2bench.demo import session
from dp2bench.demo.session import Choices, Loaded

PEOPLE = People.of([[10, 10, 60, 110], [30, 20, 50, 60], [100, 10, 150, 110]], scores=[0.9, 0.4, 0.8])
BLUR = Choices("pixelate-8")


@pytest.fixture
def loaded() -> Loaded:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return Loaded("street.png", image, PEOPLE)


def test_a_photograph_is_looked_at_and_replaced_as_the_library_does(tmp_path: Path):
    write_image(tmp_path / "a.png", astronaut())
    seen = session.load(tmp_path / "a.png", BLUR)
    assert len(seen.people) >= 1
    made = session.replace_people(seen, range(len(seen.people)), BLUR)
    expected = dp2bench.anonymize(tmp_path / "a.png", "pixelate-8")
    assert np.array_equal(made.image, expected.image)
    assert f"{len(seen.people)} of {len(seen.people)} replaced" in made.said


def test_who_is_not_chosen_stays_and_is_said(loaded):
    made = session.replace_people(loaded, [0, 1], BLUR)
    assert np.array_equal(made.image[:, 100:], loaded.image[:, 100:])
    assert not np.array_equal(made.image[:, :60], loaded.image[:, :60])
    assert "2 of 3 replaced" in made.said
    assert "by your choice: 2" in made.said
    nobody = session.replace_people(loaded, [], BLUR)
    assert np.array_equal(nobody.image, loaded.image)
    assert "0 of 3 replaced" in nobody.said


def test_a_person_keeps_their_new_face_whoever_else_is_chosen(loaded):
    choices = Choices("deepprivacy2", seed=3)
    alone = session.replace_people(loaded, [2], choices)
    everybody = session.replace_people(loaded, [0, 1, 2], choices)
    assert np.array_equal(alone.image[:, 110:], everybody.image[:, 110:])
    assert not np.array_equal(alone.image[:, 110:], loaded.image[:, 110:])


def test_who_was_chosen_and_not_replaced_is_said_by_their_number(loaded):
    made = session.replace_people(loaded, [1, 2], Choices("blur-face"))
    assert "0 of 3 replaced" in made.said
    assert "Not replaced: 1, 2" in made.said
    assert "by your choice: 0" in made.said


def test_a_click_finds_the_smallest_person_around_it(loaded):
    assert loaded.person_at(40, 40) == 1
    assert loaded.person_at(15, 100) == 0
    assert loaded.person_at(80, 5) is None
    large = Loaded("a", np.zeros((240, 3200, 3), np.uint8), People.of([[2000, 0, 2400, 240]]))
    assert large.person_at(1100, 50) == 0  # drawn at half the size
    assert large.person_at(2100, 50) is None


def test_counts_are_sentences(loaded):
    assert "3 people found" in loaded.said()
    assert "1 of them doubtful" in loaded.said()
    assert "Nobody was found" in Loaded("a", loaded.image, People.none()).said()


def test_settings_go_to_methods_that_take_them():
    assert Choices("blur").arguments() == {}
    assert Choices("deepprivacy2", psi=0.5).arguments() == {"psi": 0.5}
    with pytest.raises(Dp2benchError, match="nothing that could be edited"):
        Choices("blur", edits=("upper=red",)).arguments()
    with pytest.raises(Dp2benchError, match="nothing that could be edited"):
        Choices("surface-guided-gan", edits=("upper=red",)).arguments()
    names = session.methods()
    assert names[0] == "deepprivacy2"
    assert {"blur", "blur-face", "mask-out"} < {*names}
    assert "identity" not in names


def test_what_is_downloaded_says_that_it_was_altered(tmp_path: Path, loaded):
    session.write(loaded.image, tmp_path / "a.png", BLUR)
    assert source_type_of((tmp_path / "a.png").read_bytes()) == "algorithmicallyEnhanced"
    assert np.array_equal(read_image(tmp_path / "a.png"), loaded.image)


def test_what_is_no_picture_is_one_message(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"nothing of the kind")
    with pytest.raises(PictureError):
        session.load(tmp_path / "a.jpg", BLUR)


def test_a_video_says_who_was_left():
    report = {
        "tracks": 2, "frames": 50, "missed": 3, "missed_reasons": {"no face found": 3}, "frames_with_missed": [1, 2, 3],
        "frames_without_people": [4, 5], "blanked_frames": {"damaged": [7]},
    }  # fmt: skip
    said = session.said_of_video(report, "blur-face", 20)
    for part in (
        "2 people in 50 frames",
        "In 3 frames somebody was not replaced",
        "In 2 frames nobody",
        "1 frames are grey",
    ):
        assert part in said
