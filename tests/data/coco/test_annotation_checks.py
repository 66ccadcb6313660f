"""Boxes, areas, crowds and masks: each seeded defect is found once, with file and id."""

from __future__ import annotations

import re

import pytest

from mscsa.data.problems import SHOWN
from tests.data.coco.coco_sets import (
    TRAIN,
    Defect,
    Made,
    annotation,
    assert_found_once,
    on_annotation,
    rectangle,
    runs,
)

NAN, INFINITE = float("nan"), float("inf")

SPOILT: dict[str, Defect] = {
    "unknown category": (
        on_annotation(20, category_id=3),
        TRAIN,
        "annotation 20 .*: category_id 3 is no cat",
    ),
    "category missing": (on_annotation(20, category_id=...), TRAIN, "annotation 20 .*: category_id None"),
    "unknown image": (
        on_annotation(20, image_id=5),
        TRAIN,
        r"annotation 20 \(image 5\): image_id 5 is no im",
    ),
    "image_id missing": (on_annotation(20, image_id=...), TRAIN, "annotation 20 .*: image_id None is no ima"),
    "image_id a list": (on_annotation(20, image_id=[10]), TRAIN, r"annotation 20 .*: image_id \[10\] is no"),
    "bbox missing": (on_annotation(20, bbox=...), TRAIN, r"annotation 20 \(image 10, train10.png\): no bbox"),
    "bbox of 3": (
        on_annotation(20, bbox=[1, 2, 3]),
        TRAIN,
        r"annotation 20 .*: bbox \[1, 2, 3\] is not 4 num",
    ),
    "bbox of texts": (
        on_annotation(20, bbox=["one", 2, 3, 4]),
        TRAIN,
        r"bbox \['one', 2, 3, 4\] is not 4 numbers",
    ),
    "bbox of width 0": (
        on_annotation(20, bbox=[1, 2, 0, 5]),
        TRAIN,
        "annotation 20 .*: .*width 0 and height 5",
    ),
    "bbox negative": (on_annotation(20, bbox=[9, 9, 5, -4.5]), TRAIN, "annotation 20 .*: .*height -4.5"),
    "bbox NaN": (on_annotation(20, bbox=[0, NAN, 64, 48]), TRAIN, "annotation 20 .*: .*no finite number"),
    "bbox infinite": (on_annotation(20, bbox=[0, 0, INFINITE, 48]), TRAIN, "annotation 20 .*: .*no finite"),
    "bbox of a huge number": (
        on_annotation(20, bbox=[0, 0, 10**400, 48]),
        TRAIN,
        "annotation 20 .*no finite",
    ),
    "bbox outside": (
        on_annotation(20, bbox=[0, 0, 66, 48]),
        TRAIN,
        "reaches 2 px outside the image of 64x48",
    ),
    "bbox and polygon outside": (
        on_annotation(20, bbox=[0, 0, 80, 48], segmentation=[rectangle(0, 0, 80, 48)]),
        TRAIN,
        "annotation 20 .*: bbox .* reaches 16 px outside",
    ),
    "bbox left of it": (on_annotation(20, bbox=[-1.5, 0, 60, 48]), TRAIN, "reaches 1.5 px outside the image"),
    "bbox beside mask": (
        on_annotation(30, bbox=[22, 2, 18, 9]),
        TRAIN,
        r"annotation 30 .*: bbox .* does not fit its mask, which lies in \[1.0, 2.0, 30.0, 50.0\]",
    ),
    "bbox beside runs": (on_annotation(24, bbox=[25, 26, 7, 8]), TRAIN, r"lies in \[5.0, 6.0, 7.0, 8.0\]"),
    "area missing": (on_annotation(20, area=...), TRAIN, "annotation 20 .*: no area"),
    "area 0": (on_annotation(20, area=0), TRAIN, "annotation 20 .*: area 0"),
    "area negative": (on_annotation(20, area=-1.5), TRAIN, "annotation 20 .*: area -1.5"),
    "area NaN": (on_annotation(20, area=NAN), TRAIN, "annotation 20 .*: area nan"),
    "area text": (on_annotation(20, area="9 px"), TRAIN, "annotation 20 .*: area '9 px'"),
    "crowd 2": (on_annotation(20, iscrowd=2), TRAIN, "annotation 20 .*: iscrowd 2"),
    "crowd a word": (on_annotation(20, iscrowd="one"), TRAIN, "annotation 20 .*: iscrowd 'one'"),
    "crowd of polygons": (on_annotation(20, iscrowd=1), TRAIN, "annotation 20 .*: iscrowd 1 with polygons"),
    "no segmentation": (
        on_annotation(20, segmentation=...),
        TRAIN,
        "annotation 20 .*: no segmentation, which",
    ),
    "no polygons": (on_annotation(20, segmentation=[]), TRAIN, "annotation 20 .*: no segmentation, which"),
    "segmentation text": (on_annotation(20, segmentation="x"), TRAIN, "annotation 20 .*: .*neither polygons"),
    "polygon of 2 points": (
        on_annotation(20, segmentation=[[1, 2, 3, 4]]),
        TRAIN,
        "20 .*: polygon of 4 coord",
    ),
    "polygon of 7 values": (
        on_annotation(20, segmentation=[[1] * 7]),
        TRAIN,
        "20 .*: polygon of 7 coordinat",
    ),
    "polygon NaN": (on_annotation(20, segmentation=[[1, 2, 3, 4, 5, NAN]]), TRAIN, "20 .*: .*no finite"),
    "polygon of pairs": (
        on_annotation(20, segmentation=[[[1, 2]] * 6]),
        TRAIN,
        "20 .*: .*each point in brackets",
    ),
    "polygon outside": (
        on_annotation(20, segmentation=[rectangle(0, 0, 1e6, 48)]),
        TRAIN,
        "annotation 20 .*: polygon reaches 9.999e.05 px outside the image of 64x48 px",
    ),
    "runs too short": (
        on_annotation(24, segmentation={"size": [60, 40], "counts": [5, 2]}),
        TRAIN,
        r"annotation 24 \(image 11, train11.png\): run lengths of 7 pixels, the image has 2400",
    ),
    "runs of another size": (
        on_annotation(24, segmentation=runs((5, 6, 7, 8), (40, 60), True)),
        TRAIN,
        r"annotation 24 .*: run lengths of size \[40, 60\], the image has \[60, 40\]",
    ),
    "runs damaged": (
        on_annotation(24, segmentation={"size": [60, 40], "counts": "X\ud800"}),
        TRAIN,
        "annotation 24 .*: run lengths that are damaged",
    ),
    "runs of nothing": (
        on_annotation(24, segmentation={"size": [60, 40], "counts": [2400]}),
        TRAIN,
        "annotation 24 .*: run lengths without a pixel",
    ),
}


@pytest.mark.parametrize("defect", SPOILT.values(), ids=SPOILT)
def test_what_is_wrong_is_found_once(made: Made, defect: Defect) -> None:
    assert_found_once(made, defect)


@pytest.mark.parametrize("places", [(0, 1, 2), (0,), (1,)], ids=["all", "first", "second"])
@pytest.mark.parametrize("nothing", ["", {}, None, []], ids=repr)
def test_what_is_empty_is_no_segmentation(made: Made, nothing: object, places: tuple[int, ...]) -> None:
    """Tables make "" of null."""
    for content in (made.train, made.val):
        content["annotations"] = content["annotations"][:3]
        for place in places:
            content["annotations"][place]["segmentation"] = nothing
    found = [each.what for each in made.check()]
    assert len(found) == (0 if len(places) == 3 else 2)
    assert all("no segmentation, which others in the file have" in what for what in found)


def test_boxes_in_shares_are_told_once(made: Made) -> None:
    for each in made.train["annotations"]:
        each["bbox"] = [0.25, 0.5, 0.125, 0.25]
        del each["segmentation"]
    (problem,) = made.check()
    assert problem.path == str(made.file()) and "multiply x and width" in problem.remedy
    assert problem.what.startswith(
        "annotation 20 (image 10): bbox [0.25, 0.5, 0.125, 0.25] and others: these"
    )
    assert "look like shares of the image's sides; COCO's are pixels" in problem.what


def test_boxes_in_corners_are_told_once_beside_those_outside(made: Made) -> None:
    for each in made.train["annotations"]:
        width, height = next(
            (image["width"], image["height"])
            for image in made.train["images"]
            if image["id"] == each["image_id"]
        )
        each["bbox"] = [10, 8, width - 5, height - 4]
        del each["segmentation"]
    problems = made.check()
    assert len(problems) == 8 and sum("px outside the image" in each.what for each in problems) == 7
    assert problems[-1].what.endswith("these look like x1, y1, x2, y2; COCO's are x, y, width, height")


def test_boxes_alone_are_no_problem(made: Made) -> None:
    for each in made.train["annotations"]:
        del each["segmentation"], each["iscrowd"]
    for each in made.val["annotations"]:
        each["segmentation"] = []
    assert made.check() == []


def test_many_alike_are_counted_and_hide_nothing(made: Made) -> None:
    for number in range(1000):
        made.train["annotations"].append(
            annotation(100 + number, 10, 2, [1, 1, 0, 4], [rectangle(1, 1, 3, 3)])
        )
    made.train["annotations"][-1]["area"] = 5
    on_annotation(20, iscrowd=3)(made)
    made.val["annotations"][0]["bbox"] = None
    problems = made.check()
    boxes = [each for each in problems if "width 0" in each.what]
    assert [re.match(r"annotation (\d+)", each.what)[1] for each in boxes] == [
        str(100 + number) for number in range(SHOWN)
    ]
    more = [each for each in problems if each.count > 1]
    assert [(each.count, each.what) for each in more if "boxes" in each.what] == [
        (1000 - SHOWN, f"... and {1000 - SHOWN} more of this kind: boxes without an area")
    ]
    assert [each.what for each in problems if "iscrowd" in each.what or "annotation 20" in each.what] == [
        "annotation 20 (image 10, train10.png): iscrowd 3",
        "annotation 20 (image 10, val10.png): bbox None is not 4 numbers",
    ]
