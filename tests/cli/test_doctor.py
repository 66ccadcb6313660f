"""`mscsa doctor`: what there is, what lacks, and nothing that is private."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mscsa_cli import doctor
from tests.cli.running import run

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from mscsa_cli import main
code = main(["doctor"])
assert "mscsa" not in sys.modules and "timm" not in sys.modules
sys.exit(code)
"""


def test_what_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out, err = run(capsys, "doctor", "--json", str(tmp_path / "doctor.json"))
    assert err == ""
    words = [line.split()[0] for line in out.splitlines()]
    assert words[:3] == ["mscsa", "python", "packages"] and {"devices", "threads", "disk"} <= set(words)
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert found["devices"]["torch_threads"] == torch.get_num_threads()
    assert found["extras"]["detection"] == [] and found["mscsa"]["clone"] in (True, False)
    assert found["threads"]["usable"] >= 1 and all(free > 0 for free in found["disk_free_gb"].values())


def test_without_torch_it_still_speaks(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "problem   torch cannot be imported: ModuleNotFoundError" in done.stdout and done.stderr == ""


def test_a_package_that_lacks_or_is_too_old_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def other(name: str) -> str:
        if name == "jsonargparse":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"timm": "0.9.1"}.get(name) or version(name)

    monkeypatch.setattr(importlib.metadata, "version", other)
    problems = doctor.diagnose()["problems"]
    assert any(each.startswith("timm is 0.9.1, mscsa needs timm>=") for each in problems)
    assert any(each.startswith("jsonargparse is not installed") for each in problems)


def test_neither_the_home_folder_nor_a_secret_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "somebody" / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.chdir(tmp_path)
    out = run(capsys, "doctor")[1]
    assert f"~{os.sep}cache" in out and "MSCSA_CACHE=~" in out
    assert "somebody" not in out and "hf_secret" not in out


def test_a_file_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, "doctor", "--json", str(tmp_path / "no" / "where.json"))
    assert code == 2 and err.startswith("error: cannot write ") and err.count("\n") == 1
