"""Reading one image file: any common format and mode becomes 8-bit RGB, anything bad one clear line."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mscsa_runtime.errors import Unusable

T = TypeVar("T")

Source = str | Path | bytes
"""An image file, or what one holds."""

# Formats are named, because Pillow would otherwise try all it knows, some of which run other
# programs (EPS runs Ghostscript).
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
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
_WHITE = 255
_DEPTHS = (8, 10, 12, 14, 16)
_TOO_MUCH_TEXT = ("MAX_TEXT_CHUNK", "text chunks")  # of Pillow's messages

_ORIENTATION, _PHOTOMETRIC, _BITS, _COMPRESSION, _PLANES = 0x0112, 0x0106, 0x0102, 0x0103, 0x011C
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two of BigTIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the stored image upright."""

_SAME_SIDES = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM)
_PNG_EXIF = (b"eXIf", b"exif", b"rientation")  # the block, a text that holds one, XMP


# Pillow logs it, without the file's name, and then raises: the file is refused by name.
logging.getLogger("PIL.TiffImagePlugin").addFilter(
    lambda record: not str(record.msg).startswith("More samples per pixel than can be decoded")
)


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return name.lower().endswith(EXTENSIONS)


class BadImage(Unusable):
    """A file that gives no image."""


def decode_image(path: Source, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image, a file or what one holds, as 8-bit RGB, upright.

    EXIF orientation is applied; transparent images (RGBA, grey + alpha, palette with a transparent
    colour) are laid over white, but for TIFF, whose fourth band is seldom opacity, whatever it is marked as;
    CMYK and the like are converted; values of up to 16 bits are scaled to 8 by the depth that the largest one
    needs (8, 10, 12, 14 or 16 bits), since cameras fill 16 bits seldom; of an animation the first frame is
    taken.

    Raises:
        BadImage: If the file cannot be read, is no image of a supported format, is damaged, or is
            larger than `max_pixels` by its header, which is checked before anything is decoded.
    """

    def read(image: Image.Image) -> Image.Image:
        if image.format == "TIFF":
            _take_bands_as_they_are(image)
        is_deep = _has_deep_colour(image)
        image.load()
        turn = turn_of(image)
        pixels = _with_all_bits(image, path) if is_deep else _with_white_on_top(image)
        return _to_rgb(pixels if turn is None else pixels.transpose(turn), image.format)

    return read_file(path, read, max_pixels=max_pixels)


def image_size(path: str | Path) -> tuple[int, int]:
    """Give (W, H) of an image as `decode_image` turns it, in pixels, by its header alone where that says it.

    Raises:
        BadImage: In the cases that `decode_image` names, but for damaged pixels.
    """

    def read(image: Image.Image) -> tuple[int, int]:
        if image.format == "TIFF":  # which Pillow turns itself
            return image.size
        # Pillow decodes a PNG to look for a block behind its pixels, which few have.
        if image.format == "PNG" and not _may_have_exif(Path(path).read_bytes()):
            return image.size
        turn = turn_of(image)
        return image.size if turn is None or turn in _SAME_SIDES else image.size[::-1]

    return read_file(path, read)


def read_file(
    path: Source,
    read: Callable[[Image.Image], T],
    *,
    formats: tuple[str, ...] = tuple(FORMATS),
    max_pixels: int = MAX_PIXELS,
) -> T:
    """Open an image file and read something from it.

    Args:
        path: The file, or its content.
        read: Given Pillow's image, not loaded yet.
        formats: Pillow's names of the formats that are allowed.
        max_pixels: Most pixels by the file's header, which is checked before `read`.
    Raises:
        BadImage: If the file cannot be read, is of another format, damaged, or too large.
    """

    def read_from(source: str | Path | IO[bytes]) -> T:
        with Image.open(source, formats=formats) as image:
            _check_size(image.size, max_pixels)
            if image.format == "TIFF":
                # By the name Pillow maps pixels from the disk, with the sides of the upright image.
                image.filename = ""
            return read(image)

    with warnings.catch_warnings():
        # Pillow warns, without the file's name, of broken EXIF blocks and of large images; the
        # former do not matter, the latter are refused below.
        warnings.simplefilter("ignore")
        try:
            return _whatever_its_text(path, read_from)
        except Unusable:
            raise
        except Image.DecompressionBombError as error:
            raise BadImage(
                f"more than the allowed {max_pixels} pixels by its header", "remove or shrink it"
            ) from error
        except UnidentifiedImageError as error:
            raise _not_an_image(path, formats) from error
        except OSError as error:
            # An OSError with a number is the system's (missing, no permission, a folder); without
            # one it is Pillow's word for damaged data.
            if error.errno == errno.EISDIR:
                raise BadImage(
                    "is a directory", f"give the images in it, such as {os.fsdecode(path)}/*.jpg"
                ) from error
            if error.errno is not None:
                reason = (error.strerror or "cannot be read").lower()
                raise BadImage(reason, "check the path and its permissions") from error
            raise _damaged(error) from error
        except Exception as error:
            # On damaged bytes the decoders raise nearly anything: SyntaxError, struct.error, ...
            raise _damaged(error) from error


def _whatever_its_text(path: Source, read: Callable[[str | Path | IO[bytes]], T]) -> T:
    """Read a file, and a PNG whose texts Pillow refuses without them."""
    try:
        return read(io.BytesIO(path) if isinstance(path, bytes) else path)
    except ValueError as error:
        if not any(word in str(error) for word in _TOO_MUCH_TEXT):
            raise
        return read(io.BytesIO(_without_text(_content(path))))


def _without_text(data: bytes) -> bytes:
    """Leave out the texts and the colour profile of a PNG, which Pillow refuses where they are long."""
    kept, place = [data[:8]], 8
    while place + 8 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _take_bands_as_they_are(image: Any) -> None:
    """Make Pillow read the colours of a TIFF alone: it divides them by a band that is marked as opacity.

    And keep it from taking planes of 16 bits, one for each colour, for planes of 8.
    """
    if image.mode not in ("RGB", "RGBA"):
        return
    image._mode = "RGB"  # Pillow divides compressed planes by this alone, whatever the bands are called
    end, other = "", "" if image.tag_v2.get(_PLANES) == 2 else "X"
    if set(image.tag_v2.get(_BITS, ())) == {16}:
        end = ";16L" if image.tag_v2.prefix == b"II" else ";16B"
    image.tile = [tile for tile in image.tile if str(tile.args[0])[0] in "RGB"]  # no plane of another band
    _rename_bands(image, lambda raw: f"{raw}{end}" if len(raw) == 1 else re.sub("[aAX]", other, raw))


def _rename_bands(image: Any, change: Callable[[str], str]) -> None:
    """Change what Pillow takes the bytes of a TIFF's pixels for, as `RGB;16L`."""
    image.tile = [
        tile._replace(args=(change(str(tile.args[0])), *tile.args[1:]))
        if isinstance(tile.args, tuple) and tile.args
        else tile
        for tile in image.tile
    ]


def _may_have_exif(data: bytes) -> bool:
    return any(word in data for word in _PNG_EXIF)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Say how an image is to be turned, by its EXIF orientation; None if it stands upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged block: the decoder's errors are of any kind
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


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


def _content(path: Source) -> bytes:
    return path if isinstance(path, bytes) else Path(path).read_bytes()


def _start(path: Source) -> bytes:
    if isinstance(path, bytes):
        return path[:4]
    with Path(path).open("rb") as file:  # which may be of gigabytes
        return file.read(4)


def _not_an_image(path: Source, formats: Sequence[str]) -> BadImage:
    if (len(path) if isinstance(path, bytes) else Path(path).stat().st_size) == 0:
        return BadImage("empty file", "remove or replace it")
    if "TIFF" in formats and _start(path) in _TIFF_MARKS:
        return BadImage(
            "a TIFF in a form that cannot be read (number of bands, or depth), or its header is damaged",
            "save it with one or three bands of 8 or 16 bits",
        )
    names = ", ".join("WebP" if name == "WEBP" else name for name in formats)
    return BadImage(
        f"not an image of a supported format ({names}), or its header is damaged",
        "remove or replace it",
    )


def _damaged(error: Exception) -> BadImage:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BadImage(f"damaged or truncated image ({reason})", "remove or replace it")


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image, file_format)
    if file_format == "TIFF" and image.mode in _ALPHA_MODES:
        return Image.merge("RGB", image.convert("RGBA").split()[:3])
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _with_white_on_top(image: Any) -> Image.Image:
    """Turn the grey of a TIFF of 16 bits in which 0 is white; Pillow does so for 8 bits alone."""
    if image.format != "TIFF" or not image.mode.startswith("I;16") or image.tag_v2.get(_PHOTOMETRIC) != 0:
        return cast(Image.Image, image)
    most = (1 << image.tag_v2[_BITS][0]) - 1
    return Image.fromarray((most - np.asarray(image)).astype(np.uint16))


def _has_deep_colour(image: Any) -> bool:
    """Whether an image that is not loaded yet has colours of 16 bits, of which Pillow keeps the upper 8."""
    raw = str(image.tile[0].args) if image.tile else ""
    return image.mode in ("RGB", "RGBA") and ";16" in raw


def _with_all_bits(image: Image.Image, path: Source) -> Image.Image:
    """Scale colours of 16 bits by the depth that their largest value needs, as grey is.

    Args:
        image: By its upper 8 bits, which suffice if they are filled.
    """
    most = max(high for _, high in image.getextrema()[:3])  # type: ignore[misc]
    if most >= 1 << (_DEPTHS[-2] - 8):
        return image
    values = _deep_values(path) if image.format == "PNG" else _deep_tiff(image, path)
    if values is None:
        raise BadImage(
            f"colours of {8 + most.bit_length()} bits or less in 16, of which the upper 8 alone can be read",
            "convert it to 8 bits, or to PNG of 16",
        )
    colours = _scaled(values[..., :3])
    bands = [colours, values[..., 3:] >> 8] if image.mode == "RGBA" else [colours]
    return Image.fromarray(np.concatenate(bands, axis=-1).astype(np.uint8))


def _deep_values(path: Source) -> NDArray[np.int32] | None:
    """Read a PNG of 16 bits whole, (H, W, 3 or 4); None where torchvision, which can, is not installed."""
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_png
    except ModuleNotFoundError:
        return None
    data = torch.frombuffer(bytearray(_content(path)), dtype=torch.uint8)
    values: NDArray[np.int32] = decode_png(data, ImageReadMode.UNCHANGED).int().permute(1, 2, 0).numpy()
    return values


def _deep_tiff(image: Any, path: Source) -> NDArray[np.int32] | None:
    """Read a TIFF of 16 bits whole, (H, W, 3 or 4); None where it has compressed planes.

    Args:
        image: By its upper 8 bits.
    """
    if image.tag_v2.get(_PLANES) == 2 and image.tag_v2.get(_COMPRESSION, 1) != 1:
        return None  # libtiff, which decodes them, chooses the bytes by itself
    swapped = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}

    def lower(opened: Image.Image) -> NDArray[np.int32]:
        # The upper byte of the other order is the lower one of this.
        _take_bands_as_they_are(opened)
        _rename_bands(opened, lambda raw: raw[:-1] + swapped[raw[-1]] if ";16" in raw else raw)
        return np.asarray(opened).astype(np.int32)

    low = read_file(path, lower, formats=("TIFF",), max_pixels=image.width * image.height)
    return np.asarray(image).astype(np.int32) << 8 | low


def _scaled(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring values of up to 16 bits to 8, by the depth that the largest needs."""
    bits = next(each for each in _DEPTHS if values.max(initial=0) < 2**each)
    return np.rint(values * (255.0 / (2**bits - 1))).astype(np.uint8)


def _to_8_bit(image: Image.Image, file_format: str | None) -> Image.Image:
    """Scale grey of up to 16 bits to 8; Pillow's own conversion would clip at 255."""
    # Pillow holds 16-bit PPM in 32-bit mode I; a TIFF of that mode has really 32 bits.
    if image.mode == "F" or (image.mode == "I" and file_format == "TIFF"):
        raise BadImage("grey values of 32 bits have no fixed range", "convert it to 8 or 16 bits")
    values = np.asarray(image)
    grey = _scaled(values)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = _WHITE
    return Image.fromarray(grey)
