"""Which commit of the project runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCES = ("mscsa", "mscsa_cli", "mscsa_runtime")
"""What runs: changes of other files, as of results that a benchmark has just written, are none of it."""


def git_commit() -> str | None:
    """Return the commit of the project's sources, with `+changes` if they were edited since.

    Files that git does not track, as a build makes them, are no changes. None where the sources are not in a
    repository of their own, as after an installation.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_SOURCES)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
