"""A process that is killed leaves none of its runs behind."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from mscsa.compare import parent

CHILD = """
import runpy, time

def run(module):
    runpy.run_path(module)["follow_parent"]()
    print("follows", flush=True)
    time.sleep(600)
"""
MAIN = """
import multiprocessing, sys, time
import child

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    context.Process(target=child.run, args=(sys.argv[2],)).start()
    time.sleep(600)
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path, method: str) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "main.py").write_text(MAIN)
    command = [sys.executable, str(tmp_path / "main.py"), method, str(parent.__file__)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "follows\n"
        process.kill()
        process.communicate(timeout=60)  # ends when nobody is left who could write
