"""Tables of images: which column is what, and what a row lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from mscsa.data.packed.tables import TableImages, read_parquet, read_saved
from mscsa.errors import UserError
from tests.data.packed.packed_files import CLASSES, png


def save(place: Path, columns: dict[str, Any], **features: Any) -> Path:
    kinds = datasets.Features(features) if features else None
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(place)
    return place


def cells(*seeds: int) -> list[dict[str, Any]]:
    return [{"bytes": png(seed), "path": None} for seed in seeds]


def test_columns_by_other_names_and_plain_bytes(tmp_path: Path) -> None:
    columns = {"id": [7, 8], "img": [png(1), png(2)], "category": ["dog", "ant"]}
    found = read_saved(save(tmp_path / "a", columns))
    assert found.labels == ["dog", "ant"] and found.class_names is None and found.content(1) == png(2)
    names = datasets.ClassLabel(names=list(CLASSES))
    found = read_saved(
        save(tmp_path / "b", {"photo": cells(1), "kind": [2]}, photo=datasets.Image(), kind=names)
    )
    assert found.labels == ["cat"] and found.class_names == CLASSES


def test_images_that_a_row_names(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    rows = [{"image": {"bytes": None, "path": str(tmp_path / name)}} for name in ("1.png", "2.png")]
    found = TableImages(
        files=(),
        labels=["0"] * 3,
        class_names=None,
        place=tmp_path,
        rows=[*rows, {"image": None}],
        column="image",
    )
    assert found.content(0) == png(1)
    with pytest.raises(UserError, match="row 1 names .*2.png: no such file"):
        found.content(1)
    with pytest.raises(UserError, match="row 2 holds no image"):
        found.content(2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixels": [b"x"], "label": [1]}, "no column of images"),
        ({"image": [b"x"], "species_of": ["a"]}, "needs one column of classes, label, and has none"),
        ({"image": [b"x", b"y"], "label": ["a", None]}, "row 1 has no class in label"),
        ({"image": [b"x"], "label": [1.5]}, "row 0 has no class"),
    ],
)
def test_what_is_missing_is_one_line(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_saved(save(tmp_path / "a", columns))
    assert "\n" not in str(caught.value)


def test_images_without_a_label_as_in_test_sets(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=list(CLASSES))
    place = save(tmp_path / "a", {"image": cells(1), "label": [-1]}, image=datasets.Image(), label=names)
    with pytest.raises(UserError, match=r"row 0 has no class in label \(-1\)"):
        read_saved(place)
    two = {"image": cells(1), "fine": [0], "coarse": [0]}
    place = save(tmp_path / "b", two, image=datasets.Image(), fine=names, coarse=names)
    with pytest.raises(UserError, match="has several, fine, coarse"):
        read_saved(place)


def test_damaged_files_and_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(UserError, match="cannot be read") as caught:
        read_parquet([tmp_path / "train.parquet"], tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'mscsa\[shards\]'"):
        read_saved(tmp_path)
