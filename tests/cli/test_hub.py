"""`mscsa push` and `mscsa pull`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import run
from tests.evaluation.untrained import CLASSES, CLASSIFIER, save_untrained


def test_there_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    save_untrained(tmp_path / "run" / "best.safetensors", CLASSIFIER, CLASSES)
    published, fetched = str(tmp_path / "published"), str(tmp_path / "fetched")
    code, out, err = run(capsys, "push", str(tmp_path / "run"), published, "--license", "mit")
    assert code == 0, err
    assert out.startswith(f"{published}: model.safetensors, config.json, manifest.json, README.md\n")
    code, out, err = run(capsys, "pull", published, "--out", fetched)
    assert code == 0, err
    lines = out.splitlines()
    assert lines == [
        f"{fetched}: test_resnet for classification, 10 classes",
        f"next     mscsa eval {fetched}",
    ]
    code, out, err = run(capsys, "eval", fetched, "--workers", "0")
    assert code == 0, err


def test_a_wrong_place_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "pull", "me/net", "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "") and err.startswith("error: there is no folder me/net")
    code, _, err = run(capsys, "push", str(tmp_path), "hf-hub:net")
    assert code == 2 and "names no repository" in err and err.count("\n") == 1
