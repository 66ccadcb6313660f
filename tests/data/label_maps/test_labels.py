"""One label map: read as indices of classes, and refused where it holds something else."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.data.images import load_image
from mscsa.data.label_maps.known_tables import ade20k_table
from mscsa.data.label_maps.labels import BadLabels, check_labels, read_labels
from mscsa.data.label_maps.tables import LabelTable, plain_table

PLAIN = plain_table([f"class {i}" for i in range(16)])
ADE20K = ade20k_table(Path("nowhere"))
LABELS = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_indices_are_read_as_they_are(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(LABELS)
    if mode == "P":
        image.putpalette(list(range(256)) * 3)  # whatever colours stand for the indices
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == mode
    assert np.array_equal(read_labels(tmp_path / "a.png", PLAIN), LABELS)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_label_map_is_turned_as_an_image_is(tmp_path: Path, orientation: int, ending: str) -> None:
    """So that one that was saved with the metadata of its photograph fits it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, pixels in (("image", np.stack([LABELS] * 3, axis=2)), ("labels", LABELS)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.{ending}", exif=exif)
    upright = np.asarray(load_image(tmp_path / f"image.{ending}"))[..., 0]
    assert np.array_equal(read_labels(tmp_path / f"labels.{ending}", PLAIN), upright)


def test_ade20k_ignores_zero_and_counts_from_one(tmp_path: Path) -> None:
    Image.fromarray(LABELS + np.uint8(1)).save(tmp_path / "a.png")  # 255 + 1 wraps to 0
    assert np.array_equal(read_labels(tmp_path / "a.png", ADE20K), LABELS)


def save_gif(path: Path, labels: list[list[int]], palette: list[int] | None, *, optimize: bool) -> None:
    """Two frames of which the second is none of labels."""
    image = Image.fromarray(np.array(labels, np.uint8))
    if palette is not None:
        image.putpalette(palette)
    image.save(path, save_all=True, append_images=[Image.new("RGB", image.size, "red")], optimize=optimize)
    with Image.open(path) as written:
        assert written.n_frames == 2 and written.format == "GIF"


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("values", [{0: 0, 1: 1}, {0: 0, IGNORED: 1}, {IGNORED: 1, 0: 0, 7: IGNORED}])
def test_a_gif_of_two_classes_may_be_black_and_white(
    tmp_path: Path, values: dict[int, int], optimize: bool
) -> None:
    """As Carvana's masks, whatever the places that a program gives the two in its palette."""
    table = LabelTable(("road", "car"), tuple(values.items()))
    for mask in ([[0, 1], [1, 1]], [[1, 1]], [[0, 0]]):
        inverted = (1 - np.array(mask)).tolist()
        for labels, palette in ((mask, [0, 0, 0, 255, 255, 255]), (inverted, [255, 255, 255, 0, 0, 0])):
            save_gif(tmp_path / "a.gif", labels, palette, optimize=optimize)
            assert read_labels(tmp_path / "a.gif", table).tolist() == mask


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_white_of_a_gif_at_its_own_place_is_no_class_in_silence(tmp_path: Path, mode: str) -> None:
    """A mask that Pillow writes as 0 and 255, by its mode and size, is like a map with pixels to ignore."""
    image = Image.fromarray(np.full((600, 600), IGNORED, np.uint8)).convert(mode)
    image.paste(0, (0, 0, 300, 300))
    image.save(tmp_path / "a.gif", optimize=mode == "P")
    with pytest.raises(
        BadLabels, match="0 and 255 in a GIF, of which 255 may be a class or pixels to ignore"
    ):
        read_labels(tmp_path / "a.gif", plain_table(["road", "car"]))
    for table in (
        LabelTable(("road", "car"), ((IGNORED, 1), (0, 0))),
        LabelTable(("r", "c"), ((0, 0), (1, 1), (IGNORED, 1))),
    ):
        assert np.bincount(read_labels(tmp_path / "a.gif", table).ravel()).tolist() == [90000, 270000]


def test_a_gif_of_two_classes_may_have_pixels_to_ignore(tmp_path: Path) -> None:
    save_gif(tmp_path / "a.gif", [[0, 1, IGNORED]], None, optimize=False)
    assert read_labels(tmp_path / "a.gif", plain_table(["road", "car"])).tolist() == [[0, 1, IGNORED]]


@pytest.mark.parametrize("optimize", [False, True])
def test_a_gif_of_more_classes_is_read_by_grey_values_at_their_places(tmp_path: Path, optimize: bool) -> None:
    save_gif(tmp_path / "a.gif", [[0, 2], [1, 1]], None, optimize=optimize)
    assert read_labels(tmp_path / "a.gif", PLAIN).tolist() == [[0, 2], [1, 1]]


@pytest.mark.parametrize("optimize", [False, True])
def test_a_gif_is_read_by_the_colours_of_a_table(tmp_path: Path, optimize: bool) -> None:
    """Black is not the first class, though Pillow takes a GIF of black alone for grey."""
    colours = (((128, 64, 0), 0), ((9, 9, 99), 1), ((0, 0, 0), IGNORED))
    table = LabelTable(("sky", "road"), ((0, 0), (1, 1)), colours)
    palette = [channel for colour, _ in colours for channel in colour]
    for labels in ([[0, 1], [2, 1]], [[1, 1]], [[2, 2]]):
        save_gif(tmp_path / "a.gif", labels, palette, optimize=optimize)
        expected = np.where(np.array(labels) == 2, IGNORED, labels)
        assert np.array_equal(read_labels(tmp_path / "a.gif", table), expected)


@pytest.mark.parametrize(
    ("labels", "palette", "said"),
    [
        ([[0, 1], [2, 255]], None, "(0, 0, 0) at 0, (1, 1, 1) at 1, (2, 2, 2) at 2, ..."),
        ([[0, 255]], None, "(0, 0, 0) at 0, (255, 255, 255) at 1"),
        ([[1, 2]], None, "(1, 1, 1) at 0, (2, 2, 2) at 1"),
        ([[0, 2]], [0, 0, 0, 128, 64, 0, 9, 9, 99], "(0, 0, 0) at 0, (9, 9, 99) at 1"),
        ([[0, 2]], [0, 0, 0, 128, 128, 128, 255, 255, 255], "(0, 0, 0) at 0, (255, 255, 255) at 1"),
    ],
)
def test_a_gif_whose_palette_was_renumbered_is_refused(
    tmp_path: Path, labels: list[list[int]], palette: list[int] | None, said: str
) -> None:
    """Pillow puts the colours that are there in a row: a place is another class then."""
    save_gif(tmp_path / "a.gif", labels, palette, optimize=True)
    with pytest.raises(BadLabels) as caught:
        read_labels(tmp_path / "a.gif", PLAIN)
    assert f"a GIF whose palette tells no class ({said}): programs renumber it" in caught.value.what
    assert "class_dict.csv" in caught.value.remedy


def test_what_holds_no_indices_is_refused(tmp_path: Path) -> None:
    colours = np.stack([LABELS, LABELS, 255 - LABELS], axis=2)
    Image.fromarray(colours).save(tmp_path / "colours.png")
    Image.fromarray(LABELS.astype(np.uint16) * 2).save(tmp_path / "deep.png")
    Image.fromarray(LABELS).save(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg").rename(tmp_path / "photo.png")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    for name, what in (
        ("colours", "colours instead of class indices (4: (0, 0, 255), (1, 1, 254), (2, 2, 253), ...)"),
        ("deep", "values from 0 to 510: class indices are 0 to 255"),
        ("photo", "not an image of a supported format (PNG, TIFF, BMP, GIF)"),
        ("empty", "empty file"),
        ("cut", "damaged or truncated"),
        ("gone", "no such file"),
    ):
        with pytest.raises(BadLabels) as caught:
            read_labels(tmp_path / f"{name}.png", PLAIN)
        assert caught.value.what.startswith(what) and caught.value.remedy


def packed_png(labels: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits a pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = labels.shape
    digits = (labels[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    data = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int) -> None:
    """Pillow gives 0, 85, 170, 255 for 0 to 3, as a photograph wants it."""
    labels = np.arange(40).reshape(5, 8) % 2**bits
    (tmp_path / "a.png").write_bytes(packed_png(labels, bits))
    assert np.array_equal(read_labels(tmp_path / "a.png", PLAIN), labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_indices_may_stand_in_wider_pixels(tmp_path: Path, mode: str) -> None:
    image = (
        Image.fromarray(LABELS.astype(np.uint16)) if mode == "I;16" else Image.fromarray(LABELS).convert(mode)
    )
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png", PLAIN), LABELS)


def test_label_maps_may_be_tiff_or_bmp(tmp_path: Path) -> None:
    for name in ("a.tif", "a.bmp"):
        Image.fromarray(LABELS).save(tmp_path / name)
        assert np.array_equal(read_labels(tmp_path / name, PLAIN), LABELS)


def test_damaged_bytes_never_escape_as_another_exception(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 3, (60, 80)).astype(np.uint8)).save(tmp_path / "a.png")
    sound = (tmp_path / "a.png").read_bytes()
    for _ in range(150):
        data = bytearray(sound)
        for place in rng.integers(8, 80, 3):
            data[place] = rng.integers(256)
        (tmp_path / "a.png").write_bytes(data)
        with suppress(BadLabels):
            read_labels(tmp_path / "a.png", PLAIN)


def test_labels_must_fit_the_image(tmp_path: Path) -> None:
    check_labels(LABELS, (3, 2))
    with pytest.raises(BadLabels, match="3x2 px, its image has 2x3.*EXIF orientation"):
        check_labels(LABELS, (2, 3))


def test_labels_must_fit_the_classes(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.png")
    with pytest.raises(BadLabels, match=r"label 2 at pixel x=2, y=0 \(2 such pixels\), of 2") as caught:
        read_labels(tmp_path / "a.png", plain_table(["a", "b"]))
    assert caught.value.remedy.startswith("use 0 to 1, or 255 for pixels to ignore; or say in classes.csv")


COLOURS = LabelTable(
    ("road", "car"), ((255, 255), (0, 0), (1, 1)), (((128, 64, 128), 0), ((0, 0, 142), 1), ((0, 0, 0), 255))
)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_looked_up(tmp_path: Path, mode: str) -> None:
    colours = np.array([[(128, 64, 128), (0, 0, 142)], [(0, 0, 0), (128, 64, 128)]], np.uint8)
    image = Image.fromarray(colours)
    (image.quantize(3) if mode == "P" else image.convert(mode)).save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png", COLOURS).tolist() == [[0, 1], [255, 0]]


def test_grey_maps_are_places_in_a_table_of_colours(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png", COLOURS).tolist() == [[0, 1, 255]]
    greys = LabelTable(("a", "b"), ((0, 0), (1, 1)), (((0, 0, 0), 0), ((255, 255, 255), 1)))
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "b.png")
    assert read_labels(tmp_path / "b.png", greys).tolist() == [[0, 1]]


def test_an_unknown_colour_is_named_and_counted(tmp_path: Path) -> None:
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[1, 1:] = (9, 8, 7)
    colours[0, 2] = (1, 1, 1)
    Image.fromarray(colours).save(tmp_path / "a.png")
    what = r"colour \(1, 1, 1\) at pixel x=2, y=0 \(1 such pixels, and 1 other unknown colours\)"
    with pytest.raises(BadLabels, match=what) as caught:
        read_labels(tmp_path / "a.png", COLOURS)
    assert "add a row for this colour to the table" in caught.value.remedy


def test_a_table_may_give_255_a_class(tmp_path: Path) -> None:
    """The most common masks of two classes."""
    table = LabelTable(("back", "object"), ((255, 1), (0, 0)))
    for image in (
        Image.fromarray(np.array([[0, 255]], np.uint8)),
        Image.fromarray(np.array([[False, True]])),
    ):
        image.save(tmp_path / "a.png")
        assert read_labels(tmp_path / "a.png", table).tolist() == [[0, 1]]
    Image.fromarray(np.array([[0, 254]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(BadLabels, match=r"label 254 at pixel x=1, y=0 \(1 such pixels\), of 2"):
        read_labels(tmp_path / "a.png", table)
