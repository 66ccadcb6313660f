"""Images are read without torch; what formats come out as: tests/data/test_images.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa_runtime.images import BadImage, decode_image, image_size


def test_an_image_is_rgb_and_a_bad_one_says_what_to_do(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 7).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.png").getpixel((0, 0)) == (7, 7, 7)
    assert image_size(tmp_path / "a.png") == (4, 3)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(BadImage) as caught:
        decode_image(tmp_path / "b.png")
    assert (caught.value.what, caught.value.remedy) == ("empty file", "remove or replace it")
