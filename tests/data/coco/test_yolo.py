"""YOLO's layout: what was written is read, by every form of description; bad lines are named by place."""

from __future__ import annotations

import logging
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.data.check_dataset import check_dataset
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.coco.layouts import find_objects
from mscsa.data.coco.yolo import find_yolo, is_yolo
from mscsa.data.datasets import build_datasets
from mscsa.data.identity import hash_of_files
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.detection import EvaluatedObjects, build_detection_transforms
from mscsa.errors import UserError
from mscsa.recipes.spec import DetectionAugment, DetectionData
from tests.data.coco.object_folders import SIZES, boxes_of, link_elsewhere, write_yolo


def opened(root: Path, split: str = "train", **options: bool) -> CocoDetection:
    return CocoDetection(root, split, EvaluatedObjects(64, 100), 0, **options)  # type: ignore[arg-type]


def expected(split: str) -> list[list[float]]:
    return [
        [label + 1, *box]
        for i, size in enumerate(SIZES[split])
        if (split, i) != ("train", 2)
        for label, box in boxes_of(size)
    ]


def read(root: Path, split: str) -> list[list[float]]:
    found = find_objects(root, split).read()  # type: ignore[arg-type]
    return np.hstack([found.labels[:, None], found.boxes]).tolist()


def described(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(text)


def as_mapping(root: Path) -> None:
    """Names by number, out of order; folders below `path`, which is there on another machine alone."""
    described(root, "path: ../sets/mine\ntrain: images/train\nval: images/val\nnames:\n  1: disc\n  0: bar\n")


def as_below_path(root: Path) -> None:
    (root / "all").mkdir()
    for part in ("images", "labels"):
        (root / part).rename(root / "all" / part)
    described(root, "path: all\ntrain: images/train\nval: [images/val]\nnames: [bar, disc]\n")


def as_lists(root: Path) -> None:
    """Lists of files, as CVAT writes them."""
    for split in SIZES:
        names = sorted(path.name for path in (root / "images" / split).iterdir())
        (root / f"{split}.txt").write_text("".join(f"./images/{split}/{name}\n" for name in names))
    described(root, "path: ./\ntrain: train.txt\nval: val.txt\nnames:\n  0: bar\n  1: disc\n")


def as_classes_alone(root: Path) -> None:
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("\ufeffbar\ndisc\n", encoding="utf-8")


def in_utf_16(root: Path) -> None:
    """As Windows' shell writes texts."""
    as_classes_alone(root)
    for path in root.rglob("*.txt"):
        path.write_bytes(path.read_text(encoding="utf-8-sig").encode("utf-16"))


@pytest.mark.parametrize("arrange", [None, as_mapping, as_below_path, as_lists, as_classes_alone, in_utf_16])
@pytest.mark.parametrize("form", ["boxes", "polygons"])
def test_what_was_written_is_read(
    tmp_path: Path,
    form: str,
    arrange: Callable[[Path], None] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = write_yolo(tmp_path / "set", form=form)
    if arrange is not None:
        arrange(root)
    assert is_yolo(root)
    for split in ("train", "val"):
        assert np.allclose(read(root, split), expected(split), atol=1e-3)
    with caplog.at_level(logging.INFO):
        assert check_dataset(root) == []
    assert "is read as YOLO's layout (coco)" in caplog.text
    assert opened(root).class_names == ["bar", "disc"]
    assert len(opened(root)) == 3 and len(opened(root, "val")) == 2


def test_roboflow_folders_are_found(tmp_path: Path) -> None:
    """It writes ../train/images in a data.yaml that lies beside train/."""
    root = write_yolo(tmp_path / "set", folders="{}/images")
    (root / "val").rename(root / "valid")
    described(
        root, "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: [bar, disc]"
    )
    assert np.allclose(read(root, "val"), expected("val"), atol=1e-3)
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("bar\ndisc\n")
    assert np.allclose(read(root, "val"), expected("val"), atol=1e-3)


@pytest.mark.parametrize("name", ["train", "Train"])
def test_a_neighbour_of_the_data_set_is_none_of_its_folders(tmp_path: Path, name: str) -> None:
    """Roboflow's ../train/images, which lies in the set, beside a project that has a Train/images."""
    root = write_yolo(tmp_path / "set", folders="{}/images")
    (root / "train").rename(root / name)
    write_yolo(tmp_path / "other", folders="{}/images")
    (tmp_path / "other" / "train").rename(tmp_path / "Train")
    described(root, "train: ../train/images\nval: ../val/images\nnc: 2\nnames: [bar, disc]")
    files = [Path(each["file_name"]) for each in find_objects(root, "train").convert().images]
    assert files and all(root in (root / path).resolve().parents for path in files)


def test_the_path_of_a_description_comes_before_what_lies_beside_it(tmp_path: Path) -> None:
    """An older images/train beside data.yaml, and v2/Images/train, which is meant."""
    root = write_yolo(tmp_path / "set")
    write_yolo(root / "v2", folders="Images/{}")
    described(root, "path: v2\ntrain: images/train\nval: images/val\nnames: [bar, disc]")
    files = [each["file_name"] for each in find_objects(root, "train").convert().images]
    assert files and all(name.startswith("v2/Images/train") for name in files)


@pytest.mark.parametrize("is_described", [True, False])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_labels_are_found_whatever_the_case_of_their_folder(
    tmp_path: Path, kind: str, is_described: bool, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_yolo(tmp_path / "set")
    (root / kind / "train").rename(root / kind / "Train")
    if is_described:
        images = "Train" if kind == "images" else "train"
        described(root, f"train: images/{images}\nval: images/val\nnames: [bar, disc]\n")
    else:
        as_classes_alone(root)
    assert np.allclose(read(root, "train"), expected("train"), atol=1e-3)
    assert check_dataset(root) == [] and "labels of no image" not in caplog.text


@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("arrange", [None, as_classes_alone])
def test_names_are_the_same_in_other_signs(
    tmp_path: Path, arrange: Callable[[Path], None] | None, one: str, other: str
) -> None:
    """Of classes, of image and text, of their folders, in the description and in lists."""
    root = write_yolo(tmp_path / "set")
    for kind, form in (("images", one), ("labels", other)):
        for folder in (root / kind / "train", root / kind / "val"):
            inner = folder / unicodedata.normalize(form, "\u00fc")
            inner.mkdir()
            for path in [path for path in folder.iterdir() if path != inner]:
                path.rename(inner / unicodedata.normalize(form, f"\u00e9{path.name}"))
    names = sorted(path.name for path in (root / "images/val/").glob("*/*"))
    text = "\n".join(f"./images/val/\u00fc/{name}" for name in names)
    (root / "val.txt").write_text(unicodedata.normalize(other, text), encoding="utf-8")
    text = "train: images/train/\u00fc\nval: val.txt\nnames: [b\u00e4r, disc]\n"
    (root / "data.yaml").write_text(unicodedata.normalize(other, text), encoding="utf-8")
    if arrange is not None:
        arrange(root)
        (root / "classes.txt").write_text("ba\u0308r\ndisc\n", encoding="utf-8")
    assert opened(root).class_names == ["b\u00e4r", "disc"]
    for split in ("train", "val"):
        assert np.allclose(read(root, split), expected(split), atol=1e-3)
    assert check_dataset(root) == []


def test_folders_that_links_lead_to_are_read(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set")
    for kind, ending in (("images", ".png"), ("labels", ".txt")):
        link_elsewhere(root / kind / "train", tmp_path / "disk" / kind, ending)
    assert np.allclose(read(root, "train"), expected("train"), atol=1e-3)
    (tmp_path / "disk/labels/gone.txt").touch()
    (note,) = check_dataset(root)
    assert note.path == str(root / "labels/train/linked/gone.txt")
    as_classes_alone(root)
    shutil.rmtree(root / "labels/val")
    assert is_yolo(root)


def test_masks_of_polygons_and_the_truth_of_the_scores(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set", form="polygons")
    data = DetectionData(kind="coco", short_side=60, long_side=200)
    transform, _ = build_detection_transforms(data, DetectionAugment(hflip=0))
    dataset = CocoDetection(root, "train", transform, 0, with_masks=True)
    image, objects, _ = dataset[0]
    assert image.shape[1:] == (60, 80)
    assert objects["labels"].tolist() == [1, 2]
    for mask, (_, (x, y, width, height)) in zip(objects["masks"], boxes_of((80, 60)), strict=True):
        assert mask.sum() == width * height
        assert mask[y : y + height, x : x + width].all()
    truth = opened(root, "val", with_masks=True).ground_truth()
    assert [each["name"] for each in truth["categories"]] == ["bar", "disc"]
    assert [each["area"] for each in truth["annotations"]] == pytest.approx([240, 440] * 2, rel=1e-4)


def test_a_photograph_on_its_side_has_the_size_it_is_shown_in(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set")
    path = root / "images/val/val0.png"
    for ending in (".jpg", ".png"):
        with Image.open(path) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            turned = image.transpose(Image.Transpose.ROTATE_90)
        path.unlink()
        path = path.with_suffix(ending)
        turned.save(path, exif=exif)
        assert np.allclose(read(root, "val"), expected("val"), atol=1e-3)
        assert opened(root, "val")[0][1]["size"] == (40, 70)
        path.unlink()
        path = root / "images/val/val0.png"
        turned.transpose(Image.Transpose.ROTATE_270).save(path)


BAD_LINES = {
    "2 0.5 0.5 0.2 0.2": "class '2' is none of 0 to 1",
    "-1 0.5 0.5 0.2 0.2": "class '-1' is none of",
    "0.5 0.5 0.5 0.2 0.2": "class '0.5' is none of",
    "bar 0.5 0.5 0.2 0.2": "class 'bar' is none of",
    "0": "0 numbers after the class",
    "0 0.5 0.5 0.2": "3 numbers after the class",
    "0 0.5 0.5 0.2 0.2 0.9": "5 numbers after the class",
    "0 0.5 0.5 0.2 nan": "'nan' is no share",
    "0 0.5 0.5 0.2 x": "'x' is no share",
    "0 32 24 10 10": "'32' is no share",
    "1 0.1 0.1 0.3 0.1 0.3 -0.4": "'-0.4' is no share",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_with_its_file(tmp_path: Path, line: str) -> None:
    root = write_yolo(tmp_path / "set")
    path = root / "labels/train/train1.txt"
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    with pytest.raises(UserError) as caught:
        opened(root)
    assert str(caught.value).startswith(f"{path}: line 4: {BAD_LINES[line]}") and "\n" not in str(
        caught.value
    )
    (problem,) = check_dataset(root)
    assert problem.path == str(path) and problem.what.startswith(f"line 4: {BAD_LINES[line]}")


@pytest.mark.parametrize("line", ["0 0.5 0.5 0 0.2", "0 0.5 0.5 0.2 -0.001", "1 0.1 0.1 0.3 0.1 0.2 0.1"])
def test_what_has_no_area_and_what_is_given_twice_is_left_out_and_said(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_yolo(tmp_path / "set")
    path = root / "labels/train/train1.txt"
    first = path.read_text().splitlines()[0]
    path.write_text(f"{path.read_text()}\n{line}\n{first}\n")
    (root / "labels/train/gone.txt").write_text(first)
    assert np.allclose(read(root, "train"), expected("train"), atol=1e-3)
    assert f"{path}: line 3: without an area" in caplog.text
    assert f"{path}: line 4: given before" in caplog.text
    assert "gone.txt: labels of no image" in caplog.text
    assert [(each.path, each.what) for each in check_dataset(root)] == [
        (str(path), "line 3: without an area"),
        (str(path), "line 4: given before"),
        (str(path.parent / "gone.txt"), "labels of no image"),
    ]


def test_labels_in_another_encoding_are_named(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set")
    labels = sorted((root / "labels/train").iterdir())[0]
    labels.write_bytes(b"# fl\xe4che\n" + labels.read_bytes())
    with pytest.raises(UserError, match=f"{labels.name}: line 1 is not in UTF-8; save it as UTF-8"):
        read(root, "train")
    assert any("not in UTF-8" in each.what for each in check_dataset(root))


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set")
    path = root / "images/train/train0.png"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="train0.png: empty file"):
        opened(root)
    as_lists(root)
    path.unlink()
    with pytest.raises(UserError, match="train0.png: no such file"):
        opened(root)
    assert {each.path for each in check_dataset(root)} == {str(path)}


def test_images_that_cannot_be_read_keep_their_places_up_to_a_number(tmp_path: Path) -> None:
    """As in COCO's format: they are told of when they are read."""
    root = write_yolo(tmp_path / "set")
    (root / "images/train/train1.png").write_bytes(b"")
    data = DetectionData(kind="coco", root=str(root), short_side=60, long_side=200, max_bad=1)
    train, _ = build_datasets(data, DetectionAugment(), {}, 0)
    assert len(train) == 3 and [len(train.labels_of(i)) for i in range(3)] == [2, 0, 0]  # type: ignore[attr-defined]
    assert train[SampleKey(0, 0, 1)][2] == 2
    assert [Path(train.describe(i)).name for i in train.bad_indices()] == ["train1.png"]  # type: ignore[attr-defined]
    assert [(each.path, each.what) for each in check_dataset(root) if not each.is_note] == [
        (str(root / "images/train/train1.png"), "empty file")
    ]
    with_objects = opened(root, keep_empty=False, max_bad=1)  # train2 has none
    assert [Path(with_objects.describe(i)).name for i in range(len(with_objects))] == [
        "train0.png",
        "train1.png",
    ]
    (root / "images/train/train0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"train0.png: empty file; .* \(the first of 2 faults"):
        build_datasets(data, DetectionAugment(), {}, 0)


DESCRIPTIONS = {
    "[1, 2": "cannot be read as YAML",
    "- a": r"is \['a'\]: give names, train and val",
    "names: {0: bar, 2: disc}\ntrain: images/train": r"names has the keys \[0, 2\]: give 0 to K-1",
    "names: [bar, bar]\ntrain: images/train": "'bar' is empty or given twice",
    "names: []\ntrain: images/train": r"names is \[\]",
    "names: bar\ntrain: images/train": "names is 'bar'",
    "names: [bar]\nnc: 2\ntrain: images/train": "nc is 2, names has 1",
    "names: [bar, disc]\nval: images/val": "train is None: give a folder",
    "names: [bar, disc]\ntrain: pictures": "train names pictures, and .*pictures is not there",
    "names: [bar, disc]\ntrain: labels": "no image in .*labels",
}


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_description_that_cannot_be_used_is_one_line(tmp_path: Path, text: str) -> None:
    root = write_yolo(tmp_path / "set")
    described(root, text)
    with pytest.raises(UserError, match=DESCRIPTIONS[text]) as caught:
        find_yolo(root, "train")
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


@pytest.mark.parametrize("names", ["[no, 007]", "{0: no, 1: 007}", "{1: 007, 0: no}", "\n- no\n- 007"])
def test_names_are_those_that_are_written(tmp_path: Path, names: str) -> None:
    root = write_yolo(tmp_path / "set")
    described(root, f"train: images/train\nval: images/val\nnc: 2\nnames: {names}\n")
    assert find_objects(root, "train").class_names() == ["no", "007"]


def test_classes_are_numbered_where_they_have_no_names(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set")
    described(root, "train: images/train\nval: images/val\nnc: 2\n")
    assert opened(root).class_names == ["class 0", "class 1"]


def test_without_a_description_the_classes_and_the_splits_are_asked_for(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set")
    (root / "data.yaml").unlink()
    with pytest.raises(UserError, match="without data.yaml: give it, with names"):
        find_objects(root, "train")
    (root / "classes.txt").write_text("bar\ndisc\n")
    shutil.rmtree(root / "images/val")
    with pytest.raises(UserError, match="images/val is not there: .*divide its images"):
        find_objects(root, "val")


def test_a_text_that_changes_makes_another_data_set(tmp_path: Path) -> None:
    """A run is only resumed on the labels that it began with."""
    root = write_yolo(tmp_path / "set")
    before = hash_of_files(opened(root), root)
    assert hash_of_files(opened(root), root) == before
    path = root / "labels/train/train1.txt"
    path.write_text(path.read_text().replace("1 0.", "0 0."))
    changed = hash_of_files(opened(root), root)
    path.unlink()
    assert len({before, changed, hash_of_files(opened(root), root)}) == 3


def test_key_points_are_no_polygons(tmp_path: Path) -> None:
    """Two key points of x, y: nine columns, which are a polygon of four points in other sets."""
    root = write_yolo(tmp_path / "set")
    for path in (root / "labels").rglob("*.txt"):
        path.write_text("".join(f"{line} 0.1 0.1 0 0\n" for line in path.read_text().splitlines()))
    with (root / "data.yaml").open("a") as file:
        file.write("kpt_shape: [2, 2]\n")
    assert np.allclose(read(root, "train"), expected("train"), atol=1e-3)


def test_texts_beside_their_images_in_a_folder_within_one_called_images(tmp_path: Path) -> None:
    root = tmp_path / "images/set"
    root.parent.mkdir()
    write_yolo(tmp_path / "set").rename(root)
    for split in SIZES:
        (root / "images" / split).rename(root / split)
        for path in (root / "labels" / split).iterdir():
            path.rename(root / split / path.name)
    described(root, "train: train\nval: val\nnames: [bar, disc]\n")
    assert np.allclose(read(root, "train"), expected("train"), atol=1e-3)
