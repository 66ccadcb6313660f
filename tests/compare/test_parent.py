"""A process that is killed leaves none of its runs behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mscsa.compare import parent

SCRIPT = """
import runpy, subprocess, sys
follow_parent = runpy.run_path(sys.argv[1])["follow_parent"]
code = "import time; print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, preexec_fn=follow_parent)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a process when its parent dies")
def test_a_child_ends_with_its_parent() -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SCRIPT, str(parent.__file__)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    status = Path(f"/proc/{pid}/status")
    for _ in range(200):
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} lives on")


def test_other_systems_load_the_module_and_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_LIBC", None)
    parent.follow_parent()
