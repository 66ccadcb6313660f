"""`mscsa train` as a person sees it: in a terminal, and in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pyte
import pytest

COMMAND = (
    *(sys.executable, "-m", "mscsa_cli", "train", "scenes/resnet10t", "--model.name", "test_resnet"),
    *("--data.image_size", "32", "--data.num_train", "48", "--data.num_val", "16", "--data.workers", "0"),
    *("--data.batch_size", "8", "--data.eval_batch_size", "2", "--run.epochs", "2", "--run.log_every", "4"),
    *("--optim.warmup_epochs", "0"),
)
ROOT = Path(__file__).resolve().parents[2]
START = ["model", "data", "device", "run", "folder"]
END = ["best", "last", "files", "next"]


def environment() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths, "COLUMNS": "110", "LINES": "40", "TERM": "xterm"}


def screens_of(command: tuple[str, ...], folder: Path) -> list[list[str]]:
    """Run a command in a terminal; give what is on its screen after each piece of its output."""
    screen = pyte.Screen(110, 40)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screens = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody holds the other end
            break
        if not piece:
            break
        stream.feed(piece)
        screens.append([line.rstrip() for line in screen.display if line.strip()])
    os.close(ours)
    assert process.wait() == 0, "\n".join(screens[-1])
    return screens


def first_words(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


@pytest.mark.slow
def test_on_a_terminal(tmp_path: Path) -> None:
    screens = screens_of(COMMAND, tmp_path)
    last = screens[-1]
    assert first_words(last)[:5] == START
    assert (
        "48 training, 16 validation images, 10 classes" in last[1] and "12 steps of 8 images, seed" in last[3]
    )
    assert last[4] == "folder   runs/scenes/resnet10t"
    assert [word for word in first_words(last) if word in END] == END
    # Evaluations stand on lines of their own, above one bar over the whole run.
    assert [line.partition(":")[0] for line in last if line.startswith("epoch")] == ["epoch 1", "epoch 2"]
    (bar,) = [line for line in last if line.startswith("training")]
    assert " 12/12 epoch 2.00, loss " in bar and bar.endswith("0:00:00 left")
    running = [line for lines in screens for line in lines if line.startswith("training")]
    assert any(f" {done}/12 " in line for line in running for done in range(1, 12))
    evaluating = [lines for lines in screens if any(line.startswith("evaluation") for line in lines)]
    assert evaluating and all(any(line.startswith("training") for line in lines) for lines in evaluating)
    assert not any("Epoch 0" in line or "/-2" in line for line in running)
    assert (tmp_path / "runs/scenes/resnet10t/curves.png").stat().st_size > 1000


@pytest.mark.slow
def test_in_a_pipe_line_by_line_and_the_next_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for folder in ("runs/scenes/resnet10t", "runs/scenes/resnet10t-2"):
        done = subprocess.run(
            COMMAND, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert first_words(lines) == [*START, *["epoch"] * 5, *END]
        assert lines[4] == f"folder   {folder}" and lines[-1] == f"next     mscsa eval {folder}"
        assert [line.split(",")[1].split(":")[0] for line in lines if ", step " in line] == [
            f" step {step} of 12" for step in (4, 8, 12)
        ]
        log = (tmp_path / folder / "log.txt").read_text().splitlines()
        assert [line.split(maxsplit=3)[3] for line in log] == lines
