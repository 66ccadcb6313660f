"""Layouts of label maps, as people and tools write them: the same images and labels are read from each."""

from __future__ import annotations

import logging
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.data.check_dataset import check_dataset, layout_of
from mscsa.data.datasets import build_datasets
from mscsa.data.label_maps.known_tables import CITYSCAPES, VOC, voc_colour
from mscsa.data.label_maps.labels import read_labels
from mscsa.data.label_maps.layouts import find_maps, is_maps
from mscsa.errors import UserError
from tests.data.label_maps.label_map_folder import CFG, NAMES, PLAIN, labels_of, spec, write_label_maps

COLOURS = {0: (128, 128, 128), 1: (128, 64, 128), 2: (64, 0, 128), 255: (0, 0, 0)}


def move(root: Path, form: str, *, image: str = "{name}.png", label: str = "{name}.png") -> None:
    """Move the files of `write_label_maps` to folders by `form`, of {kind} and {split}."""
    for split in ("train", "val"):
        for kind, name in (("images", image), ("labels", label)):
            for path in sorted((root / kind / split).iterdir()):
                place = root / "new" / form.format(kind=kind, split=split)
                place.mkdir(parents=True, exist_ok=True)
                path.rename(place / name.format(name=path.stem))
    for kind in ("images", "labels"):
        shutil.rmtree(root / kind)
    for path in (root / "new").iterdir():
        path.rename(root / path.name)
    (root / "new").rmdir()


def recolour(root: Path, folder: str, colours: dict[int, tuple[int, int, int]], mode: str = "RGB") -> None:
    """Write label maps in colours, or with a palette of them."""
    for path in (root / folder).rglob("*.png"):
        labels = np.array(Image.open(path))
        if mode == "P":
            image = Image.fromarray(labels)
            image.putpalette([each for i in range(256) for each in colours.get(i, (0, 0, 0))])
        else:
            pixels = np.zeros((*labels.shape, 3), np.uint8)
            for label, colour in colours.items():
                pixels[labels == label] = colour
            image = Image.fromarray(pixels)
        image.save(path)


def relabel(root: Path, folder: str, values: dict[int, int]) -> None:
    for path in (root / folder).rglob("*.png"):
        labels = np.array(Image.open(path))
        changed = labels.copy()
        for label, value in values.items():
            changed[labels == label] = value
        Image.fromarray(changed).save(path)


def as_masks_by_split(root: Path) -> None:
    """train/images and train/masks."""
    move(root, "{split}/{kind}")
    for split in ("train", "val"):
        (root / split / "labels").rename(root / split / "masks")
    (root / "val").rename(root / "valid")


def as_masks_by_kind(root: Path) -> None:
    """images/train and masks/train."""
    (root / "labels").rename(root / "masks")


def as_mmsegmentation(root: Path) -> None:
    (root / "images").rename(root / "img_dir")
    (root / "labels").rename(root / "ann_dir")


def as_camvid(root: Path) -> None:
    """train, train_labels with _L, and class_dict.csv: colours."""
    move(root, "{split}{kind}", label="{name}_L.png")
    for split in ("train", "val"):
        (root / f"{split}images").rename(root / split)
        (root / f"{split}labels").rename(root / f"{split}_labels")
        recolour(root, f"{split}_labels", COLOURS)
    rows = [f"{name},{','.join(map(str, COLOURS[i]))}" for i, name in enumerate((*NAMES, "Void")) if i < 3]
    (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows, "Void,0,0,0"]))
    (root / "classes.txt").unlink()


def as_segnet(root: Path) -> None:
    """train and trainannot."""
    move(root, "{split}{kind}")
    for split in ("train", "val"):
        (root / f"{split}images").rename(root / split)
        (root / f"{split}labels").rename(root / f"{split}annot")


def as_cityscapes(root: Path) -> None:
    """leftImg8bit and gtFine, a folder for each city, with pictures and instances beside the labels."""
    for split in ("train", "val"):
        for kind, folder, end in (
            ("images", "leftImg8bit", "_leftImg8bit"),
            ("labels", "gtFine", "_gtFine_labelIds"),
        ):
            place = root / folder / split / "ulm"
            place.mkdir(parents=True)
            for path in (root / kind / split).iterdir():
                path.rename(place / f"{path.stem}{end}.png")
                if kind == "labels":
                    shutil.copy(place / f"{path.stem}{end}.png", place / f"{path.stem}_gtFine_color.png")
                    (place / f"{path.stem}_gtFine_polygons.json").write_text("{}")
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "labels")
    (root / "classes.txt").unlink()
    ids = list(CITYSCAPES)
    relabel(root, "gtFine", {0: ids[10], 1: ids[0], 2: ids[13], 255: 4})


def as_voc(root: Path) -> None:
    """JPEGImages, SegmentationClass with VOC's palette and border, ImageSets/Segmentation."""
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        stems = sorted(path.stem for path in (root / "images" / split).iterdir())
        for kind, folder in (("images", "JPEGImages"), ("labels", "SegmentationClass")):
            (root / folder).mkdir(exist_ok=True)
            for stem in stems:
                (root / kind / split / f"{stem}.png").rename(root / folder / f"{split}_{stem}.png")
        (lists / f"{split}.txt").write_text("".join(f"{split}_{stem}\n" for stem in stems))
    Image.new("RGB", (8, 8)).save(root / "JPEGImages/boxes_only.png")
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "labels")
    (root / "classes.txt").unlink()
    recolour(root, "SegmentationClass", {i: voc_colour(i) for i in range(21)} | {255: (224, 224, 192)}, "P")


def as_cvat(root: Path) -> None:
    """Pascal VOC's folders with colours of its own and labelmap.txt."""
    as_voc(root)
    recolour(root, "SegmentationClass", COLOURS)
    rows = [f"{name}:{','.join(map(str, COLOURS[i]))}::" for i, name in enumerate(NAMES)]
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *rows, "void:0,0,0::"]))


def as_roboflow(root: Path) -> None:
    """Images and masks in one folder for each split, with values in _classes.csv."""
    move(root, "{split}", label="{name}_mask.png")
    (root / "val").rename(root / "valid")
    (root / "classes.txt").unlink()
    for split in ("train", "valid"):
        rows = [f"{i}, {name}" for i, name in enumerate(NAMES)]
        (root / split / "_classes.csv").write_text("\n".join(["Pixel Value, Class", *rows]))


ARRANGED: list[tuple[Callable[[Path], None], str]] = [
    (as_masks_by_split, "SPLIT/images and SPLIT/masks"),
    (as_masks_by_kind, "images/SPLIT and masks/SPLIT"),
    (as_mmsegmentation, "img_dir/SPLIT and ann_dir/SPLIT"),
    (as_camvid, "SPLIT and SPLIT_labels"),
    (as_segnet, "SPLIT and SPLIT_labels"),
    (as_cityscapes, "leftImg8bit/SPLIT and gtFine/SPLIT"),
    (as_voc, "JPEGImages and SegmentationClass for both splits"),
    (as_cvat, "JPEGImages and SegmentationClass for both splits"),
    (as_roboflow, "images and label maps in one folder for each split"),
]
CLASSES = {
    as_cityscapes: ("sky", "road", "car"),
    as_voc: VOC[:3],
}
"""Names of the three classes, where they are not those of `NAMES`."""


def read(root: Path) -> list[np.ndarray]:
    """The labels of train, then of val, by the places of the three classes."""
    arrays = []
    for split in ("train", "val"):
        found = find_maps(root, split)
        assert not found.alone and not found.doubles
        arrays += [read_labels(labels, found.table) for _, labels in found.pairs]
    return arrays


@pytest.mark.parametrize(("arrange", "layout"), ARRANGED, ids=lambda each: getattr(each, "__name__", ""))
def test_a_layout_is_recognised_and_read(
    masks: Path, arrange: Callable[[Path], None], layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    arrange(masks)
    assert layout_of(masks) == ("masks", f"images with label maps, {layout}")
    found = find_maps(masks, "train")
    names = CLASSES.get(arrange, NAMES)
    places = [found.table.names.index(name) for name in names] + [255]
    expected = [labels_of(i) for i in (*range(4), *range(10, 14))]
    for labels, own in zip(read(masks), expected, strict=True):
        assert np.array_equal(labels, np.array([*places[:3], *[0] * 252, 255])[own])
    train, val = build_datasets(spec(masks), PLAIN, CFG, 0)
    assert (len(train), len(val)) == (4, 4)
    assert [each for each in check_dataset(masks) if not each.is_note] == []


def test_one_folder_is_divided(masks: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same images in every run, and most of them after others came."""
    move(masks, "{kind}", image="{name}.png")  # those of val replace those of train
    (masks / "labels").rename(masks / "masks")
    with caplog.at_level(logging.INFO):
        train, val = (find_maps(masks, split).pairs for split in ("train", "val"))  # type: ignore[arg-type]
    assert "20 % of the images, by a hash of their names, are val" in caplog.text
    assert len(train) + len(val) == 4 and not set(train) & set(val) and train and val
    assert is_maps(masks) == "masks"


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(
            (name, form)
            for name in ("scene.v{}", "shot {}", "a.b {}")
            for form in ("{}", "{}.png", "images/{}.png")
        ),
        ("scene.v{}", "images/{}.png labels/{}.png"),
    ],
)
def test_a_list_may_name_images_with_dots_and_blanks(masks: Path, name: str, form: str) -> None:
    move(masks, "{kind}")
    names = [name.format(i) for i in range(4)]
    for kind in ("images", "labels"):
        for i, each in enumerate(names):
            (masks / kind / f"im{i}.png").rename(masks / kind / f"{each}.png")
    for split, own in (("train", names[:3]), ("val", names[3:])):
        (masks / f"{split}.txt").write_text("".join(form.replace("{}", each) + "\n" for each in own))
    assert [image.stem for image, _ in find_maps(masks, "train").pairs] == names[:3]
    assert [image.stem for image, _ in find_maps(masks, "val").pairs] == names[3:]


def test_a_list_of_one_split_leaves_the_others_to_the_other(masks: Path) -> None:
    """As fastai's CamVid has valid.txt alone, with names of files; its label maps end with _P."""
    move(masks, "{kind}", label="{name}_P.png")
    (masks / "valid.txt").write_text("im1.png\nim3.png\n")
    (masks / "classes.txt").rename(masks / "codes.txt")
    assert [image.stem for image, _ in find_maps(masks, "val").pairs] == ["im1", "im3"]
    assert [image.stem for image, _ in find_maps(masks, "train").pairs] == ["im0", "im2"]
    (masks / "valid.txt").write_text("im1.png\nim9.png\n")
    with pytest.raises(UserError, match="valid.txt names im9.png, which is not the name of an image"):
        find_maps(masks, "val")


def test_a_line_whose_image_is_gone_takes_none_of_another_folder(masks: Path) -> None:
    move(masks, "{kind}")
    for kind in ("images", "labels"):
        for folder, names in (("day", "012"), ("night", "3")):
            (masks / kind / folder).mkdir()
            for name in names:
                (masks / kind / f"im{name}.png").rename(masks / kind / folder / f"im{name}.png")
    (masks / "train.txt").write_text("day/im0.png\nday/im3.png\n")
    (masks / "val.txt").write_text("images/night/im3.png\nelsewhere/im1.png\n")
    assert [image.stem for image, _ in find_maps(masks, "val").pairs] == ["im1", "im3"]
    with pytest.raises(UserError, match="train.txt names day/im3.png, which is not the name of an image"):
        find_maps(masks, "train")


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_a_list_of_test_names_is_in_no_split(masks: Path, split: str) -> None:
    """Its images may have no label maps; capitals of lists do not matter."""
    move(masks, "{kind}")
    other = "Val" if split == "train" else "Train"
    (masks / f"{other}.txt").write_text("im1\n")
    (masks / "test.txt").write_text("images/im0.png\nim7\n")
    assert [image.stem for image, _ in find_maps(masks, split).pairs] == ["im2", "im3"]  # type: ignore[arg-type]
    assert [image.stem for image, _ in find_maps(masks, other.lower()).pairs] == ["im1"]  # type: ignore[arg-type]
    assert masks / "test.txt" in find_maps(masks, split).files()  # type: ignore[arg-type]
    (masks / f"{other}.txt").unlink()
    (masks / "labels/im3.png").unlink()
    (masks / "test.txt").write_text("im0\nim3\n")
    both = [*find_maps(masks, "train").pairs, *find_maps(masks, "val").pairs]
    assert sorted(image.stem for image, _ in both) == ["im1", "im2"]
    assert not find_maps(masks, "train").alone
    (masks / "images/lonely.png").write_bytes((masks / "images/im1.png").read_bytes())
    assert [path.name for path in find_maps(masks, "train").alone] == ["lonely.png"]


def test_a_text_called_test_may_be_none_of_images(masks: Path) -> None:
    move(masks, "{kind}")
    (masks / "test.txt").write_text("im0 looks odd\nsecond camera\nask again\nnot calibrated\n")
    (masks / "images/lonely.png").write_bytes((masks / "images/im1.png").read_bytes())
    for text in (None, "im0\nim1\nim2\nim3\n"):
        if text is not None:
            (masks / "test.txt").write_text(text)
        both = [*find_maps(masks, "train").pairs, *find_maps(masks, "val").pairs]
        assert len(both) == 4 and [path.name for path in find_maps(masks, "val").alone] == ["lonely.png"]


def test_a_list_of_test_takes_the_place_of_one_that_is_not_there(
    masks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    move(masks, "{kind}")
    (masks / "train.txt").write_text("im0\nim1\n")
    (masks / "test.txt").write_text("im2\nim3\n")
    with caplog.at_level(logging.INFO):
        assert [image.stem for image, _ in find_maps(masks, "val").pairs] == ["im2", "im3"]
    assert "no list of val, whose place" in caplog.text


def test_images_and_masks_in_one_folder_are_divided(masks: Path) -> None:
    move(masks, ".", label="{name}_mask.png")
    train, val = (find_maps(masks, split).pairs for split in ("train", "val"))  # type: ignore[arg-type]
    assert len(train) + len(val) == 4
    assert all(labels.name == f"{image.stem}_mask.png" for image, labels in (*train, *val))


def test_train_ids_are_preferred_in_cityscapes(masks: Path) -> None:
    as_cityscapes(masks)
    for path in (masks / "gtFine").rglob("*_labelIds.png"):
        labels = np.array(Image.open(path))
        places = {value: place for place, value in enumerate(CITYSCAPES)}
        trained = np.array([places.get(value, 255) for value in range(256)], np.uint8)[labels]
        Image.fromarray(trained).save(str(path).replace("labelIds", "labelTrainIds"))
    found = find_maps(masks, "train")
    assert all(labels.stem.endswith("_gtFine_labelTrainIds") for _, labels in found.pairs)
    assert found.table.values[:2] == ((0, 0), (1, 1)) and found.table.names == tuple(CITYSCAPES.values())


def test_a_split_that_is_missing_is_one_line(masks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_maps(tmp_path / "nowhere", "train")
    as_masks_by_split(masks)
    shutil.rmtree(masks / "valid")
    with pytest.raises(UserError, match="val/images is not there: give the folder that holds it") as caught:
        find_maps(masks, "val")
    assert "\n" not in str(caught.value)


def test_a_folder_without_pairs_is_one_line(masks: Path) -> None:
    for path in (masks / "labels/val").iterdir():
        path.rename(path.with_stem(f"other{path.stem}"))
    with pytest.raises(UserError, match="no image in .* has a label map of its name") as caught:
        find_maps(masks, "val")
    assert "\n" not in str(caught.value)


def test_ade20k_has_folders_of_its_own_names(tmp_path: Path) -> None:
    root = write_label_maps(tmp_path, "ade20k", count=1)
    found = find_maps(root, "val", "ade20k")
    assert found.pairs == ((root / "images/validation/im0.png", root / "annotations/validation/im0.png"),)
    assert is_maps(root) == "ade20k" and layout_of(root)[0] == "ade20k"
    (root / "classes.txt").write_text("one\ntwo\n")
    assert is_maps(root) == "masks"


def test_binary_masks_need_a_table(masks: Path) -> None:
    (masks / "classes.txt").unlink()
    relabel(masks, "labels", {1: 255, 2: 255})
    with pytest.raises(UserError, match="classes.txt cannot be read: .*class_dict.csv with name,r,g,b"):
        find_maps(masks, "train")
    (masks / "classes.csv").write_text("value,name\n0,back\n255,object\n")
    table = find_maps(masks, "train").table
    assert table.names == ("back", "object") and dict(table.values) == {0: 0, 255: 1}
    assert check_dataset(masks) == []
    train, _ = build_datasets(spec(masks), PLAIN, CFG, 0)
    assert set(np.unique(train[0][1])) <= {0, 1, 255}  # 255: padding of the crop alone


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "classes.txt cannot be read: write the names of the classes into it"),
        (b"\xff\xfe\x00", "classes.txt cannot be read"),
        (b"\n \n", "names 0 classes: 1 to 255 are possible"),
        ("\n".join(map(str, range(256))).encode(), "names 256 classes: 1 to 255 are possible"),
        (b"sky\nsky\ncar\n", "names 'sky' twice: give each class a name of its own"),
    ],
)
def test_a_list_of_classes_that_is_none_is_one_line(masks: Path, content: bytes | None, message: str) -> None:
    path = masks / "classes.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        find_maps(masks, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["{split}_{kind}", "{kind}/{split}"])
def test_label_maps_may_be_gif(masks: Path, form: str) -> None:
    """Carvana's: train and train_masks with NAME_mask.gif."""
    for path in (masks / "labels").rglob("*.png"):
        labels = np.array(Image.open(path))
        image = Image.fromarray(np.where(labels == 255, 0, labels).astype(np.uint8) % 2)
        image.putpalette([0, 0, 0, 255, 255, 255])
        image.save(path.with_suffix(".gif"))
        path.unlink()
    move(masks, form, label="{name}_mask.gif")
    (masks / "classes.txt").write_text("background\ncar\n")
    found = find_maps(masks, "val")
    assert len(found.pairs) == 4 and not found.alone
    expected = labels_of(10)
    expected = np.where(expected == 255, 0, expected) % 2
    assert np.array_equal(read_labels(found.pairs[0][1], found.table), expected)
    assert check_dataset(masks) == []


@pytest.mark.parametrize("form", ["{kind}/{split}", "{kind}", "{split}"])
def test_letters_may_be_taken_apart(masks: Path, form: str) -> None:
    """As archives of macOS do: files are paired by what their names are, and opened by their own."""
    for split in ("train", "val"):
        for i in range(4):
            for kind, spelled in (("images", "NFC"), ("labels", "NFD")):
                name = unicodedata.normalize(spelled, f"Straße_ä{split}{i}.png")
                (masks / kind / split / f"im{i}.png").rename(masks / kind / split / name)
    move(masks, form, label="{name}_mask.png" if form == "{split}" else "{name}.png")
    if form == "{kind}":
        (masks / "val.txt").write_text(unicodedata.normalize("NFD", "Straße_äval0\n"), encoding="utf-8")
    found = find_maps(masks, "val")
    assert len(found.pairs) == (1 if form == "{kind}" else 4) and not found.alone
    assert all(path.is_file() for pair in found.pairs for path in pair)
