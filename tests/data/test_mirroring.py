"""Classes that are others in a mirror image, and a warning where nobody says so."""

from __future__ import annotations

import pytest

from mscsa.data.mirroring import flip_warning, mirror_warning, mirrored_classes, sided_pairs
from mscsa.errors import UserError

NAMES = ["left_door", "hood", "right_door", "Left Light", "Right Light", "leftovers", "upright"]


def test_pairs_swap_their_classes_and_no_other() -> None:
    assert mirrored_classes(NAMES, [("left_door", "right_door")]) == [2, 1, 0, 3, 4, 5, 6]
    assert mirrored_classes(NAMES, []) == list(range(7))
    twice = [("left_door", "right_door"), ("right_door", "left_door")]
    assert mirrored_classes(NAMES, twice) == [2, 1, 0, 3, 4, 5, 6]


def test_pairs_may_be_in_other_signs() -> None:
    names, pairs = ["left \u00e4", "right \u00e4"], [("left a\u0308", "right a\u0308")]
    for known, given in ((names, pairs), (pairs[0], [tuple(names)])):
        assert mirrored_classes(known, given) == [1, 0]
        assert mirror_warning(known, given) is flip_warning(known, given) is None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("left_door", "roof")], r"has \['left_door', 'roof'\]: give two of the classes left_door, hood"),
        ([("left_door", "right_door"), ("hood", "left_door")], "hood or left_door is in two pairs"),
    ],
)
def test_pairs_that_are_none_are_one_line(pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mirrored_classes(NAMES, pairs)


def test_names_that_say_left_and_right_are_found() -> None:
    assert sided_pairs(NAMES) == [("left_door", "right_door"), ("Left Light", "Right Light")]
    assert sided_pairs(["left", "LEFT_hand", "RIGHT_hand", "leftTurn", "rightTurn", "right"]) == [
        ("left", "right"),
        ("LEFT_hand", "RIGHT_hand"),
        ("leftTurn", "rightTurn"),
    ]


def test_what_is_not_swapped_is_warned_of() -> None:
    warning = mirror_warning(NAMES, [("left_door", "right_door")])
    assert warning is not None and "door" not in warning
    assert "--augment.flip_pairs '[[Left Light,Right Light]]'" in warning
    alone = mirror_warning(NAMES, [], can_swap=False)
    assert alone is not None and "--augment.hflip 0" in alone and "flip_pairs" not in alone
    assert mirror_warning(["cat", "upright", "left"], []) is None
    assert mirror_warning(NAMES, [("right_door", "left_door"), ("Left Light", "Right Light")]) is None


def test_a_trained_model_is_warned_of_too() -> None:
    warning = flip_warning(NAMES, [("left_door", "right_door")])
    assert warning is not None and "door" not in warning and "--augment.hflip" not in warning
    assert "leave --flip out, or let the training swap them (--augment.flip_pairs '[[Left" in warning
    assert flip_warning(["cat", "upright", "left"], []) is None
