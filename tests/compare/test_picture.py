"""The picture of a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.compare.picture import draw_comparison
from tests.compare.made import result


@pytest.mark.parametrize("seeds", [1, 3])
def test_picture_of_one_and_more_seeds(tmp_path: Path, seeds: int) -> None:
    path = tmp_path / "compare.png"
    draw_comparison(result((70.0, 72.0, 74.0)[:seeds], (71.0, 74.0, 77.0)[:seeds]), path)
    with Image.open(path) as image:
        assert image.width >= 1000 and image.height >= 500
        colors = image.convert("RGB").getcolors(2**24)
        assert colors is not None and len(colors) > 50
