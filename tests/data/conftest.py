"""Small image folders made on the fly."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ROOT/{train,val}/{ant,bee,cat} with 4 and 3 differing PNGs of 40 x 48 px a class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3)):
        for name in ("ant", "bee", "cat"):
            where = tmp_path / "root" / split / name
            where.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(where / f"{number}.png")
    return tmp_path / "root"
