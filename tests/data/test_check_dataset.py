"""Looking through a data set: each layout is told by its folders, or by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.data.check_dataset import check_dataset
from mscsa.errors import UserError
from tests.data.coco.coco_sets import make
from tests.data.label_maps.label_map_folder import write_label_maps


@pytest.fixture
def roots(tmp_path: Path, folder: Path) -> dict[str, Path]:
    """One sound data set of each layout, of which one image of val is lost."""
    made = make(tmp_path / "coco")
    made.write()
    (made.root / "val/val10.png").unlink()
    roots = {"folder": folder, "coco": made.root}
    for path in (folder / "val" / "cat").iterdir():
        path.unlink()
    for kind, image in (("masks", "images/val/im1.png"), ("ade20k", "images/validation/im1.png")):
        roots[kind] = write_label_maps(tmp_path / kind, kind)
        (roots[kind] / image).unlink()
    return roots


@pytest.mark.parametrize(
    ("kind", "path", "what"),
    [
        ("folder", "val/cat", "class without images"),
        ("masks", "labels/val/im1.png", "no partner of its name"),
        ("ade20k", "annotations/validation/im1.png", "no partner of its name"),
        ("coco", "val/val10.png", "image 10: no such file"),
    ],
)
def test_the_layout_is_told_by_its_folders(roots: dict[str, Path], kind: str, path: str, what: str) -> None:
    found = check_dataset(roots[kind])
    assert found == check_dataset(str(roots[kind]), kind)
    assert (str(roots[kind] / path), what) in {(each.path, each.what) for each in found}


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UserError, match="is not a folder: give the folder that holds") as caught:
            check_dataset(place)
        assert "\n" not in str(caught.value)


def test_annotations_alone_are_cocos(roots: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="--annotations-only is for COCO annotations, .* of kind masks"):
        check_dataset(roots["masks"], annotations_only=True)
