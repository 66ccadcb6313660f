"""Pairs of models, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.demo.demo import Demo, open_demo
from tests.demo.shown import save_pair


@pytest.fixture(autouse=True)
def _one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are asked once more for the time, not five times."""
    monkeypatch.setattr("mscsa.demo.answers._ROUNDS", 1)


@pytest.fixture(scope="package")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """With MSCSA, without."""
    return save_pair("classification", tmp_path_factory.mktemp("classifiers"))


@pytest.fixture(scope="package")
def demo(classifiers: tuple[Path, Path]) -> Demo:
    """Of both classifiers."""
    return open_demo(*map(str, classifiers), accelerator="cpu")
