"""Commands about data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import run


def test_check_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number, place in enumerate(("train/a", "train/b", "val/a", "val/b")):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (8, 8 + number), "blue").save(tmp_path / place / "1.png")
    assert run(capsys, "check-data", str(tmp_path)) == (0, f"{tmp_path}: no problems found\n", "")
    (tmp_path / "val/b/2.png").write_bytes(b"")
    code, out, _ = run(capsys, "check-data", str(tmp_path))
    assert code == 2
    assert "empty file" in out
    run(capsys, "check-data", str(tmp_path), "--json", str(tmp_path / "problems.json"))
    assert "empty file" in json.loads((tmp_path / "problems.json").read_text())[0]["what"]
