"""No file that a command writes replaces one that it reads, or another that it writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mscsa_cli import main
from mscsa_cli.outputs import check_outputs


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.jpg", "best.safetensors", "old.json", "b.json"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "b.json", tmp_path / "same.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "a.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": ["a.jpg"], "json": "a.jpg"}, "--json .*a.jpg is an input of this command"),
        ({"images": ["a.jpg"], "json": "link.json"}, "is an input"),
        ({"images": ["b.json"], "json": "same.json"}, "is an input"),
        ({"images": ["b*"], "json": "b.json"}, "is an input"),
        ({"checkpoint": "best.safetensors", "results": "best.safetensors"}, "--results .* is an input"),
        ({"json": "new.json", "results": "new.json"}, "--json .*new.json is what --results writes"),
        ({"json": "sub/../new.json", "results": "new.json"}, "is what --results writes"),
        ({"json": "new_masks.json", "results": "new.json"}, "is where --results writes masks"),
        ({"json": "a.jpg"}, "a.jpg is there already and no .json file: give another file, or remove it"),
    ],
)
def test_what_would_be_lost_is_refused(files: Path, arguments: dict[str, Any], message: str) -> None:
    (files / "sub").mkdir()
    with pytest.raises(ValueError, match=message):
        check_outputs(placed(arguments, files))


def placed(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        name: [str(folder / each) for each in value] if isinstance(value, list) else str(folder / value)
        for name, value in arguments.items()
    }


def test_new_files_and_earlier_results_may_be_written(files: Path) -> None:
    check_outputs(placed({"images": ["a.jpg"], "json": "old.json", "results": "new.json"}, files))
    check_outputs({"json": None, "out": "anything"})


def test_it_is_looked_at_before_a_command_runs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = str(files / "a.jpg")
    assert main(["predict", given, "--checkpoint", str(files / "best.safetensors"), "--json", given]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert (files / "a.jpg").read_text() == "a.jpg"
