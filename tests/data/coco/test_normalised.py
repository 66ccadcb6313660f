"""Numbers in all their forms are no problem of a check, as they are none of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mscsa.data.coco.normalised import normalise
from tests.data.coco.coco_sets import Made


def test_what_is_written_otherwise_becomes_what_training_reads() -> None:
    entries: list[dict[str, Any]] = [
        {"id": "1", "image_id": 2.0, "category_id": " 3.0", "iscrowd": None, "area": "4.5"},
        {"id": 7, "iscrowd": "1", "bbox": ["6", 8.0, "24", 18]},
        {"id": "one", "image_id": True, "category_id": 2.5, "iscrowd": 2, "area": "much", "bbox": ["x", 1]},
        {"iscrowd": False, "area": 5.5, "bbox": None},
    ]
    wrong = dict(entries[2])
    normalise("annotations", entries)
    assert entries[0] == {"id": 1, "image_id": 2, "category_id": 3, "iscrowd": 0, "area": 4.5}
    assert entries[1] == {"id": 7, "iscrowd": 1, "bbox": [6, 8, 24, 18]}
    assert entries[2] == wrong and entries[3] == {"iscrowd": 0, "area": 5.5, "bbox": None}


def test_names_of_categories_become_composed() -> None:
    entries: list[dict[str, Any]] = [
        {"id": 1, "name": "cafe\u0301", "supercategory": "e\u0301", "flip_to": "u\u0308"},
        {"id": 2, "name": None, "flip_to": 1},
    ]
    normalise("categories", entries)
    assert entries[0] == {"id": 1, "name": "caf\u00e9", "supercategory": "\u00e9", "flip_to": "\u00fc"}
    assert entries[1] == {"id": 2, "name": None, "flip_to": 1}


FORMS: dict[str, Callable[[Any], Any]] = {"float": float, "text": str, "both": lambda value: f"{value}.0"}


@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("are_all", [True, False], ids=["all", "annotations"])
def test_numbers_in_any_form_are_no_problem(made: Made, change: Callable[[Any], Any], are_all: bool) -> None:
    """In all lists, or in those of the annotations alone."""
    kinds = {"annotations": ("id", "image_id", "category_id", "iscrowd")}
    if are_all:
        kinds |= {"images": ("id", "width", "height"), "categories": ("id",)}
    for content in (made.train, made.val):
        for part, keys in kinds.items():
            for each in content[part]:
                each.update({key: change(each[key]) for key in keys})
        for each in content["annotations"]:
            each.update(bbox=list(map(str, each["bbox"])), area=str(each["area"]))
    assert made.check() == []


def test_a_crowd_may_be_null(made: Made) -> None:
    made.train["annotations"][0]["iscrowd"] = None
    assert made.check() == []
