"""Tables and JSON files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mscsa.errors import UserError
from mscsa.report import Table, percent_more, plain_text, show, write_json

TABLE = Table(
    title="Costs",
    columns=("model", "GMACs"),
    rows=[("a", "1.5"), ("longer", "10.25")],
    notes=("1 MAC = 2 FLOPs",),
)


def test_plain_text_is_aligned() -> None:
    assert plain_text(TABLE) == ("Costs\nmodel   GMACs\na         1.5\nlonger  10.25\n1 MAC = 2 FLOPs\n")


def test_a_pipe_gets_plain_text_of_any_width_and_a_terminal_a_drawn_table() -> None:
    wide = Table(title="t", columns=("x" * 150, "y"), rows=[("a", "1")])
    pipe = io.StringIO()
    show(wide, console=Console(file=pipe, width=80))
    assert pipe.getvalue() == plain_text(wide)
    terminal = io.StringIO()
    show(TABLE, console=Console(file=terminal, width=80, force_terminal=True))
    assert "━" in terminal.getvalue() and "1 MAC = 2 FLOPs" in terminal.getvalue()


def test_percent_more() -> None:
    assert percent_more(2.327, 2.108) == "+10.4 %"
    assert percent_more(0.5, 1.0) == "-50.0 %"


def test_json_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    write_json(path, {"a": [1, 2]})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_json_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*result.json"):
        write_json(tmp_path / "file" / "result.json", {})
