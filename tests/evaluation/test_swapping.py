"""Which pairs of classes count: those of the weights, then those of the data; and what is said."""

from __future__ import annotations

import pytest

from mscsa.errors import UserError
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.swapping import with_swapped_classes
from tests.evaluation.sided import DOORS, MAP_CLASSES

FLIP = SegmentationInference(flip=True)
OTHERS = (("wall", "left_door"),)


def test_weights_say_what_is_swapped_and_else_the_data() -> None:
    for inference in (FLIP, DetectionInference(flip=True)):
        for pairs, of_data in ((DOORS, ()), ((), DOORS), (DOORS, DOORS), (DOORS, OTHERS)):
            assert with_swapped_classes(inference, MAP_CLASSES, pairs, of_data).mirrored == (0, 2, 1)
        assert with_swapped_classes(inference, MAP_CLASSES, ()) == inference


def test_what_is_not_mirrored_or_says_it_itself_stays() -> None:
    plain, own = SegmentationInference(), SegmentationInference(flip=True, mirrored=(1, 0, 2))
    assert with_swapped_classes(plain, MAP_CLASSES, DOORS) is plain
    assert with_swapped_classes(own, MAP_CLASSES, DOORS) is own


def test_what_is_left_open_or_differs_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    turned = tuple((other, one) for one, other in DOORS)
    for pairs, of_data in ((DOORS, ()), ((), DOORS), (DOORS, turned)):
        with_swapped_classes(FLIP, MAP_CLASSES, pairs, of_data)
    with_swapped_classes(SegmentationInference(), MAP_CLASSES, ())
    with_swapped_classes(FLIP, ("wall", "door"), ())
    assert not caplog.records
    with_swapped_classes(FLIP, MAP_CLASSES, ())
    with_swapped_classes(FLIP, MAP_CLASSES, DOORS, OTHERS)
    open_pairs, others = (record.getMessage() for record in caplog.records)
    assert "left_door and right_door, though their names say left and right: leave --flip out" in open_pairs
    assert "training swapped, left_door and right_door, and not those of the data, wall and left_door" in (
        others
    )


def test_pairs_of_other_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"has \['wall', 'roof'\]: give two of the classes wall, left_door"):
        with_swapped_classes(FLIP, MAP_CLASSES, (), (("wall", "roof"),))
