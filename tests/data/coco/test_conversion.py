"""From any layout to the content of a COCO file: numbers, areas, and what is refused or left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.data.coco.conversion import Conversion
from mscsa.errors import UserError

TRIANGLE = [0.0, 0.0, 10.0, 0.0, 0.0, 6.0]


def test_images_and_objects_are_numbered_from_1() -> None:
    found = Conversion(["ant", "bee"])
    found.add_image("a.jpg", (40, 30))
    found.add_image("b.jpg", (20, 10))
    found.add_object(1, (1, 2, 10, 6))
    found.add_object(0, (0, 0, 10, 6), TRIANGLE, is_crowd=True)
    assert found.usable() == {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
            {"id": 2, "file_name": "b.jpg", "width": 20, "height": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 2, "category_id": 2, "bbox": [1, 2, 10, 6], "area": 60, "iscrowd": 0},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 10, 6], "area": 30, "iscrowd": 1}
            | {"segmentation": [TRIANGLE]},
        ],
        "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}],
    }


def test_an_outline_that_encloses_nothing_has_the_area_of_its_box() -> None:
    found = Conversion(["ant"])
    found.add_image("a.jpg", (40, 30))
    found.add_object(0, (0, 0, 4, 4), [0.0, 0.0, 2.0, 2.0, 4.0, 4.0])
    assert found.usable()["annotations"][0]["area"] == 16


def test_the_first_fault_is_refused_and_the_others_counted(caplog: pytest.LogCaptureFixture) -> None:
    found = Conversion(["ant"])
    for number in (1, 2):
        found.add_flaw("no area", Path("a.txt"), f"line {number}: flat", is_left_out=True)
    found.usable()
    assert [each.getMessage() for each in caplog.records] == [
        "a.txt: line 1: flat; no area: left out, 2 in all"
    ]
    found.add_flaw("bad lines", Path("b.txt"), "line 3: bad")
    with pytest.raises(UserError, match="^b.txt: line 3: bad; correct it$"):
        found.usable()
    found.add_flaw("bad lines", Path("c.txt"), "line 9: bad")
    with pytest.raises(UserError, match=r"^b.txt: line 3: bad; correct it \(the first of 2 faults: "):
        found.usable()
