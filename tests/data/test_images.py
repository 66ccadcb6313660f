"""Reading images: every common mode comes out right, every bad file as one line with its name."""

import io
import os
import struct
import warnings
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from mscsa.data.images import load_image
from mscsa.errors import UserError
from mscsa_runtime.images import BadImage, image_size

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8))
FORMATS = [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("GIF", "gif"),
           ("TIFF", "tif"), ("PPM", "ppm")]  # fmt: skip


def saved(image, path, **options):
    image.save(path, **options)
    return path


def refusal(path, **options):
    """The one line with which a file is refused; warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            load_image(path, **options)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and "; " in line
    return line


@pytest.mark.parametrize(("format_", "extension"), FORMATS)
def test_every_named_format_is_read(tmp_path, format_, extension):
    image = load_image(saved(NOISE, tmp_path / f"a.{extension}", format=format_))
    assert (image.mode, image.size) == ("RGB", (80, 60))
    if format_ in ("PNG", "BMP", "TIFF", "PPM"):
        assert np.array_equal(image, NOISE)


@pytest.mark.parametrize(("format_", "extension"), FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(tmp_path, format_, extension, share):
    buffer = io.BytesIO()
    NOISE.save(buffer, format_)
    path = tmp_path / f"cut.{extension}"
    path.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "empty file"),
        ("text.jpg", b"this is a text\n" * 20, "not an image of a supported format"),
        ("page.png", b"<html><body>404</body></html>", "not an image of a supported format"),
        ("zeros.jpg", bytes(4096), "not an image of a supported format"),
        ("start.jpg", b"\xff\xd8\xff\xe0", "damaged"),
        ("start.png", b"\x89PNG\r\n\x1a\n", "damaged"),
    ],
)
def test_no_image(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    assert reason in refusal(path)


def test_damaged_bytes_in_the_middle_never_escape_as_another_exception(tmp_path):
    for format_, extension in FORMATS:
        buffer = io.BytesIO()
        NOISE.save(buffer, format_)
        for trial in range(40):
            data = bytearray(buffer.getvalue())
            for place in RNG.integers(0, min(len(data), 400), 6):
                data[place] = RNG.integers(256)
            path = tmp_path / f"{trial}.{extension}"
            path.write_bytes(data)
            try:
                assert load_image(path, max_pixels=10**6).mode == "RGB"
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_missing_folder_and_unreadable(tmp_path, monkeypatch):
    assert "no such file" in refusal(tmp_path / "none.jpg")
    assert "is a directory; give the images in it, such as " in refusal(tmp_path)
    link = tmp_path / "link.jpg"
    link.symlink_to(tmp_path / "gone.jpg")
    assert "no such file" in refusal(link)
    locked = saved(NOISE, tmp_path / "locked.png")
    locked.chmod(0)
    if os.access(locked, os.R_OK):  # root reads everything: let the system call refuse instead

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied", str(locked))

        monkeypatch.setattr(Image, "open", refuse)
    assert "permission denied" in refusal(locked)


def png_header_of(width, height):
    """A PNG of a given size by its header, with hardly any data behind it."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 9_000), (30_000, 30_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header_of(*size))

    def decode(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    assert "more than the allowed 89478485 pixels" in refusal(path)


def test_the_limit_is_the_callers(tmp_path):
    path = saved(NOISE, tmp_path / "a.png")
    assert "80x60 is more than the allowed 4799 pixels" in refusal(path, max_pixels=4799)
    assert load_image(path, max_pixels=4800).size == (80, 60)


def test_a_strip_that_resizing_would_blow_up_is_refused(tmp_path):
    assert "201x1" in refusal(saved(Image.new("RGB", (201, 1)), tmp_path / "strip.png"))
    assert load_image(saved(Image.new("RGB", (200, 1)), tmp_path / "ok.png")).size == (200, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = (255, 0, 0)
    upright[:8, 16:] = (0, 255, 0)
    upright[8:, :16] = (0, 0, 255)
    stored = {  # what a camera writes for each value, so that a viewer shows `upright`
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright, 1), 7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_image(path), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_tiff_on_its_side_keeps_its_pixels(tmp_path, mode, orientation):
    """Uncompressed ones, too, whose pixels Pillow would map from the disk."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    shape = (6, 9) + ((len(mode),) if mode.startswith("RGB") else ())
    values = RNG.integers(0, 256, shape, dtype=np.uint8)
    values.flat[0] = 255
    stored = values.astype(np.uint16) * 257 if mode == "I;16" else values
    loaded = load_image(saved(Image.fromarray(stored), tmp_path / "a.tif", exif=exif))
    grey = values if values.ndim == 2 else values[..., 0]
    saved(Image.fromarray(grey), tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(loaded)[..., 0], np.asarray(load_image(tmp_path / "a.png"))[..., 0])


def test_broken_exif_does_not_lose_the_image(tmp_path):
    path = saved(NOISE, tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(path).size == (80, 60)


def test_cmyk_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (32, 32), (220, 20, 30))
    path = saved(red.convert("CMYK"), tmp_path / "a.jpg", quality=95)
    with Image.open(path) as written:
        assert written.mode == "CMYK"
    assert np.allclose(load_image(path), (220, 20, 30), atol=6)


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path, extension):
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    path = tmp_path / f"a.{extension}"
    if extension == "pgm":
        path.write_bytes(b"P5 16 16 65535\n" + ramp.astype(">u2").tobytes())
    else:
        Image.fromarray(ramp).save(path)
    grey = np.asarray(load_image(path))
    assert grey.shape == (16, 16, 3)
    assert np.array_equal(grey[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_grey_without_a_fixed_range_is_refused(tmp_path, dtype):
    path = saved(Image.fromarray(np.ones((8, 8), dtype)), tmp_path / "a.tif")
    assert "no fixed range" in refusal(path)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey(tmp_path, mode):
    image = Image.new(mode, (10, 10), 1 if mode == "1" else 77)
    assert np.all(np.asarray(load_image(saved(image, tmp_path / "a.png"))) == (255, 77)[mode == "L"])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    image = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    image.paste((40, 40, 40, 255), (0, 0, 5, 10))
    pixels = np.asarray(load_image(saved(image.convert(mode), tmp_path / "a.png")))
    assert np.all(pixels[:, :5] == 40) and np.all(pixels[:, 5:] == 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_a_transparent_value(tmp_path, dtype):
    values = np.full((10, 11), 0, dtype)
    values[:, :5] = 40 * (np.iinfo(dtype).max // 255)
    values[:, 10] = np.iinfo(dtype).max
    path = saved(Image.fromarray(values), tmp_path / "a.png", transparency=0)
    pixels = np.asarray(load_image(path))
    assert np.all(pixels[:, :5] == 40) and np.all(pixels[:, 5:] == 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_in_which_0_is_white(tmp_path, dtype):
    values = np.linspace(0, np.iinfo(dtype).max, 100, dtype=dtype).reshape(10, 10)
    shown = np.asarray(load_image(saved(Image.fromarray(values), tmp_path / "a.tif")))
    stored = values if dtype == np.uint8 else ~values  # Pillow turns 8 bits itself
    white_is_zero = saved(Image.fromarray(stored), tmp_path / "b.tif", tiffinfo={262: 0})
    with Image.open(white_is_zero) as image:
        assert image.tag_v2[262] == 0
    assert np.array_equal(load_image(white_is_zero), shown)


@pytest.mark.parametrize("extension", ["png", "gif"])
def test_palette_with_a_transparent_colour(tmp_path, extension):
    image = Image.new("P", (10, 10), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 5, 10))
    path = saved(image, tmp_path / f"a.{extension}", transparency=0)
    pixels = np.asarray(load_image(path))
    assert np.all(pixels[:, :5] == (200, 100, 50)) and np.all(pixels[:, 5:] == 255)
    plain = np.asarray(load_image(saved(image, tmp_path / f"b.{extension}")))
    assert np.all(plain[:, 5:] == (10, 20, 30))


@pytest.mark.parametrize(("format_", "extension"), [("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, format_, extension):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"a.{extension}"
    frames[0].save(path, format_, save_all=True, append_images=frames[1:])
    assert np.allclose(load_image(path), (255, 0, 0), atol=3)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_fewer_bits_in_16_is_not_black(tmp_path, bits):
    """Cameras and microscopes write 12 bits into files of 16."""
    ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    for extension in ("png", "tif"):
        grey = np.asarray(load_image(saved(Image.fromarray(ramp), tmp_path / f"a.{extension}")))
        assert np.allclose(grey[..., 0].ravel(), np.arange(256), atol=1)


def tiff_of_four_bands(pixels, extra):
    """An uncompressed TIFF of 8-bit RGB and one more band, marked by `extra`: 0 nothing, 1 and 2 opacity."""
    height, width, bands = pixels.shape
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, 0), (259, 3, 1, 1), (262, 3, 1, 2),
               (273, 4, 1, 0), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, pixels.size),
               (338, 3, 1, extra)]  # fmt: skip
    places = {258: 8 + 2 + 12 * len(entries) + 4}
    places[273] = places[258] + 2 * bands
    body = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        value = places.get(tag, value)
        body += (
            struct.pack("<HHIHH", tag, kind, count, value, 0)
            if kind == 3 and count == 1
            else struct.pack("<HHII", tag, kind, count, value)
        )
    return (
        b"II*\x00"
        + struct.pack("<I", 8)
        + body
        + bytes(4)
        + struct.pack("<4H", *[8] * bands)
        + pixels.tobytes()
    )


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_the_fourth_band_of_a_tiff_is_no_opacity(tmp_path, extra):
    """Near infrared, for one, which GDAL marks as opacity by default."""
    pixels = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of_four_bands(pixels, extra))
    assert np.array_equal(load_image(path), pixels[..., :3])


def test_a_bad_tag_beside_the_orientation_does_not_matter(tmp_path):
    """A resolution of 0/0: the image is sound, and upright."""
    zero = struct.pack("<HHII", 0x011A, 5, 1, 8 + 2 + 2 * 12 + 4)
    block = b"II*\x00\x08\x00\x00\x00\x02\x00" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + zero + bytes(12)
    path = saved(NOISE, tmp_path / "a.jpg", exif=b"Exif\x00\x00" + block)
    assert load_image(path).size == (60, 80)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize("is_before", [True, False])
def test_a_long_text_does_not_lose_the_image(tmp_path, kind, is_before):
    content = {
        b"zTXt": b"key\x00\x00" + zlib.compress(b"x" * 3_000_000),
        b"iTXt": b"key\x00\x01\x00\x00\x00" + zlib.compress(b"x" * 3_000_000),
        b"iCCP": b"profile\x00\x00" + zlib.compress(b"x" * 3_000_000),
    }[kind]
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    data = saved(NOISE, tmp_path / "a.png").read_bytes()
    place = 33 if is_before else len(data) - 12  # behind the header, or before the end
    (tmp_path / "a.png").write_bytes(data[:place] + chunk + data[place:])
    assert np.array_equal(load_image(tmp_path / "a.png"), NOISE)


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 77])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_size_is_that_of_the_image_as_it_is_loaded(tmp_path, ending, orientation):
    path = tmp_path / f"image.{ending}"
    image = Image.new("RGB", (30, 20))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    assert image_size(path) == load_image(path).size
    assert image_size(path) == ((20, 30) if orientation in (5, 6, 7, 8) else (30, 20))


def test_the_size_of_a_png_is_read_without_decoding_it(tmp_path):
    """A PNG without EXIF whose pixels are damaged still says its size; no image is named as by reading it."""
    path = tmp_path / "image.png"
    Image.effect_noise((90, 70), 50).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert image_size(path) == (90, 70)
    path.write_bytes(b"")
    with pytest.raises(BadImage) as caught:
        image_size(path)
    assert caught.value.what == "empty file"


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a colour, (H, W, 3) or (H, W, 4), which Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        length, check = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(kind + content))
        return length + kind + content + check

    height, width, bands = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("bands", [3, 4])
def test_colours_of_few_bits_in_16_are_not_black(tmp_path: Path, bits: int, bands: int) -> None:
    """Microscopes and scanners write 12 bits; Pillow alone keeps the upper 8 of 16."""
    most = 2**bits - 1
    values = np.array([[(0, most // 2, most), (most, 0, most // 4)]])
    if bands == 4:
        values = np.concatenate([values, np.full((1, 2, 1), 65535)], axis=2)
    (tmp_path / "a.png").write_bytes(deep_png(values))
    pixels = np.asarray(load_image(tmp_path / "a.png")).astype(int)
    assert np.abs(pixels - values[..., :3] * 255 / most).max() <= 1


def test_a_black_image_of_16_bits_is_black(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(deep_png(np.zeros((2, 3, 3), int)))
    assert not np.asarray(load_image(tmp_path / "a.png")).any()


def tiff(
    values: np.ndarray,
    order: str = "<",
    *,
    planes: bool = False,
    packed: bool = False,
    extra: tuple[int, ...] = (),
) -> bytes:
    """A TIFF of colours, (H, W, bands), in one strip, or in a plane for each band; `extra` marks the last."""
    height, width, bands = values.shape
    bits = 8 * values.dtype.itemsize
    parts = values.transpose(2, 0, 1) if planes else values[None]
    strips = [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    offsets = [8 + len(b"".join(strips[:i])) for i in range(len(strips))]
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * bands),
               (259, 3, [8 if packed else 1]),
               (262, 3, [2 if bands > 2 else 1]), (273, 4, offsets), (277, 3, [bands]), (278, 4, [height]),
               (279, 4, [len(strip) for strip in strips]), (284, 3, [2 if planes else 1])]  # fmt: skip
    entries += [(338, 3, list(extra))] if extra else []
    start = 8 + len(b"".join(strips))
    table, behind = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, given in entries:
        content = struct.pack(f"{order}{len(given)}{'H' if kind == 3 else 'I'}", *given)
        table += struct.pack(f"{order}HHI", tag, kind, len(given))
        if len(content) > 4:
            table += struct.pack(f"{order}I", start + 2 + 12 * len(entries) + 4 + len(behind))
            behind += content
        else:
            table += content.ljust(4, b"\0")
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    return header + b"".join(strips) + table + bytes(4) + behind


@pytest.mark.parametrize("most", [1, 255, 1023, 4095, 40000, 65535])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("planes", "packed"), [(False, False), (False, True), (True, False)])
def test_a_tiff_of_few_bits_in_16_is_not_black(
    tmp_path: Path, most: int, order: str, planes: bool, packed: bool
) -> None:
    """Of 8 bits or fewer in 16 Pillow sees zeros alone, and of planes of 16 bits every other byte."""
    values = np.random.default_rng(most).integers(0, most + 1, (9, 7, 3)).astype(np.uint16)
    values[0, 0, 0] = most
    (tmp_path / "a.tif").write_bytes(tiff(values, order, planes=planes, packed=packed))
    pixels = np.asarray(load_image(tmp_path / "a.tif")).astype(int)
    bits = next(each for each in (8, 10, 12, 14, 16) if most < 2**each)
    assert np.abs(pixels - values * (255 / (2**bits - 1))).max() <= 1


FOUR_PLANES = [
    (dtype, extra, packed)
    for dtype, extra, packed in product((np.uint8, np.uint16), ((), (0,), (1,), (2,)), (False, True))
    if (dtype, extra, packed) != (np.uint8, (0,), False)  # which Pillow cannot open
]


@pytest.mark.parametrize(("dtype", "extra", "packed"), FOUR_PLANES)
def test_the_fourth_plane_of_a_tiff_is_no_opacity(
    tmp_path: Path, dtype: type, extra: tuple[int, ...], packed: bool
) -> None:
    """Where it may be one Pillow cannot read it, or divides the colours by it, if compressed."""
    values = RNG.integers(0, np.iinfo(dtype).max + 1, (9, 7, 4)).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(values, planes=True, packed=packed, extra=extra))
    pixels = np.asarray(load_image(tmp_path / "a.tif")).astype(int)
    assert np.abs(pixels - values[..., :3] / (np.iinfo(dtype).max / 255)).max() <= 1


def test_a_black_tiff_of_16_bits_is_black(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(np.zeros((2, 3, 3), np.uint16)))
    assert not np.asarray(load_image(tmp_path / "a.tif")).any()


@pytest.mark.parametrize("most", [200, 4095])
def test_compressed_planes_of_few_bits_are_refused(tmp_path: Path, most: int) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.full((4, 5, 3), most, np.uint16), planes=True, packed=True))
    with pytest.raises(
        UserError, match=r"colours of \d+ bits or less in 16.*convert it to 8 bits, or to PNG"
    ):
        load_image(path)
    path.write_bytes(tiff(np.full((4, 5, 3), 40000, np.uint16), planes=True, packed=True))
    assert np.asarray(load_image(path)).max() == 40000 >> 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [2, 8])
def test_a_tiff_of_other_bands_says_what_it_is(
    tmp_path: Path, bands: int, dtype: type, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.full((4, 5, bands), 9, dtype)))
    line = refusal(path)
    assert "a TIFF in a form that cannot be read (number of bands, or depth)" in line
    assert "save it with one or three bands of 8 or 16 bits" in line and not caplog.records
