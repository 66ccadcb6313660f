"""One file of annotations: its form, ids and names; whatever stands in it, the check comes to its end."""

from __future__ import annotations

import copy
import gc
import json
from typing import Any

import numpy as np
import pytest

from mscsa.data.coco.file_checks import check_annotation_file
from tests.data.coco.coco_sets import (
    TRAIN,
    Defect,
    Made,
    added,
    assert_found_once,
    on_annotation,
    on_image,
    without,
)

NAN, INFINITE = float("nan"), float("inf")


def same_file_again(made: Made) -> None:
    made.train["images"].append(made.train["images"][2] | {"id": 99})


def same_image_id(made: Made) -> None:
    made.train["images"].append(dict(made.train["images"][2]))


SPOILT: dict[str, Defect] = {
    "image id twice": (same_image_id, TRAIN, "image id 12 is given 2 times: 'train12.png', 'train12.png'"),
    "file twice": (same_file_again, TRAIN, "image 99 has the file train12.png of image 12"),
    "image id text": (on_image(12, id="a"), TRAIN, r"images\[2\] \('train12.png'\): id 'a' is no whole"),
    "image id missing": (on_image(12, id=...), TRAIN, r"images\[2\] \('train12.png'\): no id"),
    "image width missing": (
        on_image(12, width=...),
        TRAIN,
        r"image 12 \(train12.png\): width None, height 50",
    ),
    "image height text": (on_image(12, height="50 px"), TRAIN, r"image 12 .*: width 50, height '50 px'"),
    "image height 0": (on_image(12, height=0), TRAIN, r"image 12 .*: width 50, height 0"),
    "file name missing": (on_image(12, file_name=...), TRAIN, "image 12: file_name None is no text"),
    "annotation id twice": (
        on_annotation(30, id=20),
        TRAIN,
        "annotation id 20 is given 2 times: image 10, image 11",
    ),
    "annotation id missing": (on_annotation(30, id=...), TRAIN, r"annotations\[5\] \(image 11\): no id"),
    "annotation no object": (added("annotations", None), TRAIN, r"annotations\[7\] is null, not an object"),
    "category id twice": (
        added("categories", {"id": 2, "name": "asp"}),
        TRAIN,
        "category id 2 is given 2 times: 'ant', 'asp'",
    ),
    "category id text": (
        added("categories", {"id": "x9", "name": "asp"}),
        TRAIN,
        "id 'x9' is no whole number",
    ),
    "no images": (without("images"), TRAIN, "no 'images'"),
    "no annotations": (without("annotations"), TRAIN, "no 'annotations'"),
    "no categories": (without("categories"), TRAIN, "no 'categories'"),
    "list empty": (lambda made: made.train.update(annotations=[]), TRAIN, "list of annotations is empty"),
    "list that is none": (
        lambda made: made.train.update(images={}),
        TRAIN,
        "'images' is an object, not a list",
    ),
}


@pytest.mark.parametrize("defect", SPOILT.values(), ids=SPOILT)
def test_what_is_wrong_is_found_once(made: Made, defect: Defect) -> None:
    assert_found_once(made, defect)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{\n "images": [],\n "annotations": [1 2]\n}', "broken JSON at line 3, column 20: expecting ','"),
        (b"", "broken JSON at line 1, column 1: expecting value"),
        (b'{"images": ["\xff"]}', "broken JSON: byte 13 is not utf-8"),
        (b"[" * 100_000, "broken JSON: nested too deeply"),
        (b'{"images": ' + b"9" * 5000 + b"}", "broken JSON: Exceeds the limit"),
        (b"[]", "the top level is a list, not an object with images, annotations, categories"),
        (b"null", "the top level is null, not an object"),
    ],
)
def test_a_file_that_is_not_coco_is_one_problem(made: Made, content: bytes, what: str) -> None:
    made.write()
    made.file().write_bytes(content)
    (problem,) = check_annotation_file(made.file()).problems
    assert problem.path == str(made.file())
    assert problem.what.startswith(what), problem.what


def test_a_name_of_two_categories_is_named_in_both_files(made: Made) -> None:
    for content in (made.train, made.val):
        content["categories"][1]["name"] = "cat"
    problems = made.check()
    assert [problem.path for problem in problems] == [str(made.file("train")), str(made.file("val"))]
    assert all("category 2 has the name 'cat' of category 7" in problem.what for problem in problems)


WEIRD = (None, True, -1, 10**400, NAN, INFINITE, 1e300, "text", "", "\ud800", [], [[]], {}, [{}], [None] * 4)


def test_nothing_in_a_file_stops_the_check(made: Made) -> None:
    """Whatever stands in whatever place, it is a problem or none, never an exception."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        content = copy.deepcopy(made.train)
        for _ in range(rng.integers(1, 4)):
            _replace_one(content, rng)
        made.file().write_text(json.dumps(content))
        report = check_annotation_file(made.file())
        found += bool(report.problems)
        assert all(each.what and "\n" not in each.what for each in report.problems)
    assert found > 300
    assert gc.isenabled()


def _replace_one(content: dict[str, Any], rng: np.random.Generator) -> None:
    """Put a weird value at a random depth."""
    where: Any = content
    while True:
        keys = list(where) if isinstance(where, dict) else range(len(where))
        key = list(keys)[rng.integers(len(keys))]
        inner = where[key]
        if not (isinstance(inner, (dict, list)) and len(inner)) or rng.random() < 0.1:
            where[key] = copy.deepcopy(WEIRD[rng.integers(len(WEIRD))])
            return
        where = inner
