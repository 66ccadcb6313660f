"""Peak memory, each model in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mscsa.cost.model_pair import build_pair
from mscsa.errors import UserError
from mscsa.speed import peak_memory
from mscsa.speed.peak_memory import measure_peak_memory
from mscsa.speed.steps import StepOptions

TINY: dict[str, Any] = {
    **{"name": "test_resnet", "dense": False, "budget": 0.5, "fields": {"pool_stride": 8}},
    "size": (32, 32),
}


@pytest.mark.slow
def test_it_is_at_least_weights_and_optimizer() -> None:
    peaks = measure_peak_memory(
        TINY, (32, 32), batch_sizes=(4, 2), modes=("inference", "training"), options=StepOptions(), threads=1
    )
    found = {(peak.is_model, peak.mode, peak.batch_size): peak.mebibytes for peak in peaks}
    assert len(found) == 8
    pair = build_pair(**TINY)
    for is_model, model in ((False, pair.baseline), (True, pair.model)):
        weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
        assert found[is_model, "inference", 2] >= weights
        assert found[is_model, "training", 4] >= 4 * weights
        assert found[is_model, "training", 4] < 4 * weights + 500


def measure() -> list[Any]:
    return measure_peak_memory(
        TINY, (32, 32), batch_sizes=(1,), modes=("inference",), options=StepOptions(), threads=None
    )


def test_nothing_is_measured_without_a_high_water_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_memory, "_CLEAR_REFS", tmp_path / "none")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    assert measure() == []


def test_a_process_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "clear_refs"
    mark.write_text("")
    monkeypatch.setattr(peak_memory, "_CLEAR_REFS", mark)
    died = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback\nMemoryError: no memory\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    with pytest.raises(UserError, match=r"failed \(MemoryError: no memory\): give smaller batch sizes"):
        measure()
