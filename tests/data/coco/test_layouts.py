"""Where annotations and images of a split lie, as the tools write them."""

from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mscsa.data.check_dataset import check_dataset
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.coco.layouts import find_objects, image_path, object_layout
from mscsa.data.datasets import build_datasets, class_names_of, given_files
from mscsa.data.transforms.detection import EvaluatedObjects
from mscsa.errors import UserError
from mscsa.recipes.spec import DetectionAugment, DetectionData
from tests.data.coco.coco_folder import edit, write_coco
from tests.data.coco.object_folders import write_voc, write_yolo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


@pytest.mark.parametrize("names", [("train", "val"), ("train2017", "val2017"), ("train", "valid")])
def test_all_names_of_a_split_are_found(tmp_path: Path, names: tuple[str, str]) -> None:
    root = write_coco(tmp_path / "coco", names=names)
    found = find_objects(root, "val")
    assert (found.file, found.folder) == (root / f"annotations/instances_{names[1]}.json", root / names[1])
    assert find_objects(root, "train").folder == root / names[0]


def as_roboflow(root: Path) -> None:
    """train/ and valid/, each with images and annotations."""
    for split, name in (("train", "train"), ("val", "valid")):
        (root / split).rename(root / name)
        (root / f"annotations/instances_{split}.json").rename(root / name / "_annotations.coco.json")
    (root / "annotations").rmdir()


def as_ultralytics(root: Path) -> None:
    """images/train and annotations/instances_train.json, whose names hold the folders."""
    for split in ("train", "val"):
        edit(
            root,
            lambda c, s=split: [e.update(file_name=f"images/{s}/{e['file_name']}") for e in c["images"]],
            split,
        )
        (root / "images").mkdir(exist_ok=True)
        (root / split).rename(root / "images" / split)


def as_one_folder(root: Path) -> None:
    """All images in one folder, annotations/train.json; names as Windows writes them, of another machine."""
    (root / "images").mkdir()
    for split in ("train", "val"):
        for path in list((root / split).iterdir()):
            path.rename(root / f"images/{split}_{path.name}")
        edit(
            root,
            lambda c, s=split: [e.update(file_name=f"C:\\up\\{s}_{e['file_name']}") for e in c["images"]],
            split,
        )
        (root / f"annotations/instances_{split}.json").rename(root / f"annotations/{split}.json")
        (root / split).rmdir()


@pytest.mark.parametrize("arrange", [as_roboflow, as_ultralytics, as_one_folder])
def test_a_layout_is_recognised_and_read(
    root: Path, arrange: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = [CocoDetection(root, split, EvaluatedObjects(64, 100), 0) for split in ("train", "val")]  # type: ignore[arg-type]
    pixels = [[each[i][0].sum() for i in range(len(each))] for each in before]
    arrange(root)
    assert object_layout(root) == "COCO's format"
    with caplog.at_level(logging.INFO):
        assert [each for each in check_dataset(root) if not each.is_note] == []
    assert "is read as COCO's format" in caplog.text
    after = [CocoDetection(root, split, EvaluatedObjects(64, 100), 0) for split in ("train", "val")]  # type: ignore[arg-type]
    assert [[each[i][0].sum() for i in range(len(each))] for each in after] == pixels


def test_a_split_that_is_not_there_is_one_line(root: Path) -> None:
    with pytest.raises(UserError, match="holds a data set in coco/: give .*coco as data.root"):
        find_objects(root.parent, "train")
    shutil.rmtree(root / "val")
    with pytest.raises(UserError, match="val is not there: put the images of .*instances_val.json into it"):
        find_objects(root, "val")


def test_file_names_are_relative_to_the_split_or_what_is_around_it(root: Path) -> None:
    for name in ("100.png", "train/100.png", "coco/train/100.png", "train\\100.png", "elsewhere/100.png"):
        assert image_path(root / "train", name).resolve() == root / "train/100.png"
    assert image_path(root / "train", "gone.png") == root / "train/gone.png"
    assert image_path(root / "train", "a" * 300) == root / "train" / ("a" * 300)


def test_an_image_that_is_gone_from_its_folder_is_none_of_another(root: Path) -> None:
    (root / "train/cam1").mkdir()
    (root / "val/100.png").rename(root / "val/900.png")
    for name in ("cam1/100.png", "cam1\\100.png", "val/100.png", "elsewhere/Valid/100.png"):
        assert not image_path(root / "train", name).exists(), name
    (root / "images").mkdir()
    for name in ("elsewhere/100.png", "images/100.png", "./images/100.png", "../100.png", "/tmp/100.png"):
        assert image_path(root / "train", name).resolve() == root / "train/100.png", name


def test_file_names_may_be_written_in_other_signs(root: Path) -> None:
    """Archives of macOS have two signs where annotations, made elsewhere, have one."""
    one, two = (unicodedata.normalize(form, "pr\u00fcf/\u00e4.png") for form in ("NFC", "NFD"))
    for given, other in ((one, two), (two, one)):
        shutil.rmtree(root / "train" / Path(given).parent, ignore_errors=True)
        assert image_path(root / "train", given) == root / "train" / given
        (root / "train" / other).parent.mkdir()
        (root / "train" / other).touch()
        assert image_path(root / "train", given) == root / "train" / other
        assert image_path(root / "train", f"C:\\up\\{Path(given).name}") != root / "train" / other
        assert image_path(root / "train", other) == root / "train" / other
    assert image_path(root / "train", "\ud800/\u00e4.png") == root / "train/\ud800/\u00e4.png"


@pytest.mark.parametrize("names", [("Train", "Val"), ("TRAIN", "Valid"), ("Training", "Validation")])
@pytest.mark.parametrize("layout", ["COCO", "Roboflow", "YOLO by kind", "YOLO by split", "VOC"])
def test_case_of_a_splits_name_does_not_matter(tmp_path: Path, layout: str, names: tuple[str, str]) -> None:
    root = tmp_path / "set"
    if layout in ("COCO", "Roboflow"):
        write_coco(root, names=names)
    for name in names if layout == "Roboflow" else ():
        (root / f"annotations/instances_{name}.json").rename(root / name / "_annotations.coco.json")
    if layout.startswith("YOLO"):
        folders = "images/{}" if layout == "YOLO by kind" else "{}/images"
        (write_yolo(root, folders=folders) / "data.yaml").unlink()
        (root / "classes.txt").write_text("bar\ndisc\n")
        for split, name in zip(("train", "val"), names, strict=True):
            for kind in ("images", "labels"):
                place = root / folders.format(split).replace("images", kind)
                place = place.parent if folders.startswith("{}") else place
                if place.is_dir():
                    place.rename(place.with_name(name))
    if layout == "VOC":
        write_voc(root, is_by_split=True)
        for split, name in zip(("train", "valid"), names, strict=True):
            (root / split).rename(root / name)
    for split in ("train", "val"):
        assert len(find_objects(root, split).read().boxes)  # type: ignore[arg-type]
    assert [each for each in check_dataset(root) if not each.is_note] == []


def test_cocos_own_files_come_before_those_of_other_layouts(root: Path) -> None:
    """Ultralytics' COCO has texts beside them, as other exports have data.yaml."""
    (root / "data.yaml").write_text("train: train\nval: val\nnames: [other]\n")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/100.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert find_objects(root, "train").class_names() == ["bar", "disc", "never"]
    (root / "annotations/instances_val.json").unlink()
    with pytest.raises(UserError):  # not the one split by one layout, the other by another
        find_objects(root, "val")


def test_each_layout_is_told(tmp_path: Path) -> None:
    layouts = {
        write_yolo(tmp_path / "yolo"): "YOLO's layout",
        write_voc(tmp_path / "voc"): "Pascal VOC's layout",
    }
    for place, layout in layouts.items():
        assert object_layout(place) == layout == find_objects(place, "val").layout
    (tmp_path / "none").mkdir()
    assert object_layout(tmp_path / "none") is None


def as_one_file(root: Path, name: str, images: str) -> None:
    """One file for all images, which lie in one folder."""
    content: dict[str, list] = {"images": [], "annotations": []}
    (root / images).mkdir(parents=True, exist_ok=True)
    for i, split in enumerate(("train", "val")):
        part = json.loads((root / f"annotations/instances_{split}.json").read_text())
        content["categories"] = part["categories"]
        for each in part["images"]:
            (root / split / each["file_name"]).rename(root / images / f"{split}_{each['file_name']}")
            own = f"{split}_{each['file_name']}"
            content["images"].append({**each, "id": each["id"] + 1000 * i, "file_name": own})
        content["annotations"] += [
            {**each, "id": each["id"] + 5000 * i, "image_id": each["image_id"] + 1000 * i}
            for each in part["annotations"]
        ]
    shutil.rmtree(root / "annotations")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("annotations/instances_default.json", "images/default"),  # CVAT
        ("result.json", "images"),  # Label Studio
        ("_annotations.coco.json", "."),
    ],
)
def test_one_file_for_all_images_is_divided(
    root: Path, name: str, images: str, caplog: pytest.LogCaptureFixture
) -> None:
    as_one_file(root, name, images)
    with caplog.at_level(logging.INFO):
        train, val = (CocoDetection(root, split, EvaluatedObjects(64, 100), 0) for split in ("train", "val"))  # type: ignore[arg-type]
    assert "20 % of the images, by a hash of their names, are val" in caplog.text
    names = [{each.describe(i) for i in range(len(each))} for each in (train, val)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 8 and len(names[1]) >= 1
    objects = [len(each.annotations.boxes) for each in (train, val)]
    assert sum(objects) == 14 and all(objects)
    assert [each for each in check_dataset(root) if not each.is_note] == []


def test_a_fault_in_one_file_for_all_is_found_once(root: Path) -> None:
    as_one_file(root, "result.json", "images")
    content = json.loads((root / "result.json").read_text())
    content["annotations"][0]["bbox"] = [1, 2, 3]
    content["annotations"][1]["image_id"] = 77
    (root / "result.json").write_text(json.dumps(content))
    problems = [each for each in check_dataset(root) if not each.is_note]
    assert len(problems) == 2


def test_places_may_be_given_one_by_one(root: Path, tmp_path: Path) -> None:
    """Annotations and images wherever they are, and whatever is around them."""
    before = [CocoDetection(root, split, EvaluatedObjects(64, 100), 0) for split in ("train", "val")]  # type: ignore[arg-type]
    pixels = [[each[i][0].sum() for i in range(len(each))] for each in before]
    places = {}
    for split in ("train", "val"):
        (root / f"annotations/instances_{split}.json").rename(tmp_path / f"my {split}.json")
        (root / split).rename(tmp_path / f"{split} pictures")
        places |= {
            f"{split}_annotations": str(tmp_path / f"my {split}.json"),
            f"{split}_images": str(tmp_path / f"{split} pictures"),
        }
    data = DetectionData(kind="coco", short_side=64, long_side=100, **places)  # type: ignore[arg-type]
    plain = DetectionAugment(hflip=0.0)
    train, val = build_datasets(data, plain, {}, 0)
    assert class_names_of(data) == train.class_names == ["bar", "disc", "never"]
    assert [[each[i][0].sum() for i in range(len(each))] for each in (train, val)] == pixels
    given = {split: given_files(data, split) for split in ("train", "val")}  # type: ignore[arg-type]
    assert [each for each in check_dataset(None, given=given) if not each.is_note] == []  # type: ignore[arg-type]
    for change, message in (
        ({"val_images": None}, "data.val_images is not given: give all of data.train_annotations"),
        ({"root": str(root)}, "both say where the data is: leave one out"),
        ({"val_images": "gone"}, "data.val_images gone is not there: give the folder of its images"),
        ({"train_annotations": "gone"}, "data.train_annotations gone is not there: give a file"),
    ):
        with pytest.raises(UserError, match=message):
            build_datasets(replace(data, **change), plain, {}, 0)
