"""How many processes a run has, and what one does when another is gone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist

from mscsa.training import processes
from mscsa.training.processes import (
    WatchProcesses,
    await_end,
    first_alone_speaks,
    is_of_lost_process,
    local_rank,
    lost_child,
    rank,
    watch,
    with_processes,
)
from tests.refusals import one_line_error
from tests.training.processes import run
from tests.training.small_runs import plain_recipe


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun sets for four processes on two machines."""
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


def test_torchrun_says_how_many_processes_there_are(torchrun: None) -> None:
    taken = with_processes(plain_recipe()).run
    assert (taken.devices, taken.num_nodes) == (2, 2)
    recipe = plain_recipe(devices=4)
    assert with_processes(recipe) is recipe


def test_another_number_than_torchruns_is_one_line(torchrun: None) -> None:
    one_line_error(
        lambda: with_processes(plain_recipe(devices=3)),
        "run.devices 3 x run.num_nodes 1 is not the number of processes that torchrun started, 4: leave both",
    )


def test_without_torchrun_the_recipe_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "7")  # Lightning sets it for those it starts
    for recipe in (plain_recipe(), plain_recipe(devices=3)):
        assert with_processes(recipe) is recipe


def test_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (rank(), local_rank()) == (0, 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (rank(), local_rank()) == (1, 1)
    monkeypatch.setenv("RANK", "5")
    assert (rank(), local_rank()) == (5, 1)


def test_the_first_process_alone_speaks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = logging.getLogger("mscsa")
    ours.setLevel(logging.INFO)
    for number, heard in (("0", ["said", "broken"]), ("1", ["broken"])):
        monkeypatch.setenv("LOCAL_RANK", number)
        caplog.clear()
        with first_alone_speaks():
            ours.warning("said")
            ours.error("broken")
        assert [record.getMessage() for record in caplog.records] == heard
        assert ours.level == logging.INFO


GLOO = RuntimeError(
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:7"
)


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (GLOO, True),
        (dist.DistBackendError("NCCL communicator was aborted"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
    ],
)
def test_errors_of_lost_processes(error: Exception, is_lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_of_lost_process(error), "without a group there is none to lose"
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    assert is_of_lost_process(error) is is_lost


def test_a_killed_child_is_told_and_one_that_failed_tells_itself() -> None:
    assert lost_child({1: None, 2: -9}) == "process 2 of 3 was killed by SIGKILL"
    assert lost_child({1: 2, 2: None}) is None and lost_child({1: 0}) is None


def watch_children(how: str, said: Path) -> None:
    """Watch a child that ends at once and one that does not, whose number is noted."""
    redirect_errors(said)
    code = "import os; os.kill(os.getpid(), 9)" if how == "killed" else "raise SystemExit(2)"
    commands = [[sys.executable, "-c", code], [sys.executable, "-c", "import time; time.sleep(100)"]]
    children = [subprocess.Popen(each) for each in commands]
    said.with_suffix(".pid").write_text(str(children[1].pid))
    watch(children)
    await_end()


def leave_a_child(said: Path) -> None:
    """Fork a process that watches its parent, which ends."""
    redirect_errors(said)
    if os.fork():
        os._exit(1)
    said.with_suffix(".pid").write_text(str(os.getpid()))
    os.environ["LOCAL_RANK"] = "1"
    watch([])
    time.sleep(100)


def redirect_errors(said: Path) -> None:
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    logging.basicConfig(format="%(message)s", force=True)


def ended(said: Path) -> bool:
    """Whether the process that was noted ends soon."""
    deadline = time.monotonic() + 30
    while not said.with_suffix(".pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(said.with_suffix(".pid").read_text())
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet collected does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc, by which ended processes are seen")
@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (
            "killed",
            128 + 9,
            "error: process 1 of 3 was killed by SIGKILL; all end; go on with --resume\n",
        ),
        ("failed", 2, ""),
    ],
)
def test_all_end_with_a_child(tmp_path: Path, how: str, code: int, said: str) -> None:
    assert run(watch_children, how, tmp_path / "said") == code
    assert (tmp_path / "said").read_text() == said
    assert ended(tmp_path / "said")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc, by which ended processes are seen")
def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    assert run(leave_a_child, tmp_path / "said") == 1
    assert ended(tmp_path / "said")
    assert (
        tmp_path / "said"
    ).read_text() == "error: the first process is gone; all end; go on with --resume\n"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    calls: list[Any] = []
    monkeypatch.setattr(processes, "watch", calls.append)
    yield calls


def test_what_lightning_started_is_watched(watched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = None
    launcher = SimpleNamespace(procs=["child"])
    trainer: Any = SimpleNamespace(world_size=2, strategy=SimpleNamespace(launcher=launcher))
    WatchProcesses().setup(trainer, module, "fit")
    assert watched == [["child"]]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    WatchProcesses().setup(trainer, module, "fit")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    trainer.world_size = 1
    WatchProcesses().setup(trainer, module, "fit")
    assert len(watched) == 1


def test_nobody_waits_for_a_watch_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(processes.time, "sleep", slept.append)
    await_end()
    assert not slept


def test_the_watch_is_a_thread_that_keeps_nothing_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_watch_parent", lambda parent: done.wait())
    done = threading.Event()
    watch([])
    (thread,) = (each for each in threading.enumerate() if each.name == "watch-processes")
    assert thread.daemon and os.getppid()
    done.set()
    thread.join()
