"""What a time was measured on."""

from __future__ import annotations

import json
import os

import pytest
import torch

from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions
from mscsa_runtime.machine import num_cores


def test_it_names_device_threads_and_versions() -> None:
    machine = json.loads(json.dumps(describe_machine(StepOptions(dtype="bfloat16", channels_last=True))))
    assert machine["device_name"] and machine["platform"]
    assert (machine["threads"], machine["cores"]) == (torch.get_num_threads(), num_cores())
    line = machine_line(machine)
    assert "\n" not in line
    assert f"torch {torch.__version__}, bfloat16, channels-last, eager, load " in line


def test_a_system_without_load_average_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither this nor a set of cores for each process."""
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    machine = describe_machine(StepOptions())
    assert machine["load_average"] is None
    assert machine_line(machine).endswith("float32, contiguous, eager")
    assert machine["cores"] == os.cpu_count()


def test_the_line_says_the_form() -> None:
    machine = describe_machine(StepOptions(folded=True, cuda_graph=True))
    assert ", contiguous, folded and as a CUDA graph" in machine_line(machine)
