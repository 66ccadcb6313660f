"""A whole comparison: what is refused before it starts, and all that it writes."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mscsa_cli
from mscsa.compare import processes
from mscsa.compare.compare import compare_recipe
from mscsa.compare.tables import compare_json
from mscsa.errors import UserError
from mscsa.recipes import get_recipe
from mscsa.speed import interleaved
from tests.compare.made import tiny_recipe

REAL_POPEN = subprocess.Popen


def test_recipe_without_mscsa_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scenes/mscsa_resnet10t"):
        compare_recipe(get_recipe("scenes/resnet10t"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "message"), [({"num_seeds": 0}, "seeds=0"), ({"jobs": 0}, "jobs=0")])
def test_numbers_below_one_are_refused(tmp_path: Path, number: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=f"{message} given: give 1 or more"):
        compare_recipe(tiny_recipe(), tmp_path / "out", **number)
    assert not (tmp_path / "out").exists()


class InProcess:
    """Trains in this process: a start of Python for each run would be most of the test."""

    returncode = 0

    def __init__(self, command: list[str]) -> None:
        assert mscsa_cli.main(command[3:]) == 0

    def poll(self) -> int:
        return 0


def popen(command: list[str], **options: Any) -> InProcess | subprocess.Popen[bytes]:
    """Start the first run, and whatever is no run, as they are started; the others in this process."""
    is_run = command[1:4] == ["-m", "mscsa_cli", "train"]
    is_first = (
        is_run and "baseline.yaml" in " ".join(command) and command[command.index("--run.seed") + 1] == "0"
    )
    return InProcess(command) if is_run and not is_first else REAL_POPEN(command, **options)


def test_whole_comparison_and_more_seeds_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "_ROUND_S", 0.01)
    monkeypatch.setattr(interleaved, "_WARM_UP_S", 0.01)
    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    out = tmp_path / "out"
    caplog.set_level(logging.INFO)
    compare_recipe(tiny_recipe(), out, num_seeds=1, jobs=2)
    first = out / "baseline" / "seed0" / "result.json"
    written = first.stat().st_mtime_ns

    compared = compare_recipe(tiny_recipe(), out, num_seeds=2, jobs=2)
    assert first.stat().st_mtime_ns == written
    assert "baseline, seed 0: finished before" in caplog.text
    assert compared.seeds == (0, 1)
    assert compared.baseline.model == "test_resnet" and compared.mscsa.model == "mscsa_test_resnet"
    assert 1.4 < compared.mscsa.macs / compared.baseline.macs <= 1.5
    assert [len(curve) for curve in compared.mscsa.curves] == [2, 2]

    content = json.loads((out / "compare.json").read_text())
    assert content == json.loads(json.dumps(compare_json(compared)))
    trained = [
        json.loads((out / f"mscsa/seed{seed}/result.json").read_text())["scores"]["top1"] for seed in (0, 1)
    ]
    assert content["mscsa"]["scores"] == trained
    assert content["difference"]["points"] == [
        b - a for a, b in zip(content["baseline"]["scores"], trained, strict=True)
    ]
    with Image.open(out / "compare.png") as image:
        assert image.width >= 1000
