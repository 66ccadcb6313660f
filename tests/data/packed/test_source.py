"""Whatever images are packed in, they are the same images, in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mscsa.data.packed.shards import read_shards
from mscsa.data.packed.source import PackedSource
from mscsa.data.packed.tables import read_parquet, read_saved
from tests.data.packed.packed_files import CLASSES, images_of, table_of, write_shards


def shards(folder: Path, place: Path) -> PackedSource:
    write_shards(folder, place)
    return read_shards(sorted(place.glob("train/*.tar")), CLASSES)


def parquet(folder: Path, place: Path) -> PackedSource:
    place.mkdir()
    table_of(folder, "train").to_parquet(place / "train.parquet")
    return read_parquet([place / "train.parquet"], place)


def saved(folder: Path, place: Path) -> PackedSource:
    table_of(folder, "train").save_to_disk(place)
    return read_saved(place)


@pytest.mark.parametrize("pack", [shards, parquet, saved])
def test_images_and_classes_are_those_that_were_packed(
    folder: Path, tmp_path: Path, pack: Callable[[Path, Path], PackedSource]
) -> None:
    source, wanted = pack(folder, tmp_path / "packed"), images_of(folder, "train")
    assert source.labels == [CLASSES[label] for *_, label in wanted] and source.class_names == CLASSES
    for index in reversed(range(len(wanted))):
        assert source.content(index) == wanted[index][1]
    assert len({source.describe(index) for index in range(len(wanted))}) == len(wanted)
    assert source.files and all(path.is_file() for path in source.files)
