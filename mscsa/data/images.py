"""Reading one image file: whatever it is, it becomes 8-bit RGB, or one clear line."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mscsa.errors import UnreadableImage
from mscsa_runtime.images import MAX_PIXELS, BadImage, decode_image


def load_image(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, content: bytes | None = None
) -> Image.Image:
    """Read an image file as `mscsa_runtime.images.decode_image` does.

    Args:
        path: The file; what messages name, where its content is given.
        max_pixels: Most pixels by its header.
        content: What it holds, of one that lies in another file.

    Raises:
        UnreadableImage: In the cases that are named there.
    """
    try:
        return decode_image(path if content is None else content, max_pixels)
    except BadImage as bad:
        raise UnreadableImage(f"{path}: {bad.what}; {bad.remedy}") from bad
