"""The commit that is recorded with results, and whether what ran was another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import mscsa.commit
from mscsa.commit import git_commit


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sources, of which `git_commit` takes itself to be one."""
    for name in ("mscsa/commit.py", "mscsa_cli/a.py", "mscsa_runtime/a.py", "benchmarks/results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".gitignore").write_text("build/\n")
    monkeypatch.setattr(mscsa.commit, "__file__", str(tmp_path / "mscsa" / "commit.py"))
    return tmp_path


def commit_all(root: Path) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)


def test_an_installation_has_none(root: Path) -> None:
    assert git_commit() is None


@pytest.mark.parametrize("source", ["mscsa/commit.py", "mscsa_cli/a.py", "mscsa_runtime/a.py"])
def test_changed_sources_are_said(root: Path, source: str) -> None:
    commit_all(root)
    commit = git_commit()
    assert commit is not None and len(commit) == 40
    (root / source).write_text("# changed")
    assert git_commit() == f"{commit}+changes"
    (root / source).unlink()
    assert git_commit() == f"{commit}+changes"


def test_what_does_not_run_is_no_change(root: Path) -> None:
    """Results that a benchmark wrote, what a build makes, and what is kept beside the sources."""
    commit_all(root)
    commit = git_commit()
    for name in ("build/lib/mscsa/a.py", "mscsa.egg-info/PKG-INFO", ".whl/a.whl", "mscsa/__pycache__/a.pyc"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("")
    (root / "benchmarks" / "results" / "a.json").write_text("{}")
    assert git_commit() == commit
