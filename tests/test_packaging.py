"""What an installation asks for, and what it consists of."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_releases_of_lightning_with_malicious_code_are_refused(project: dict[str, Any]) -> None:
    """2.6.2 and 2.6.3: GHSA-w37p-236h-pfx3."""
    extras = project["project"]["optional-dependencies"].values()
    asked = [Requirement(line) for lines in (project["project"]["dependencies"], *extras) for line in lines]
    of_lightning = [each.specifier for each in asked if each.name == "lightning"]
    assert of_lightning
    for specifier in of_lightning:
        assert list(specifier.filter(["2.6.1", "2.6.2", "2.6.3"])) == ["2.6.1"]


def test_torch_is_one_whose_reader_of_weights_is_safe(project: dict[str, Any]) -> None:
    """CVE-2026-24747: before 2.10 a file of weights alone could corrupt the memory."""
    (torch,) = (each for each in map(Requirement, project["project"]["dependencies"]) if each.name == "torch")
    assert "2.11" in torch.specifier and "2.9.1" not in torch.specifier


def test_nothing_is_compiled(project: dict[str, Any]) -> None:
    assert "ext-modules" not in project["tool"]["setuptools"] and not (ROOT / "setup.py").exists()
    endings = {".c", ".cc", ".cpp", ".cu", ".pyx", ".so", ".pyd"}
    packages = [ROOT / name for name in ("mscsa", "mscsa_cli", "mscsa_runtime")]
    assert not [path for package in packages for path in package.rglob("*") if path.suffix in endings]
