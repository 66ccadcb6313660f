"""One split, whatever its layout: its classes and objects, from a file or converted."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.data.coco.conversion import Conversion
from mscsa.data.coco.splits import ObjectSplit, part_of
from tests.data.coco.coco_folder import write_coco


def test_a_file_is_read_as_it_is_and_other_layouts_are_converted(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco")
    split = ObjectSplit("COCO's format", root / "annotations/instances_train.json", root / "train")
    assert split.class_names() == list(split.read().category_names) == ["bar", "disc", "never"]

    def convert() -> Conversion:
        found = Conversion(["ant", "bee"])
        found.add_image("a.jpg", (40, 30))
        found.add_object(1, (30, 20, 20, 5))
        return found

    other = ObjectSplit("another", tmp_path / "list.txt", tmp_path, convert, ("ant", "bee"))
    assert other.class_names() == ["ant", "bee"]
    found = other.read()
    assert found.labels.tolist() == [2] and found.file_names == ("a.jpg",)
    assert found.boxes.tolist() == [[30, 20, 10, 5]]  # cut off at the image's border


@pytest.mark.parametrize("change", [int, float, str], ids=["whole", "float", "text"])
def test_annotations_go_with_their_image_however_its_id_is_written(change: type) -> None:
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(10)],
        "annotations": [{"image_id": change(i)} for i in range(10)],
    }
    parts = [part_of(content, split) for split in ("train", "val")]  # type: ignore[arg-type]
    for part in parts:
        assert part["images"]
        assert [int(each["image_id"]) for each in part["annotations"]] == [
            each["id"] for each in part["images"]
        ]


def test_what_is_of_no_image_is_found_once() -> None:
    strange = [{"image_id": value} for value in (77, None, [1], {}, True, "one")]
    content = {"images": [{"id": i, "file_name": f"{i}.png"} for i in range(10)], "annotations": strange}
    assert part_of(content, "train")["annotations"] == strange and not part_of(content, "val")["annotations"]
