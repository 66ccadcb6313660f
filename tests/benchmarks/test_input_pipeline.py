"""What a core reads and trains on: images are counted by the CPU time that they took."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import input_pipeline
from benchmarks.input_pipeline import BATCH_SIZE, PHOTO_SIZE, enlarged, rate


def test_a_rate_is_of_the_batches_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(input_pipeline.time, "process_time", lambda: now[0])

    def batches() -> Iterator[int]:
        for i in itertools.count():
            now[0] += 100.0 if i == 0 else 0.5
            yield i

    assert rate(batches(), 10.0) == BATCH_SIZE / 0.5


def test_photographs_are_saved_larger_in_their_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "small" / split / name).mkdir(parents=True)
            Image.new("L", (32, 32), 90).save(tmp_path / "small" / split / name / "a.png")
    found = sorted(enlarged(tmp_path / "small", tmp_path / "large").rglob("*.jpg"))
    assert [path.relative_to(tmp_path / "large").as_posix() for path in found] == [
        "train/cat/a.jpg",
        "train/dog/a.jpg",
        "val/cat/a.jpg",
        "val/dog/a.jpg",
    ]
    with Image.open(found[0]) as image:
        assert (image.size, image.format, image.mode) == (PHOTO_SIZE, "JPEG", "RGB")
