"""Cores are those that a process may use, where the system says so."""

from __future__ import annotations

import os

import pytest

from mscsa_runtime.machine import num_cores


def test_cores_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows
    assert num_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1
