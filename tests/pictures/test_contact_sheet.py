"""A sheet of pictures, which takes nobody's place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.errors import UserError
from mscsa.pictures.contact_sheet import Tile, check_sheet, write_sheet


def test_all_pictures_are_on_the_sheet(tmp_path: Path) -> None:
    rows = [
        [Tile(Image.new("RGB", (20, 10), colour), "a" * 100) for colour in line]
        for line in (("red", "lime"), ("blue", "yellow"))
    ]
    write_sheet(tmp_path / "new/sheet.png", rows, "heading", [f"class {i}" for i in range(60)])
    pixels = np.asarray(Image.open(tmp_path / "new/sheet.png").convert("RGB"))
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)):
        assert (pixels == colour).all(axis=-1).sum() > 1000


def test_names_with_signs_of_formulas_are_names(tmp_path: Path) -> None:
    tile = Tile(Image.new("RGB", (20, 10)), "cost$_1_$.png: a$_1_$")
    write_sheet(tmp_path / "sheet.png", [[tile]], "in $_1_$", ["b$_1_$"])
    assert (tmp_path / "sheet.png").exists()


def test_a_sheet_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="a.png is there already and is not overwritten"):
        write_sheet(tmp_path / "a.png", [[Tile(Image.new("RGB", (4, 4)), "")]], "")
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    with pytest.raises(UserError, match="is no name of a picture: give one that ends with .png"):
        check_sheet(tmp_path / "a.pdf")
