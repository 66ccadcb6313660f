"""Images of calibration are read as the model takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.errors import UserError
from mscsa.export.calibration import read_images
from tests.runtime.small_files import METADATA


def test_images_of_all_folders_below(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no image"):
        read_images(tmp_path, METADATA)
    (tmp_path / "inner").mkdir()
    for name in ("a.png", "inner/b.jpg"):
        Image.new("RGB", (20, 10), "red").save(tmp_path / name)
    assert [each.shape for each in read_images(tmp_path, METADATA)] == [(1, 3, 8, 8)] * 2
