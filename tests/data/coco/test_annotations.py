"""A file of annotations: found, read once, held compactly, and refused where it is not COCO's format."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mscsa.data.coco.annotations import read_annotations, read_json
from mscsa.errors import UserError
from tests.data.coco.coco_folder import SIZES, edit, write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def test_annotations_are_held_by_image(root: Path) -> None:
    """In the order of the images, whatever the order of the file."""
    edit(root, lambda content: content["annotations"].reverse())
    found = read_annotations(root / "annotations/instances_train.json")
    assert (found.category_ids, found.category_names) == ((2, 7, 90), ("bar", "disc", "never"))
    assert found.image_ids.tolist() == [100, 103, 106, 109]
    assert found.sizes.tolist() == [list(size) for size in SIZES]
    assert found.starts.tolist() == [0, 3, 5, 5, 7]
    assert found.labels.tolist() == [2, 2, 1, 2, 1, 2, 1]
    assert found.is_crowd.tolist() == [True, *[False] * 6]
    assert found.objects_of(0).tolist() == [1, 2] and found.objects_of(2).tolist() == []
    assert found.boxes[2].tolist() == [8, 5, 24, 10]
    assert found.corners(found.objects_of(0))[1].tolist() == [8, 5, 32, 15]
    content = read_json(root / "annotations/instances_train.json")
    given = {each["id"]: each["segmentation"] for each in content["annotations"]}
    for i, annotation_id in enumerate(found.annotation_ids.tolist()):
        assert found.segmentation(i) == given[annotation_id]


def test_annotations_without_a_mask_have_none(root: Path) -> None:
    edit(root, lambda content: content["annotations"][0].pop("segmentation"))
    edit(root, lambda content: content["annotations"][1].update(segmentation=[]))
    found = read_annotations(root / "annotations/instances_train.json")
    kept = [found.segmentation(i) for i in range(6)]
    assert kept[:2] == [None, None] and all(kept[2:])
    assert np.diff(found.segmentation_starts)[:2].tolist() == [0, 0]


def test_a_file_is_read_once_until_it_changes(root: Path) -> None:
    path = root / "annotations/instances_train.json"
    first = read_annotations(path)
    assert read_annotations(path) is first
    edit(root, lambda content: content["categories"].append({"id": 91, "name": "new"}))
    os.utime(path, ns=(1, 1))
    assert read_annotations(path).category_names[-1] == "new"


BAD: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    (
        "category",
        lambda c: c["annotations"][0].update(category_id=5),
        r"instances_train.json has an annotation of the unknown category_id 5",
    ),
    ("image", lambda c: c["annotations"][0].update(image_id=5), "unknown image_id 5"),
    ("twice", lambda c: c["categories"][0].update(id=2), "two categories of id 2"),
    ("name", lambda c: c["categories"][0].update(name="bar"), "two categories of name 'bar'"),
    ("image twice", lambda c: c["images"][1].update(id=100), "two images of id 100"),
    ("large", lambda c: c["images"][0].update(height=10**30), "not in COCO's format"),
    ("no dict", lambda c: c["annotations"].insert(0, 1), "not in COCO's format"),
    ("none", lambda c: c["categories"].clear(), "has no categories"),
    ("list", lambda c: c.pop("images"), "not in COCO's format: give lists images, annotations, categories"),
    ("key", lambda c: c["images"][0].pop("height"), "image 100 has height None, width 80: give both"),
    (
        "half",
        lambda c: c["annotations"][0].update(category_id=2.5),
        "category_id of annotations.0. 2.5 is no",
    ),
    ("word", lambda c: c["categories"][0].update(id="disc"), "id of categories.0. 'disc' is no whole number"),
    ("crowd", lambda c: c["annotations"][0].update(iscrowd=2), "iscrowd of annotations.0. is 2: give 0 or 1"),
    ("file", lambda c: c["images"][0].pop("file_name"), "file_name of images 100 is None, no text"),
    ("box", lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "not in COCO's format"),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD, ids=[each[0] for each in BAD])
def test_what_cannot_be_read_is_one_line(
    root: Path, name: str, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(root, change)
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(root / "annotations/instances_train.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off_is_one_line(root: Path) -> None:
    path = root / "annotations/instances_train.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match="instances_train.json cannot be read as JSON: .*line 1 column"):
        read_annotations(path)


def whole(content: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Write all numbers that are ids, or sizes, otherwise."""
    for part, keys in (
        ("images", ("id", "height", "width")),
        ("annotations", ("id", "image_id", "category_id", "iscrowd")),
        ("categories", ("id",)),
    ):
        for each in content[part]:
            each.update({key: change(each[key]) for key in keys})


@pytest.mark.parametrize("change", [float, str, lambda value: f" {value}.0"], ids=["float", "text", "both"])
def test_numbers_may_be_written_otherwise(root: Path, change: Callable[[Any], Any]) -> None:
    """pandas writes 1.0, others "1"."""
    path = root / "annotations/instances_train.json"
    before = read_annotations(path)
    edit(root, lambda content: whole(content, change))
    os.utime(path, ns=(1, 1))
    after = read_annotations(path)
    assert before.category_ids == after.category_ids
    for name in ("image_ids", "sizes", "starts", "annotation_ids", "boxes", "areas", "is_crowd", "labels"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_annotation_ids_may_be_anything(root: Path) -> None:
    """Nothing depends on them: without whole numbers the places in the file name annotations."""
    edit(root, lambda content: [each.update(id="x") for each in content["annotations"]])
    found = read_annotations(root / "annotations/instances_train.json")
    assert sorted(found.annotation_ids.tolist()) == list(range(7))


def test_entries_that_are_given_twice_count_once(root: Path) -> None:
    edit(
        root,
        lambda content: [content[part].append(dict(content[part][0])) for part in ("images", "categories")],
    )
    found = read_annotations(root / "annotations/instances_train.json")
    assert len(found.image_ids) == 4 and found.category_ids == (2, 7, 90)


def test_what_only_names_the_group_is_no_class(root: Path) -> None:
    """As Roboflow's category 0, which no annotation is of; it may have the name of a class, too."""
    path = root / "annotations/instances_train.json"
    edit(root, lambda content: content["categories"].insert(0, {"id": 0, "name": "disc"}))
    assert read_annotations(path).category_ids == (2, 7, 90)

    def group(content: dict[str, Any]) -> None:
        content["categories"][0].update(name="parts", supercategory="none")
        content["categories"][1].update(supercategory="parts")

    edit(root, group)
    os.utime(path, ns=(1, 1))
    assert read_annotations(path).category_ids == (2, 7, 90)


def test_areas_that_are_missing_are_those_of_the_box(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(
        root,
        lambda content: [
            each.update(area=area) for each, area in zip(content["annotations"], (None, 0), strict=False)
        ],
    )
    with caplog.at_level(logging.INFO):
        found = read_annotations(root / "annotations/instances_train.json")
    assert found.areas[:2].tolist() == [240, 441] and found.areas[2] == 600
    assert "train.json: 2 of 7 objects have no area above 0: that of their box is taken" in caplog.text


def test_boxes_that_leave_their_image_are_said_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not those within a pixel, nor those of which nothing is left, which are told of otherwise."""
    path = root / "annotations/instances_train.json"
    read_annotations(path)
    assert "clipped" not in caplog.text
    boxes = ([-3, -2, 20, 20], [-1, -1, 20, 20], [200, 200, 5, 5])
    edit(
        root,
        lambda content: [
            each.update(bbox=box) for each, box in zip(content["annotations"], boxes, strict=False)
        ],
    )
    os.utime(path, ns=(1, 1))
    assert read_annotations(path).boxes[:2].tolist() == [[0, 0, 17, 18], [0, 0, 19, 19]]
    said = [each.getMessage() for each in caplog.records if "clipped" in each.getMessage()]
    assert said == [f"{path}: 1 boxes that reach more than 1 px outside their image are clipped to it"]


def test_boxes_in_corners_or_shares_are_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / "annotations/instances_train.json"

    def as_corners(content: dict[str, Any]) -> None:
        for each in content["annotations"]:
            x, y, width, height = each["bbox"]
            each["bbox"] = [x, y, x + width, y + height]

    edit(root, as_corners)
    read_annotations(path)
    assert "clipped to it: these look like x1, y1, x2, y2; COCO's are x, y, width, height" in caplog.text
    edit(root, lambda content: [each.update(bbox=[0.5, 0.5, 0.2, 0.2]) for each in content["annotations"]])
    os.utime(path, ns=(1, 1))
    read_annotations(path)
    assert "bbox [0.5, 0.5, 0.2, 0.2] of annotations[0] and others: these look like shares" in caplog.text
