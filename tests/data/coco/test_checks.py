"""A whole COCO data set: files of annotations, images, and the two splits together."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.check_dataset import check_dataset
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.problems import SHOWN
from mscsa.data.transforms.detection import EvaluatedObjects
from mscsa.errors import UserError
from mscsa_cli import main
from tests.data.coco.coco_sets import Defect, Made, annotation, assert_found_once, make, on_image


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
    (note,) = check_dataset(made.root)
    assert note.is_note and note.what == "categories without an object: 1 ('ant'), 2 ('bee')"


def test_file_names_may_name_the_folder_of_the_split(made: Made) -> None:
    for image in made.train["images"]:
        image["file_name"] = f"train/{image['file_name']}"
    assert made.check() == []
    image["file_name"] = "train/gone.png"
    (problem,) = made.check()
    assert problem.path.endswith("train/gone.png") and "image 12: no such file" in problem.what


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


SPOILT: dict[str, Defect] = {
    "missing image": (drop_image, "train/train11.png", "image 11: no such file"),
    "name too long": (on_image(12, file_name="a" * 300), f"train/{'a' * 300}", "image 12: no such file"),
    "damaged image": (damage_image, "train/train11.png", "image 11: damaged or truncated"),
    "size mismatch": (resize_image, "train/train11.png", "image 11 has 20x30 px, .*train.json says 40x60"),
    "turned image": (turn_image, "train/train11.png", "image 11 has 60x40 px, .*train.json says 40x60"),
    "shared image": (share_image, "val/val10.png", "image 10: same content as .*train10.png"),
    "category renamed": (rename_category, "", "category 7 is 'cat' in train, 'dog' in val"),
    "category of one split": (drop_category, "", r"only train has category 7 \('cat'\)"),
}


@pytest.mark.parametrize("defect", SPOILT.values(), ids=SPOILT)
def test_what_is_wrong_is_found_once(made: Made, defect: Defect) -> None:
    assert_found_once(made, defect)


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


def test_categories_without_an_object_are_noted(made: Made) -> None:
    """Among them the one that only names the group, which is no class."""
    made.train["categories"].append({"id": 0, "name": "parts"})
    made.val["categories"].append({"id": 0, "name": "parts"})
    assert made.check() == []
    notes = [each for each in check_dataset(made.root) if each.is_note]
    assert "categories without an object: 0 ('parts')" in notes[0].what


def test_crowds_alone_are_a_problem(made: Made) -> None:
    made.val["annotations"] = [each for each in made.val["annotations"] if each["iscrowd"]]
    (problem,) = made.check()
    assert problem.path == str(made.file("val")) and "all annotations are crowds" in problem.what


def test_what_it_passes_a_run_opens(made: Made) -> None:
    """Ids of any sign and size, sizes as 640.0, no mark of crowds."""
    for content in (made.train, made.val):
        for each in content["images"]:
            each.update(id=each["id"] - 11, width=float(each["width"]))
        for i, each in enumerate(content["annotations"]):
            each.update(id=i - 3 if i else 2**62, image_id=each["image_id"] - 11)
    assert made.check() == []
    for split in ("train", "val"):
        for with_masks in (False, True):
            CocoDetection(made.root, split, EvaluatedObjects(64, 100), 0, with_masks=with_masks)  # type: ignore[arg-type]
