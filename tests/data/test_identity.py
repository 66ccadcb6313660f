"""Data is another where a file is another: by name or size, wherever the folder lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.identity import hash_of_files
from mscsa.data.scenes.classification import SceneClassification
from mscsa.data.scenes.collection import SceneCollection


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three images, in both splits."""
    root = tmp_path / "data"
    for number, split in enumerate(("train", "val")):
        for label, name in enumerate("ab"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                size = 10 + 10 * number + 5 * label + i
                Image.effect_noise((size, size), 50).save(folder / f"{i}.png")
    return root


def of(root: Path) -> str:
    return hash_of_files(ImageFolder(root, "train", lambda image: Any, 0), root)


def test_it_does_not_depend_on_where_the_folder_lies(root: Path, tmp_path: Path) -> None:
    before = of(root)
    shutil.move(root, tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere") == before == of(Path(f"{tmp_path}/elsewhere/"))


def swap_images(train: Path) -> None:
    for i in range(3):
        other = (train / "b" / f"{i}.png").read_bytes()
        (train / "b" / f"{i}.png").write_bytes((train / "a" / f"{i}.png").read_bytes())
        (train / "a" / f"{i}.png").write_bytes(other)


def one_for_another(train: Path) -> None:
    os.replace(train / "a" / "0.png", train / "a" / "9.png")


def moved_to_the_other_class(train: Path) -> None:
    os.replace(train / "a" / "0.png", train / "b" / "4.png")


@pytest.mark.parametrize("change", [swap_images, one_for_another, moved_to_the_other_class])
def test_other_images_of_equal_count_are_other_data(root: Path, change: Any) -> None:
    before = of(root)
    change(root / "train")
    assert len(ImageFolder(root, "train", lambda image: Any, 0)) == 6
    assert of(root) != before


def test_a_dangling_link_has_an_identity(root: Path) -> None:
    before = of(root)
    (root / "train" / "a" / "0.png").unlink()
    (root / "train" / "a" / "0.png").symlink_to(root / "gone.png")
    assert of(root) != before


def test_rendered_images_are_their_descriptions() -> None:
    def scenes(count: int) -> SceneClassification:
        collection = SceneCollection(split="train", num_scenes=count, size=32, max_digits=1)
        return SceneClassification(collection, lambda image: Any, seed=0)

    assert hash_of_files(scenes(5), None) == hash_of_files(scenes(5), None) != hash_of_files(scenes(6), None)


def test_annotations_count_by_their_content(root: Path, tmp_path: Path) -> None:
    dataset: Any = ImageFolder(root, "train", lambda image: Any, 0)
    file = tmp_path / "annotations.json"
    dataset.annotation_files = (file,)
    file.write_text("1")
    before = hash_of_files(dataset, root)
    file.write_text("2")
    assert hash_of_files(dataset, root) != before
