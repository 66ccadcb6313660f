"""Where class folders lie, and one folder for both splits: divided the same way whatever comes or goes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from mscsa.data.check_dataset import check_dataset
from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.class_folders.layouts import class_difference, find_classes
from mscsa.data.datasets import build_datasets, class_names_of
from mscsa.data.division import VAL_SHARE
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationAugment, ClassificationData

COUNTS = {"ant": 200, "bee": 60, "cat": 3, "dog": 2}
FIRST_OF_VAL = {"7.jpg"}


@pytest.fixture
def one_folder(tmp_path: Path) -> Path:
    """ROOT/CLASS with images of all classes, empty files: only their names matter."""
    for name, count in COUNTS.items():
        (tmp_path / "one" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "one" / name / f"{number}.jpg").write_bytes(b"")
    return tmp_path / "one"


def images(root: Path, split: str) -> dict[str, set[str]]:
    found = find_classes(root, split)  # type: ignore[arg-type]
    return {name: {Path(path).name for path in found.images(name)} for name in found.class_names()}


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_folders_of_both_splits(folder: Path, name: str) -> None:
    (folder / "val").rename(folder / name)
    (folder / "test").mkdir()
    for split, place, count in (("train", "train", 4), ("val", name, 3)):
        found = find_classes(folder, split)  # type: ignore[arg-type]
        assert found.folder == folder / place and not found.is_divided
        assert [len(found.images(each)) for each in found.class_names()] == [count] * 3
    assert check_dataset(folder) == []


@pytest.mark.parametrize("val", ["Val", "VALID", "Validation"])
def test_case_of_the_splits_does_not_matter(folder: Path, val: str) -> None:
    (folder / "train").rename(folder / "Train")
    (folder / "val").rename(folder / val)
    for split, place, count in (("train", "Train", 4), ("val", val, 3)):
        found = find_classes(folder, split)  # type: ignore[arg-type]
        assert found.folder == folder / place and not found.is_divided
        assert [len(found.images(each)) for each in found.class_names()] == [count] * 3
    assert check_dataset(folder) == []
    (folder / "train").mkdir()
    assert find_classes(folder, "train").folder == folder / "train"


def test_a_class_may_be_called_as_a_split(folder: Path) -> None:
    """Vehicles: Train holds images and no classes."""
    root = folder / "train"
    (root / "bee").rename(root / "Train")
    for split in ("train", "val"):
        found = find_classes(root, split)  # type: ignore[arg-type]
        assert found.folder == root and found.class_names() == ["Train", "ant", "cat"]
    assert check_dataset(root) == []


def test_a_class_that_is_called_as_a_split_may_have_folders(folder: Path) -> None:
    """Train/steam: among folders of images it is a class, unless the other split is there, too."""
    root = folder / "train"
    (root / "Train").mkdir()
    (root / "bee").rename(root / "Train" / "steam")
    for split in ("train", "val"):
        found = find_classes(root, split)  # type: ignore[arg-type]
        assert found.folder == root and found.class_names() == ["Train", "ant", "cat"]
    assert check_dataset(root) == []
    (folder / "val").rename(root / "Val")
    assert find_classes(root, "train").folder == root / "Train"


@pytest.mark.parametrize("strays", [1, 2])
@pytest.mark.parametrize("split", ["Train", "Val"])
def test_a_split_alone_among_folders_of_images_is_no_class_in_silence(
    folder: Path, split: str, strays: int
) -> None:
    """Train/ant, Train/bee beside samples/ is half a data set; beside samples/ and figures/, who knows."""
    (folder / split.lower()).rename(folder / split)
    shutil.rmtree(folder / {"Train": "val", "Val": "train"}[split])
    for name in ("samples", "figures")[:strays]:
        shutil.copytree(folder / split / "ant", folder / name)
    missing = {"Train": "val", "Val": "train"}[split]
    message = f"no folder {missing}/" if strays == 1 else f"name it {split.lower()} if it is the split"
    for error in (lambda: find_classes(folder, missing), lambda: check_dataset(folder)):  # type: ignore[arg-type]
        with pytest.raises(UserError, match=message):
            error()


def test_what_may_be_a_split_or_a_class(folder: Path) -> None:
    """Train/ant/first, Train/bee/first beside two folders of images; not with images in it, or a table."""
    (folder / "train").rename(folder / "Train")
    shutil.rmtree(folder / "val")
    for name in ("samples", "figures"):
        shutil.copytree(folder / "Train" / "cat", folder / name)
    for path in [*folder.glob("Train/*/*")]:
        (path.parent / "first").mkdir(exist_ok=True)
        path.rename(path.parent / "first" / path.name)
    with pytest.raises(UserError, match="name it train if it is the split, or else put its images into one"):
        find_classes(folder, "train")
    shutil.copy(next(folder.glob("samples/*")), folder / "Train")
    assert find_classes(folder, "train").class_names() == ["Train", "figures", "samples"]
    next(folder.glob("Train/*.*")).unlink()
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.glob("[sf]*/*")]
    (folder / "labels.csv").write_text("\n".join(["filename,label", *rows]))
    assert find_classes(folder, "train").class_names() == ["figures", "samples"]


@pytest.mark.parametrize(
    ("strays", "message"), [(0, "no layout for classification"), (2, "name it train if")]
)
def test_images_and_photographs_of_masks_are_no_classes(folder: Path, strays: int, message: str) -> None:
    """Train/images and Train/labels of JPEG are in no layout: Train is not taken for a class."""
    for path in [*folder.rglob("*.png")]:
        path.rename(path.with_suffix(".jpg"))
    (folder / "train").rename(folder / "Train")
    shutil.rmtree(folder / "val")
    (folder / "Train" / "ant").rename(folder / "Train" / "images")
    (folder / "Train" / "bee").rename(folder / "Train" / "labels")
    for name in ("samples", "figures")[:strays]:
        shutil.copytree(folder / "Train" / "cat", folder / name)
    shutil.rmtree(folder / "Train" / "cat")
    with pytest.raises(UserError, match=message):
        find_classes(folder, "train")


def test_classes_of_a_split_may_have_folders_alone(folder: Path) -> None:
    (folder / "train").rename(folder / "Train")
    for path in [*folder.glob("Train/*")]:
        path.rename(path.with_name("moved"))
        path.mkdir()
        path.with_name("moved").rename(path / "first")
    assert find_classes(folder, "train").class_names() == ["ant", "bee", "cat"]
    assert check_dataset(folder) == []


def test_splits_without_classes_are_no_classes(folder: Path) -> None:
    for split in ("Train", "Val"):
        shutil.move(folder / split.lower() / "ant", folder / split)
        shutil.rmtree(folder / split.lower())
    for error in (lambda: find_classes(folder, "train"), lambda: check_dataset(folder)):
        with pytest.raises(UserError, match="no layout"):
            error()


def test_no_half_of_a_set_is_recommended(folder: Path) -> None:
    """Beside a folder that holds none of its classes: data.root of it would divide it, and lose the other."""
    (folder / "train").rename(folder / "Training")
    (folder / "val").rename(folder / "Test")
    for error in (lambda: find_classes(folder, "val"), lambda: check_dataset(folder)):
        with pytest.raises(UserError, match="no folder val/"):
            error()
    (folder / "Training").rename(folder / "TEST")
    for error in (lambda: find_classes(folder, "val"), lambda: check_dataset(folder)):
        with pytest.raises(UserError) as caught:
            error()
        assert "holds a data set in" not in str(caught.value)


def test_one_folder_is_divided_class_by_class(one_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train, val = (images(one_folder, split) for split in ("train", "val"))
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith(f"{one_folder} has no train and val of its own: 20 % of the images of each class")
    for name, count in COUNTS.items():
        assert not train[name] & val[name] and len(train[name] | val[name]) == count
        assert train[name] and val[name]
    assert abs(len(val["ant"]) / 200 - VAL_SHARE) < 0.06


def test_which_image_is_which_is_settled_for_ever(one_folder: Path) -> None:
    """By SHA-256 of class/file: the first two digits of val's are 00 to 33."""
    assert {f"{i}.jpg" for i in range(20)} & images(one_folder, "val")["ant"] == FIRST_OF_VAL


def test_images_stay_in_their_split_when_others_come_and_go(one_folder: Path, tmp_path: Path) -> None:
    before = images(one_folder, "val")
    for name in ("ant", "bee"):
        for number in range(1000, 1100):
            (one_folder / name / f"{number}.jpg").write_bytes(b"")
        (one_folder / name / "0.jpg").unlink()
    shutil.rmtree(one_folder / "cat")
    after = images(one_folder.rename(tmp_path / "elsewhere"), "val")
    for name in ("ant", "bee"):
        assert before[name] - {"0.jpg"} == {each for each in after[name] if len(each) < 8}


def test_a_divided_folder_is_trained_on(folder: Path) -> None:
    root = folder / "train"
    data = ClassificationData(kind="folder", root=str(root), image_size=32, batch_size=4, workers=0)
    train, val = build_datasets(data, ClassificationAugment(), {}, 0)
    assert train.class_names == val.class_names == class_names_of(data) == ["ant", "bee", "cat"]
    paths = [{each.describe(i) for i in range(len(each))} for each in (train, val)]
    assert not paths[0] & paths[1] and len(paths[0] | paths[1]) == 12
    assert check_dataset(root) == []


def test_a_class_of_one_image_cannot_be_divided(folder: Path) -> None:
    root = folder / "train"
    for number in (1, 2, 3):
        (root / "bee" / f"{number}.png").unlink()
    with pytest.raises(UserError, match="bee: class without images in val; give it two images"):
        ImageFolder(root, "val", lambda image: image, 0)  # type: ignore[arg-type,return-value]
    (problem,) = check_dataset(root)
    assert problem.path == str(root / "bee") and problem.what == "class without images in val"


def test_what_is_no_folder_of_classes_is_not_divided(folder: Path) -> None:
    with pytest.raises(UserError, match="holds a data set in root/: give .*root as data.root"):
        find_classes(folder.parent, "train")  # a folder of folders without an image
    (folder / "val").rename(folder / "test")
    with pytest.raises(UserError, match="no folder val/"):
        find_classes(folder, "val")


def test_differences_are_said_of_both_sides() -> None:
    assert class_difference(["a", "b"], ["b", "a"]) is None
    assert class_difference(["a", "b"], ["b", "c"]) == "only train/ has 'a' and only val/ has 'c'"
