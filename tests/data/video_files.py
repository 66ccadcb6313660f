"""Small videos: each frame has a grey of its own, so that frames can be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


def write_clip(
    path: Path, frames: int = 30, *, size: tuple[int, int] = (64, 48), codec: str = "libx264", **options: str
) -> Path:
    """Write frames of 10 a second: grey by number, the upper left quarter white, noise below."""
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "1"} if codec == "libx264" else {"qscale": "1"}
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), 8 * number, np.uint8)
            pixels[: size[1] // 4, : size[0] // 2] = 255
            noise = np.random.default_rng(number).integers(0, 256, (size[1] // 4, size[0], 1), np.uint8)
            pixels[-(size[1] // 4) :] = noise
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def grey_of(image: Image.Image) -> float:
    """Give the grey of a frame, of the part that is its number's."""
    pixels = np.asarray(image, np.float32)
    height, width = pixels.shape[:2]
    return float(pixels[height // 3 : height // 2, width // 4 : -width // 4].mean())
