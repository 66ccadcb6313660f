"""Break the code in the ways that `tests/guarantees.py` names, and see whether the tests notice.

    python -m tests.mutations          all of them: some minutes
    python -m tests.mutations 3 8 27   those of some promises, by their numbers in docs/guarantees.md

Each is made alone in a copy of the sources; the checkout is not touched. The tests must first pass without:
one that fails anyway notices nothing. The exit code is 1 if one survives.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from tests.guarantees import GUARANTEES, ROOT, Mutation

COPIED = (
    "mscsa",
    "mscsa_cli",
    "mscsa_runtime",
    "tests",
    "benchmarks",
    "docs",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "THIRD_PARTY_NOTICES.md",
    "CHANGELOG.md",
)
IMPORTED_ONCE = ("timm", "torchvision", "lightning.pytorch", "jsonargparse")
"""Before processes are forked: it takes longer than most of the tests."""
TIMEOUT_S = 900
OUTPUT = "output.txt"
_FORK = multiprocessing.get_context("fork")


def is_killed(copy: Path, mutation: Mutation) -> bool:
    """Make a mutation in a copy, run its test, and take it back."""
    path = copy / mutation.path
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return not passes(copy, [mutation.test])
    finally:
        path.write_text(text, encoding="utf-8")


def passes(copy: Path, tests: Sequence[str]) -> bool:
    """Run tests in a copy, until one fails; one that hangs does not pass."""
    process = _FORK.Process(target=_test, args=(copy, tests))
    process.start()
    process.join(TIMEOUT_S)
    if process.exitcode is None:
        process.kill()
        process.join()
        return False
    if process.exitcode > 1:  # not collected, or interrupted: nothing was tested
        raise RuntimeError(f"{tests}: pytest ended with {process.exitcode}\n{_said(copy)[-2000:]}")
    return process.exitcode == 0


def _test(copy: Path, tests: Sequence[str]) -> None:
    for name in list(sys.modules):  # those of the checkout
        if name.partition(".")[0] in COPIED:
            del sys.modules[name]
    os.chdir(copy)
    sys.path[:] = [str(copy), *(each for each in sys.path if Path(each).resolve() != ROOT)]
    os.environ.update(PYTHONPATH=str(copy), OMP_NUM_THREADS="1")
    sys.dont_write_bytecode = True
    with (copy / OUTPUT).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Also those that are slow, which the settings leave out.
    sys.exit(pytest.main(["-q", "-x", "-m", "", "-p", "no:cacheprovider", *tests]))


def _said(copy: Path) -> str:
    return (copy / OUTPUT).read_text(encoding="utf-8", errors="replace")


def main(numbers: Sequence[int]) -> int:
    """Make the mutations of some promises, of all if there are none; give the exit code."""
    chosen = [
        (guarantee.number, mutation)
        for guarantee in GUARANTEES
        for mutation in guarantee.mutations
        if not numbers or guarantee.number in numbers
    ]
    survived = 0
    for name in IMPORTED_ONCE:
        import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        if not passes(copy, sorted({mutation.test for _, mutation in chosen})):
            raise RuntimeError(f"a test of these mutations fails without them\n{_said(copy)[-2000:]}")
        for number, mutation in chosen:
            began = time.monotonic()
            killed = is_killed(copy, mutation)
            survived += not killed
            word = "killed" if killed else "SURVIVED"
            seconds = time.monotonic() - began
            print(f"{number:>3} {word:<9}{seconds:4.0f} s  {mutation.path}: {mutation.new!r}", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]]))
