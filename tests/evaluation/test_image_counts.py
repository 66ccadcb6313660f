"""Counts by image: written, read, refused, and brought together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mscsa.errors import UserError
from mscsa.evaluation.image_counts import gather_records
from mscsa.evaluation.pixel_counts import PixelCounts
from mscsa.evaluation.top1 import Hits

HITS = Hits(np.array([0, 2, 5]), np.array([True, False, True]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    HITS.save(tmp_path / "run" / "images.npz")
    read = Hits.load(tmp_path / "run" / "images.npz")
    assert read.index.tolist() == [0, 2, 5] and read.hits.tolist() == [True, False, True]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["images.npz"]


def test_what_older_versions_did_not_keep_is_not_known(tmp_path: Path) -> None:
    HITS.save(tmp_path / "older.npz")
    with np.load(tmp_path / "older.npz") as arrays:
        assert set(arrays) == {"index", "hits"}
    assert Hits.load(tmp_path / "older.npz").truth() is None
    replace(HITS, labels=np.array([4, 0, 2])).save(tmp_path / "images.npz")
    truth = Hits.load(tmp_path / "images.npz").truth()
    assert truth is not None and truth.tolist() == [[4], [0], [2]]


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    with pytest.raises(UserError, match=r"images.npz .*FileNotFoundError\): train the run again$"):
        Hits.load(path)
    HITS.save(path)
    with pytest.raises(UserError, match="KeyError"):
        PixelCounts.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="train the run again"):
        Hits.load(path)
    np.savez(path, index=np.array([0]), hits=np.array([print], dtype=object))
    with pytest.raises(UserError, match="ValueError"):  # a pickle, which could run code
        Hits.load(path)


def test_records_come_in_the_order_of_the_data_set() -> None:
    assert gather_records([(3, "d"), (0, "a"), (1, "b")]) == [(0, "a"), (1, "b"), (3, "d")]
