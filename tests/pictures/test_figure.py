"""Figures without a screen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from mscsa.errors import UserError
from mscsa.pictures.figure import label_font, new_figure, save_figure


def test_a_figure_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    save_figure(new_figure((2, 1)), path, dpi=50)
    with Image.open(path) as image:
        assert image.size == (100, 50)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*figure.png: .*; give a folder that can be written"):
        save_figure(new_figure((1, 1)), tmp_path / "file" / "figure.png", dpi=50)


@pytest.mark.parametrize("call", [lambda: new_figure((1, 1)), label_font])
def test_matplotlib_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, call) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"run: pip install mscsa\[train\]"):
        call()


def test_the_font_is_a_file() -> None:
    assert Path(label_font()).suffix == ".ttf"
