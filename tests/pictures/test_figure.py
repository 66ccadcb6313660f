"""Figures without a screen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from matplotlib import rcParams
from matplotlib.text import Text
from PIL import Image

from mscsa.errors import UserError
from mscsa.pictures.figure import label_font, new_figure, save_figure


def test_a_figure_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    save_figure(new_figure((2, 1)), path, dpi=50)
    with Image.open(path) as image:
        assert image.size == (100, 50)


@pytest.mark.parametrize("name", ["cost$_1_$", "$\\frac$", "a$b$c"])
def test_names_are_no_formulas(tmp_path: Path, name: str) -> None:
    figure = new_figure((4, 3))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=name)
    axes.set_xticks([0, 1], labels=[name, name])
    axes.set_title(name)
    axes.legend()
    figure.suptitle(name)
    save_figure(figure, tmp_path / "figure.png", dpi=50)
    shown = [each for each in figure.findobj(Text) if each.get_text() == name]
    assert len(shown) >= 5 and not any(each.get_parse_math() for each in figure.findobj(Text))
    assert rcParams["text.parse_math"]  # of others' figures


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*figure.png: .*; give a folder that can be written"):
        save_figure(new_figure((1, 1)), tmp_path / "file" / "figure.png", dpi=50)


@pytest.mark.parametrize("call", [lambda: new_figure((1, 1)), label_font])
def test_matplotlib_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, call) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"run: pip install 'mscsa\[train\]'"):
        call()


def test_the_font_is_a_file() -> None:
    assert Path(label_font()).suffix == ".ttf"
