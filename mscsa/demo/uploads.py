"""What a stranger uploads becomes an RGB image of bounded size, or one clear line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mscsa.errors import UserError
from mscsa_runtime.images import BadImage, decode_image

LARGEST_SIDE = 2048
"""Longest side in pixels that models are asked about, and that is shown: scores of a hundred classes for each
pixel of a photograph would be gigabytes."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest file that is taken."""

    megabytes: int = 20
    """2**20 bytes."""
    megapixels: int = 40
    """10**6 pixels by the file's header, which is read before anything is decoded."""

    def __post_init__(self) -> None:
        for name in ("megabytes", "megapixels"):
            if getattr(self, name) < 1:
                raise UserError(f"max_{name}={getattr(self, name)} given: give 1 or more")

    @property
    def bytes(self) -> int:
        """Of a file."""
        return self.megabytes * 2**20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An image that was read."""

    image: Image.Image
    """RGB, upright, no side above `LARGEST_SIDE`."""
    says: str
    """What it is, in one line."""


def read_upload(path: str | Path, limits: Limits) -> Upload:
    """Read an uploaded file, whatever its name says that it is.

    Raises:
        UserError: If it is too large, no image, or a damaged one; it names the file without its folder.
    """
    name = Path(path).name
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise UserError(f"{name}: is not there any more; upload it again") from error
    if size > limits.bytes:
        raise UserError(f"{name}: {size / 2**20:.1f} MB, {limits.megabytes} MB are allowed; shrink it")
    try:
        image = decode_image(path, limits.megapixels * 10**6)
    except BadImage as bad:
        raise UserError(f"{name}: {bad.what}; {bad.remedy}") from bad
    says = f"{name}, {image.width}x{image.height} px"
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        says += f", taken at {image.width}x{image.height}"
    return Upload(image=image, says=says)
