"""Pascal VOC's layout: pixels from 1, difficult objects, and files that are refused by their name."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mscsa.data.check_dataset import check_dataset
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.coco.layouts import find_objects
from mscsa.data.coco.voc import is_voc
from mscsa.data.identity import hash_of_files
from mscsa.data.transforms.detection import EvaluatedObjects
from mscsa.errors import UserError
from tests.data.coco.object_folders import link_elsewhere, write_voc
from tests.data.coco.test_yolo import expected, read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "set")


def opened(root: Path, split: str = "train", **options: int) -> CocoDetection:
    return CocoDetection(root, split, EvaluatedObjects(64, 100), 0, **options)  # type: ignore[arg-type]


def edit(file: Path, place: str, text: str | None) -> None:
    """Write another text into an element, or take it out."""
    tree = ElementTree.parse(file)
    parent, _, name = place.rpartition("/")
    above = tree.find(parent or ".")
    assert above is not None
    element = above.find(name)
    assert element is not None
    if text is None:
        above.remove(element)
    element.text = text
    tree.write(file)


@pytest.mark.parametrize("is_by_split", [False, True])
def test_what_was_written_is_read(
    tmp_path: Path, is_by_split: bool, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_voc(tmp_path / "voc", is_by_split=is_by_split)
    assert is_voc(root)
    for split in ("train", "val"):
        assert read(root, split) == expected(split)
    with caplog.at_level(logging.INFO):
        assert check_dataset(root) == []
    assert "is read as Pascal VOC's layout (coco)" in caplog.text
    assert opened(root).class_names == ["bar", "disc"]
    assert [len(opened(root, split)) for split in ("train", "val")] == [3, 2]
    assert opened(root, "val")[0][1]["size"] == (40, 70)
    before = hash_of_files(opened(root), root)
    edit(next(root.rglob("train1.xml")), "object/name", "disc")
    assert hash_of_files(opened(root), root) != before  # no run is resumed on other labels


def test_folders_that_links_lead_to_are_read(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "set", is_by_split=True)
    link_elsewhere(root / "train", tmp_path / "disk", ".png")
    assert read(root, "train") == expected("train") and check_dataset(root) == []
    (tmp_path / "disk" / ".train0.png").touch()  # hidden, as some systems leave beside each file
    assert opened(root).describe(0) == str(root / "train/linked/train0.png")


FLAGS = {"train0": "  1", "train1": " 0", "train2": "\t-1"}


@pytest.mark.parametrize("form", ["flags", "endings", "both"])
def test_lists_may_have_flags_and_endings(root: Path, form: str) -> None:
    """VOC's own lists of one class have 1, 0 (difficult) or -1 (not in the image) behind the name."""
    for split in ("train", "val"):
        file = root / f"ImageSets/Main/{split}.txt"
        names = file.read_text().split()
        ending = "" if form == "flags" else ".png"
        flags = {name: FLAGS.get(name, " 1") if form != "endings" else "" for name in names}
        file.write_text("".join(f"{name}{ending}{flags[name]}\n" for name in names))
        assert read(root, split) == expected(split)
    assert check_dataset(root) == []
    assert len(opened(root)) == (3 if form == "endings" else 2)


def test_names_may_end_as_flags_and_endings_do(root: Path) -> None:
    names = ["cat 1", "a.png"]
    for name, other in zip(("val0", "val1"), names, strict=True):
        (root / f"JPEGImages/{name}.png").rename(root / f"JPEGImages/{other}.png")
        (root / f"Annotations/{name}.xml").rename(root / f"Annotations/{other}.XML")
    (root / "ImageSets/Main/val.txt").write_text("\n".join(names))
    assert read(root, "val") == expected("val")


@pytest.mark.parametrize("is_by_split", [False, True])
@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_the_same_in_other_signs(tmp_path: Path, is_by_split: bool, one: str, other: str) -> None:
    """Of classes in one file and another, of image, XML and list."""
    root = write_voc(tmp_path / "set", is_by_split=is_by_split)
    for path in list(root.rglob("*.png")):
        path.rename(path.with_name(unicodedata.normalize(one, f"\u00e9{path.name}")))
    for path in list(root.rglob("*.xml")):
        form = one if path.stem == "val0" else other
        if path.stem != "train2":  # which has no object
            edit(path, "object/name", unicodedata.normalize(form, "b\u00e4r"))
        path.rename(path.with_name(unicodedata.normalize(other, f"\u00e9{path.name}")))
    for path in root.rglob("*.txt"):
        lines = path.read_text().split()
        text = "\n".join(unicodedata.normalize(other, f"\u00e9{line}") for line in lines)
        path.write_text(text, encoding="utf-8")
    assert opened(root).class_names == ["b\u00e4r", "disc"]
    for split in ("train", "val"):
        assert read(root, split) == expected(split)
    assert check_dataset(root) == []


def test_a_number_is_a_flag_only_where_each_line_has_one(root: Path) -> None:
    """Of `train 1`, whose files are missing, the image of `train` is another."""
    (root / "JPEGImages/train0.png").rename(root / "JPEGImages/train.png")
    (root / "Annotations/train0.xml").rename(root / "Annotations/train.xml")
    (root / "ImageSets/Main/train.txt").write_text("train 1\ntrain1\ntrain2\n")
    with pytest.raises(UserError, match=r"Annotations/train 1\.xml: no such file"):
        opened(root)


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "shift_jis"])
def test_declared_encodings_are_read(root: Path, encoding: str) -> None:
    for file in (root / "Annotations").iterdir():
        text = file.read_text().replace("<name>bar", "<name>\u4e2d")
        file.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    assert opened(root).class_names == ["disc", "\u4e2d"]
    assert check_dataset(root) == []


def test_classes_are_those_of_both_splits(root: Path) -> None:
    edit(root / "Annotations/val0.xml", "object/name", "ant")
    assert opened(root).class_names == opened(root, "val").class_names == ["ant", "bar", "disc"]
    (note,) = check_dataset(root)
    assert note.is_note and "categories without an object: 1 ('ant')" in note.what


def test_what_is_difficult_is_not_trained_on_and_does_not_count(root: Path) -> None:
    for split in ("train", "val"):
        edit(root / f"Annotations/{split}0.xml", "object/difficult", "1")
    dataset = opened(root)
    assert [len(dataset.annotations.objects_of(i)) for i in range(3)] == [1, 2, 0]
    truth = opened(root, "val").ground_truth()
    assert [each["iscrowd"] for each in truth["annotations"]] == [1, 0, 0, 0]
    assert check_dataset(root) == []


@pytest.mark.parametrize("text", [None, "0"])
def test_sizes_that_are_not_given_are_those_of_the_image(root: Path, text: str | None) -> None:
    for side in ("width", "height"):
        edit(root / "Annotations/val0.xml", f"size/{side}", text)
    assert read(root, "val") == expected("val")
    assert find_objects(root, "val").read().sizes.tolist() == [[40, 70], [48, 64]]


def test_boxes_from_0_lose_no_more_than_a_pixel(root: Path) -> None:
    """Some tools count pixels from 0."""
    edit(root / "Annotations/val0.xml", "object/bndbox/xmin", "0")
    assert read(root, "val")[0] == [1, 0, 5, 32, 10]
    assert check_dataset(root) == []


@pytest.mark.parametrize(
    ("place", "text", "what"),
    [
        ("object/name", None, r"object 1 \(\): no name"),
        ("object/bndbox", None, r"object 1 \(bar\): bndbox xmin '', ymin ''"),
        ("object/bndbox/xmax", "wide", r"object 1 \(bar\): bndbox xmin '9', ymin '6', xmax 'wide'"),
        ("object/difficult", "very", "difficult is 'very', not 0 or 1"),
    ],
)
def test_a_bad_object_is_named_with_its_file(root: Path, place: str, text: str | None, what: str) -> None:
    file = root / "Annotations/train1.xml"
    edit(file, place, text)
    with pytest.raises(UserError, match=f"{file}: .*{what}") as caught:
        opened(root)
    assert "\n" not in str(caught.value)
    (problem,) = check_dataset(root)
    assert problem.path == str(file)


def test_boxes_without_an_area_are_left_out_and_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(root / "Annotations/train1.xml", "object/bndbox/xmax", "8")
    assert read(root, "train") == expected("train")[:2] + expected("train")[3:]
    assert "train1.xml: object 1 (bar): without an area" in caplog.text
    edit(root / "Annotations/train1.xml", "object/bndbox/xmax", "9")
    assert read(root, "train")[2] == [1, 8, 5, 1, 10]


BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><object><name>&c;</name></object></annotation>"""


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (BOMB, "it has a DOCTYPE"),
        (BOMB.decode().encode("utf-16"), "it has a DOCTYPE"),
        (b'<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd"><annotation/>', "it has a DOCTYPE"),
        (b"<annotation><object>", "broken XML"),
        (b"", "broken XML"),
        (b'<?xml version="1.0" encoding="none-such"?><annotation/>', "broken XML"),
        (None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(root: Path, content: bytes | None, what: str) -> None:
    file = root / "Annotations/train1.xml"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"train1.xml: {what}") as caught:
        opened(root)
    assert "\n" not in str(caught.value)
    (problem,) = check_dataset(root)
    assert (problem.path, problem.what[: len(what)]) == (str(file), what)


def test_images_and_lists_that_are_not_there(root: Path) -> None:
    (root / "JPEGImages/train0.png").unlink()
    with pytest.raises(UserError, match="JPEGImages/train0.jpg: no such file"):
        opened(root)
    assert [each.path for each in check_dataset(root)] == [str(root / "JPEGImages/train0.jpg")]
    (root / "ImageSets/Main/val.txt").unlink()
    with pytest.raises(UserError, match="ImageSets/Main/val.txt is not there: list the names"):
        opened(root, "val")


def test_an_image_that_gives_no_size_keeps_its_place(root: Path) -> None:
    edit(root / "Annotations/train0.xml", "size", None)
    (root / "JPEGImages/train0.png").write_bytes(b"")
    with pytest.raises(UserError, match="train0.png: empty file"):
        opened(root)
    dataset = opened(root, max_bad=1)
    assert [len(dataset.labels_of(i)) for i in range(3)] == [0, 2, 0]
    with pytest.raises(UserError, match="train0.png: empty file"):
        dataset[0]


def test_masks_are_asked_for_in_vain(root: Path) -> None:
    with pytest.raises(UserError, match="has no segmentation, which instance segmentation needs"):
        opened(root, with_masks=True)


def test_no_object_at_all_is_one_line(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        path.write_text("<annotation><size><width>64</width><height>48</height></size></annotation>")
    with pytest.raises(UserError, match="no object with a name"):
        opened(root)
    for path in (root / "Annotations").iterdir():
        path.write_bytes(BOMB)
    with pytest.raises(UserError, match="train0.xml: it has a DOCTYPE"):
        opened(root)
    (root / "ImageSets/Main/train.txt").write_text("gone\n")
    with pytest.raises(UserError, match="gone.xml: no such file"):
        opened(root)
