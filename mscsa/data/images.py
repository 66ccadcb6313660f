"""Reading one image file: any common format and mode becomes 8-bit RGB, anything bad one clear line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mscsa.data.problems import Unusable
from mscsa.errors import UserError

# Formats are named, because Pillow would otherwise try all it knows, some of which run other
# programs (EPS runs Ghostscript).
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
}
"""Pillow's name of each accepted format, and its file extensions."""

EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)
"""Lower-case extensions of the files that an image folder reads."""

MAX_PIXELS = 89_478_485
"""Largest image that is decoded by default: 256 MiB as RGB, Pillow's own first limit."""

_MAX_ASPECT = 200
# Beyond it, resizing the short side to the input size would need gigabytes for the long one.

_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
_FORMAT_NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, PPM"


class BadImage(Unusable):
    """A file that gives no image."""


def load_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image file as 8-bit RGB, upright.

    EXIF orientation is applied; transparent images (RGBA, grey + alpha, palette with a transparent
    colour) are laid over white; CMYK and the like are converted; 16-bit grey is scaled to 8 bits;
    of an animation the first frame is taken.

    Raises:
        UserError: If the file cannot be read, is no image of a supported format, is damaged, or is
            larger than `max_pixels` by its header, which is checked before anything is decoded.
    """
    try:
        return decode_image(path, max_pixels)
    except BadImage as bad:
        raise UserError(f"{path}: {bad.what}; {bad.remedy}") from bad


def decode_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image file as `load_image` does.

    Raises:
        BadImage: In the cases that `load_image` names.
    """
    with warnings.catch_warnings():
        # Pillow warns, without the file's name, of broken EXIF blocks and of large images; the
        # former do not matter, the latter are refused below.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=tuple(FORMATS)) as image:
                _check_size(image.size, max_pixels)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image), image.format)
        except BadImage:
            raise
        except Image.DecompressionBombError as error:
            raise BadImage(
                f"more than the allowed {max_pixels} pixels by its header", "remove or shrink it"
            ) from error
        except UnidentifiedImageError as error:
            raise _not_an_image(path) from error
        except OSError as error:
            # An OSError with a number is the system's (missing, no permission, a folder); without
            # one it is Pillow's word for damaged data.
            if error.errno is not None:
                reason = (error.strerror or "cannot be read").lower()
                raise BadImage(reason, "check the path and its permissions") from error
            raise _damaged(error) from error
        except Exception as error:
            # On damaged bytes the decoders raise nearly anything: SyntaxError, struct.error, ...
            raise _damaged(error) from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadImage(
            f"{width}x{height} is more than the allowed {max_pixels} pixels", "remove or shrink it"
        )
    if max(size) > _MAX_ASPECT * min(size):
        raise BadImage(
            f"{width}x{height} is longer than {_MAX_ASPECT} times its short side",
            "remove or crop it",
        )


def _not_an_image(path: str | Path) -> BadImage:
    if Path(path).stat().st_size == 0:
        return BadImage("empty file", "remove or replace it")
    return BadImage(
        f"not an image of a supported format ({_FORMAT_NAMES}), or its header is damaged",
        "remove or replace it",
    )


def _damaged(error: Exception) -> BadImage:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BadImage(f"damaged or truncated image ({reason})", "remove or replace it")


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image, file_format)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image, file_format: str | None) -> Image.Image:
    """Scale grey of 16 bits (0..65535) to 8; Pillow's own conversion would clip at 255."""
    # Pillow holds 16-bit PPM in 32-bit mode I; a TIFF of that mode has really 32 bits.
    if image.mode == "F" or (image.mode == "I" and file_format == "TIFF"):
        raise BadImage("grey values of 32 bits have no fixed range", "convert it to 8 or 16 bits")
    return Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
