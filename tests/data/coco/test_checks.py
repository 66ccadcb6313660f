"""COCO data: each seeded defect is found once, with file and id; sound data have none."""

from __future__ import annotations

import copy
import gc
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscsa.data import check_dataset
from mscsa.data.coco.file_checks import check_annotation_file
from mscsa.data.findings import SHOWN
from mscsa.errors import UserError
from mscsa_cli import main
from tests.data.coco_sets import Made, annotation, make, rectangle, runs

NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "data")


@pytest.mark.parametrize("names", [("train", "val"), ("train2017", "val2017")])
def test_sound_data_have_no_problems(tmp_path: Path, names: tuple[str, str]) -> None:
    made = make(tmp_path / "data", names)
    for kind in ("auto", "coco"):
        assert made.check(kind=kind) == []
    (note,) = check_dataset(made.root)
    assert note.is_note and note.path == str(made.file())
    assert note.what == "category ids leave out 1, 3, 5 to 6"
    for content in (made.train, made.val):
        for number, category in enumerate(content["categories"]):
            category["id"] = number  # from 0 on, as some tools write
        for each in content["annotations"]:
            each["category_id"] = 0
    made.write()
    assert check_dataset(made.root) == []


def test_boxes_alone_are_no_problem(made: Made) -> None:
    for each in made.train["annotations"]:
        del each["segmentation"], each["iscrowd"]
    for each in made.val["annotations"]:
        each["segmentation"] = []
    assert made.check() == []


def test_file_names_may_name_the_folder_of_the_split(made: Made) -> None:
    for image in made.train["images"]:
        image["file_name"] = f"train/{image['file_name']}"
    assert made.check() == []
    image["file_name"] = "train/gone.png"
    (problem,) = made.check()
    assert problem.path.endswith("train/gone.png") and "image 12: no such file" in problem.what


def on_annotation(number: int, **fields: Any) -> Callable[[Made], None]:
    """Change fields of an annotation of train; `...` removes one."""

    def change(made: Made) -> None:
        (each,) = (each for each in made.train["annotations"] if each["id"] == number)
        _update(each, fields)

    return change


def on_image(number: int, **fields: Any) -> Callable[[Made], None]:
    """Change fields of an image of train; `...` removes one."""

    def change(made: Made) -> None:
        (each,) = (each for each in made.train["images"] if each["id"] == number)
        _update(each, fields)

    return change


def _update(each: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if value is ...:
            del each[name]
        else:
            each[name] = value


def added(part: str, entry: Any) -> Callable[[Made], None]:
    return lambda made: made.train[part].append(entry)


def without(part: str) -> Callable[[Made], None]:
    return lambda made: made.train.pop(part)


def drop_image(made: Made) -> None:
    (made.root / "train/train11.png").unlink()


def damage_image(made: Made) -> None:
    path = made.root / "train/train11.png"
    path.write_bytes(path.read_bytes()[:300])


def resize_image(made: Made) -> None:
    path = made.root / "train/train11.png"
    Image.open(path).resize((20, 30)).save(path)


def turn_image(made: Made) -> None:
    """Stored upright by its pixels, on its side by its EXIF orientation."""
    path = made.root / "train/train11.png"
    image = Image.open(path)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


def share_image(made: Made) -> None:
    shutil.copy(made.root / "train/train10.png", made.root / "val/val10.png")


def rename_category(made: Made) -> None:
    made.val["categories"][0]["name"] = "dog"


def drop_category(made: Made) -> None:
    made.val["categories"].pop(0)
    made.val["annotations"].pop(2)


def same_file_again(made: Made) -> None:
    made.train["images"].append(made.train["images"][2] | {"id": 99})


def same_image_id(made: Made) -> None:
    made.train["images"].append(dict(made.train["images"][2]))


TRAIN = "annotations/instances_train.json"
SPOILT: dict[str, tuple[Callable[[Made], Any], str, str]] = {
    "missing image": (drop_image, "train/train11.png", "image 11: no such file"),
    "name too long": (on_image(12, file_name="a" * 300), f"train/{'a' * 300}", "image 12: no such file"),
    "damaged image": (damage_image, "train/train11.png", "image 11: damaged or truncated"),
    "size mismatch": (resize_image, "train/train11.png", "image 11 has 20x30 px, .*train.json says 40x60"),
    "turned image": (turn_image, "train/train11.png", "image 11 has 60x40 px, .*train.json says 40x60"),
    "shared image": (share_image, "val/val10.png", "image 10: same content as .*train10.png"),
    "image id twice": (same_image_id, TRAIN, "image id 12 is given 2 times: 'train12.png', 'train12.png'"),
    "file twice": (same_file_again, TRAIN, "image 99 has the file train12.png of image 12"),
    "image id text": (on_image(12, id="12"), TRAIN, r"images\[2\] \('train12.png'\): id '12' is no whole"),
    "image id missing": (on_image(12, id=...), TRAIN, r"images\[2\] \('train12.png'\): no id"),
    "image width missing": (
        on_image(12, width=...),
        TRAIN,
        r"image 12 \(train12.png\): width None, height 50",
    ),
    "image height text": (on_image(12, height="50"), TRAIN, r"image 12 .*: width 50, height '50'"),
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
    "category id text": (added("categories", {"id": "9", "name": "asp"}), TRAIN, "id '9' is no whole number"),
    "category renamed": (rename_category, "", "category 7 is 'cat' in train, 'dog' in val"),
    "category of one split": (drop_category, "", r"only train has category 7 \('cat'\)"),
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
        on_annotation(20, bbox=["1", 2, 3, 4]),
        TRAIN,
        r"bbox \['1', 2, 3, 4\] is not 4 numbers",
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
    "area text": (on_annotation(20, area="9"), TRAIN, "annotation 20 .*: area '9'"),
    "crowd 2": (on_annotation(20, iscrowd=2), TRAIN, "annotation 20 .*: iscrowd 2"),
    "crowd null": (on_annotation(20, iscrowd=None), TRAIN, "annotation 20 .*: iscrowd None"),
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
    "polygon of pairs": (on_annotation(20, segmentation=[[[1, 2]] * 6]), TRAIN, "20 .*: .*no finite number"),
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


@pytest.mark.parametrize("defect", SPOILT)
def test_what_is_wrong_is_found_once(made: Made, defect: str) -> None:
    spoil, path, what = SPOILT[defect]
    spoil(made)
    problems = made.check()
    assert len(problems) == 1, problems
    assert problems[0].path == str(made.root / path)
    assert re.search(what, problems[0].what), problems[0].what
    assert problems[0].remedy and "\n" not in problems[0].what


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
    (problem,) = check_dataset(made.root)
    assert problem.path == str(made.file())
    assert problem.what.startswith(what), problem.what


def test_a_name_of_two_categories_is_named_in_both_files(made: Made) -> None:
    for content in (made.train, made.val):
        content["categories"][1]["name"] = "cat"
    problems = made.check()
    assert [problem.path for problem in problems] == [str(made.file("train")), str(made.file("val"))]
    assert all("category 2 has the name 'cat' of category 7" in problem.what for problem in problems)


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


def test_annotations_alone_leave_images_unread(made: Made) -> None:
    damage_image(made)
    share_image(made)
    assert made.check(annotations_only=True) == []
    drop_image(made)
    (problem,) = made.check(annotations_only=True)
    assert problem.what == "image 11: no such file"
    with pytest.raises(UserError, match="--annotations-only is for COCO annotations"):
        check_dataset(made.root, "folder", annotations_only=True)


def test_nothing_to_look_through_is_one_line(made: Made) -> None:
    made.write()
    made.file("val").unlink()
    with pytest.raises(UserError, match=r"instances_val\.json is not there") as caught:
        check_dataset(made.root)
    assert "\n" not in str(caught.value)


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


def test_names_that_cannot_be_printed_are_printed(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    on_image(12, file_name="\ud800\nx.png")(made)
    made.train["categories"].append({"id": 7, "name": "\udfff"})
    made.write()
    assert main(["check-data", str(made.root)]) == 2
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("2 problems") and len(out) == 5
    assert any(re.search(r"\\ud800 x\.png +image 12: no such file", line) for line in out)


def test_the_command_names_problems_and_notes(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.write()
    found = made.root / "found.json"
    assert main(["check-data", str(made.root)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{made.root}: no problems found"
    assert len(out) == 2 and out[1].startswith(f"note: {made.file()}: category ids leave out 1, 3, 5 to 6 (")
    for number in range(30):
        made.train["annotations"].append(annotation(100 + number, 10, 2, [1, 1, 3, 4]) | {"area": 0})
    made.write()
    command = ["check-data", str(made.root), "--kind", "coco", "--annotations-only", "--json", str(found)]
    assert main(command) == 2
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"30 problems in {made.root}"
    assert len(out) == 2 + SHOWN + 1 + 1 and out[-1].startswith("note: ")
    assert [each["is_note"] for each in json.loads(found.read_text())] == [False] * (SHOWN + 1) + [True]
