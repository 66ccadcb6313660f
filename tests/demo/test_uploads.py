"""Whatever is uploaded becomes a bounded RGB image, or one line that names the file without its folder."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.demo.uploads import LARGEST_SIDE, Limits, read_upload
from mscsa.errors import UserError
from tests.demo.shown import save_image


def test_an_image_is_read_as_it_is(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", 0, (30, 20))
    upload = read_upload(path, Limits())
    assert upload.says == "a.png, 30x20 px"
    assert np.array_equal(np.asarray(upload.image), np.asarray(Image.open(path)))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "I;16"])
def test_all_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    if mode == "I;16":
        Image.fromarray(np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)).save(path)
    else:
        Image.linear_gradient("L").resize((30, 20)).convert(mode).save(path)
    image = read_upload(path, Limits()).image
    assert (image.mode, image.size) == ("RGB", (30, 20))
    assert np.asarray(image).std() > 30  # a gradient still, not clipped to white


def bomb(path: Path, side: int) -> Path:
    """Write the header of a square grey PNG of that side, and nothing of its pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    end = b"IEND"
    parts = [head, b"IDAT" + zlib.compress(b"\0" * 100), end]
    chunks = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def refusal(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_upload(path, limits or Limits())
    line = str(caught.value)
    assert line.startswith(f"{path.name}: ") and "\n" not in line and str(path.parent) not in line
    return line


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("no image")
    empty.write_bytes(b"")
    cut = save_image(tmp_path / "cut.png", 0, (200, 200))
    cut.write_bytes(cut.read_bytes()[:5000])
    assert "not an image of a supported format" in refusal(text)
    assert "empty file" in refusal(empty)
    assert "damaged or truncated" in refusal(cut)
    assert "upload it again" in refusal(tmp_path / "gone.png")


def test_what_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.png", 50_000)  # 2.5 gigapixels
    assert "more than the allowed 40000000 pixels" in refusal(path)
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(b"\0" * (2**20 + 1))
    assert "1 MB are allowed" in refusal(heavy, Limits(megabytes=1))
    just = save_image(tmp_path / "just.png", 0, (1000, 1000))
    assert read_upload(just, Limits(megapixels=1)).image.size == (1000, 1000)
    assert "allowed 1000000 pixels" in refusal(save_image(just, 0, (1001, 1000)), Limits(megapixels=1))
    for wrong in ({"megabytes": 0}, {"megapixels": -1}):
        with pytest.raises(UserError, match="give 1 or more"):
            Limits(**wrong)


def test_a_large_photograph_is_brought_to_a_size_that_models_can_be_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (2 * LARGEST_SIDE, 1000)).save(path)
    upload = read_upload(path, Limits())
    assert upload.image.size == (LARGEST_SIDE, 500)
    assert upload.says == f"wide.png, {2 * LARGEST_SIDE}x1000 px, taken at {LARGEST_SIDE}x500"
