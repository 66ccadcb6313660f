"""Packed images are recognised by themselves, split by split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mscsa.data.packed.layouts import find_packed, packed_form
from mscsa.errors import UserError
from tests.data.packed.packed_files import CLASSES, png, table_of, write_shards, write_tar


def described(root: Path) -> dict[str, list[str]]:
    found = {split: find_packed(root, split) for split in ("train", "val")}  # type: ignore[arg-type]
    return {
        split: [each.source.labels[i] for i in each.chosen]
        for split, each in found.items()
        if each is not None
    }


WANTED = {
    "train": [name for name in CLASSES for _ in range(4)],
    "val": [name for name in CLASSES for _ in range(3)],
}


@pytest.mark.parametrize(
    "pattern",
    [
        "{split}/%05d.tar",
        "pets-{split}-%02d.tar",
        "data/{split}/x%d.tar",
        "{split}%d.tar",
        "{Split}/%05d.tar",
        "Data/{split}-%d.tar",
    ],
)
def test_shards_of_folders_and_of_names(folder: Path, tmp_path: Path, pattern: str) -> None:
    root = write_shards(folder, tmp_path / "packed", pattern.replace("{Split}", "{split}"))
    if "{Split}" in pattern:
        for split in ("train", "val"):
            (root / split).rename(root / split.title())
    write_tar(root / "test" / "test-0.tar", [("1.png", png(1)), ("1.cls", b"0")])
    if pattern == "{split}%d.tar":  # a word is one by itself
        for path in root.glob("*.tar"):
            path.rename(path.with_name(path.name.replace("train", "train_").replace("val", "validation_")))
    assert described(root) == WANTED
    found = find_packed(root, "val")
    assert found is not None and found.class_names == list(CLASSES) and found.form == "tar shards"


def test_numbers_without_names_are_ordered_by_value(tmp_path: Path) -> None:
    for split, numbers in (("train", (10, 2)), ("val", (2, 10, 1))):
        members = [
            (f"{i}.{end}", content)
            for i, number in enumerate(numbers)
            for end, content in (("png", png(i)), ("cls", str(number).encode()))
        ]
        write_tar(tmp_path / split / "0.tar", members)
    found = find_packed(tmp_path, "train")
    assert found is not None and found.class_names == ["1", "2", "10"]


def test_one_set_is_divided_the_same_way_every_time(folder: Path, tmp_path: Path) -> None:
    root = write_shards(folder, tmp_path / "packed")
    for path in root.glob("*/*.tar"):
        path.rename(root / path.name.replace("train", "part").replace("val", "more"))
    found = {split: find_packed(root, split) for split in ("train", "val")}  # type: ignore[arg-type]
    assert found["train"] is not None and found["val"] is not None
    both = [*found["train"].chosen.tolist(), *found["val"].chosen.tolist()]
    assert sorted(both) == list(range(21)) and 0 < len(found["val"].chosen) < 10
    again = find_packed(shutil.copytree(root, tmp_path / "copy"), "val")
    assert again is not None and again.chosen.tolist() == found["val"].chosen.tolist()


def test_parquet_and_what_datasets_saves(folder: Path, tmp_path: Path) -> None:
    import datasets

    data = tmp_path / "parquet" / "data"
    data.mkdir(parents=True)
    table_of(folder, "train").to_parquet(data / "train-00000-of-00001.parquet")
    table_of(folder, "val").to_parquet(data / "validation-00000-of-00001.parquet")
    assert described(tmp_path / "parquet") == WANTED and packed_form(tmp_path / "parquet") == "Parquet files"
    both = datasets.DatasetDict(train=table_of(folder, "train"), validation=table_of(folder, "val"))
    both.save_to_disk(tmp_path / "saved")
    assert described(tmp_path / "saved") == WANTED and packed_form(tmp_path / "saved") == "Arrow files"
    table_of(folder, "train").save_to_disk(tmp_path / "one")
    sizes = {split: len(labels) for split, labels in described(tmp_path / "one").items()}
    assert sum(sizes.values()) == 12 and min(sizes.values()) > 0


def test_an_archive_beside_folders_of_classes_is_left_alone(folder: Path) -> None:
    for name in ("train.tar", "root.tar.gz", "train.tgz"):
        (folder / name).write_bytes(b"x")
    assert packed_form(folder) is None and find_packed(folder, "train") is None
    assert packed_form(folder / "nowhere") is None
    for place in list(folder.glob("*/*")):  # train/CLASS/images
        moved = [path for path in place.iterdir()]
        (place / "images").mkdir()
        for path in moved:
            path.rename(place / "images" / path.name)
    assert packed_form(folder) is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/0.tar"], "no tar shards of val; put them into val/"),
        (["train/0.tar.gz", "val/0.tar.gz"], "is compressed"),
        (["train.tar", "val.parquet"], "Parquet files and tar shards: keep one of them"),
    ],
)
def test_what_is_not_possible_is_one_line(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        write_tar(tmp_path / name, [("1.png", png(1)), ("1.cls", b"0")])
    with pytest.raises(UserError, match=message):
        find_packed(tmp_path, "train")


def test_splits_of_other_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    import datasets

    (tmp_path / "a").mkdir()
    table_of(folder, "train").to_parquet(tmp_path / "a" / "train.parquet")
    other = datasets.ClassLabel(names=["ant", "bee", "dog"])
    table_of(folder, "val").cast_column("label", other).to_parquet(tmp_path / "a" / "val.parquet")
    with pytest.raises(UserError, match="train and val name other classes"):
        find_packed(tmp_path / "a", "train")
