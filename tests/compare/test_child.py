"""Commands in forks of one process that has imported everything."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from mscsa.compare.child import Child


def ended(child: Child) -> int | None:
    child.wait()
    return child.poll()


@pytest.mark.slow
def test_what_it_prints_goes_into_its_log_and_its_exit_code_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.log"
    log.write_text("before\n")
    assert ended(Child(["list", "--recipes"], log)) == 0
    assert ended(Child(["train", "no_such/recipe"], log)) == 2
    text = log.read_text()
    assert text.startswith("before\n") and "scenes/resnet10t" in text
    assert "error: no recipe is called 'no_such/recipe'" in text
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


@pytest.mark.slow
def test_a_child_that_is_told_to_end_saves_first(tmp_path: Path) -> None:
    """Training takes the signal, saves, and says by its exit code what ended it."""
    log, out = tmp_path / "log", tmp_path / "run"
    options = ["--data.num_train", "64", "--data.num_val", "8", "--run.epochs", "50", "--run.threads", "1"]
    child = Child(["train", "scenes/resnet10t", *options, "--out", str(out)], log)
    for _ in range(1200):
        if (out / "metrics.csv").exists() and len((out / "metrics.csv").read_text().splitlines()) > 1:
            break
        assert child.poll() is None, log.read_text()
        time.sleep(0.1)
    child.terminate()
    assert ended(child) == 128 + signal.SIGTERM, log.read_text()
    assert (out / "last.ckpt").exists()
