"""check-data on packed images: sound ones have no problem, seeded ones are found."""

from __future__ import annotations

import shutil
from pathlib import Path

from mscsa.data.check_dataset import check_dataset, layout_of
from mscsa.data.packed.checks import check_packed
from tests.data.packed.packed_files import write_shards


def test_sound_shards_have_no_problem(folder: Path, tmp_path: Path) -> None:
    root = write_shards(folder, tmp_path / "a")
    assert check_packed(root) == check_dataset(root) == []
    assert layout_of(root) == ("folder", "images with one class each in tar shards")


def test_seeded_problems_are_found(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "bee" / "1.png").write_bytes(b"no image")
    shutil.copy(folder / "train" / "ant" / "2.png", folder / "val" / "ant" / "9.png")
    shutil.copy(folder / "train" / "ant" / "0.png", folder / "train" / "cat" / "8.png")
    for path in (folder / "val" / "cat").iterdir():
        path.unlink()
    problems = check_dataset(write_shards(folder, tmp_path / "a"))
    found = {(each.path.rpartition(":")[2].rpartition("/")[2], each.what.split(";")[0]) for each in problems}
    assert any("bee_1" in where and "not an image" in what for where, what in found)
    assert any("ant_9" in where and "same content as" in what for where, what in found)
    assert any("'cat' has no image in val" in what for _, what in found)
    assert any("cat_8" in where and "its class is 'cat'" in what for where, what in found)
    assert len(problems) == 4
