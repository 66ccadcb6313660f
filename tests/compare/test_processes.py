"""The runs as processes: started, resumed, kept, ended."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from mscsa.compare import processes
from mscsa.compare.processes import train_all
from mscsa.errors import UserError
from mscsa.signals import Interrupted, ended_by_sigterm
from tests.compare.made import run_in


class Finished:
    """Stands for a process that has ended."""

    started: list[list[str]] = []
    returncode = 0

    def __init__(self, command: list[str], log: Path) -> None:
        self.started.append(command)
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(
            json.dumps({"scores": {"top1": 50.0}, "metric": "top1", "seconds": 1.0})
        )

    def poll(self) -> int:
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands of the processes that would have been started."""
    monkeypatch.setattr(processes, "Child", Finished)
    monkeypatch.setattr(processes, "_POLL_S", 0.0)
    monkeypatch.setattr(Finished, "started", [])
    return Finished.started


def test_a_new_run_starts_and_a_finished_one_is_kept(tmp_path: Path, started: list[list[str]]) -> None:
    run = run_in(tmp_path)
    train_all([run], jobs=1, on_gpu=False)
    assert len(started) == 1 and "--resume" not in started[0]
    assert started[0][started[0].index("--run.seed") + 1] == "1"
    train_all([run], jobs=1, on_gpu=False)
    assert len(started) == 1


@pytest.mark.parametrize(
    ("threads", "jobs", "on_gpu", "given"),
    [(None, 2, False, "1"), (4, 2, False, None), (None, 1, False, "1"), (None, 2, True, None)],
)
def test_runs_on_a_cpu_have_a_thread_each_unless_the_recipe_says_how_many(
    tmp_path: Path,
    started: list[list[str]],
    threads: int | None,
    jobs: int,
    on_gpu: bool,
    given: str | None,
) -> None:
    train_all([replace(run_in(tmp_path), threads=threads)], jobs=jobs, on_gpu=on_gpu)
    after = dict(zip(started[0], started[0][1:], strict=False))
    assert after.get("--run.threads") == given  # otherwise that of its recipe's file


@pytest.mark.parametrize("checkpoint", ["last.ckpt", "previous.ckpt"])
def test_an_interrupted_run_is_resumed(tmp_path: Path, started: list[list[str]], checkpoint: str) -> None:
    run = run_in(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / checkpoint).write_text("")
    train_all([run], jobs=1, on_gpu=False)
    assert started[0][-1] == "--resume"


def test_a_run_without_checkpoint_starts_anew(tmp_path: Path, started: list[list[str]]) -> None:
    run = run_in(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("")
    train_all([run], jobs=1, on_gpu=False)
    assert "--resume" not in started[0]


def test_a_failing_run_is_named_with_its_reason(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path)
    run.log.parent.mkdir(parents=True)
    run.log.write_text("error: the disk is full\n")
    monkeypatch.setattr(Finished, "poll", lambda self: 2)
    monkeypatch.setattr(Finished, "returncode", 2)
    with pytest.raises(
        UserError, match=r"mscsa, seed 1 failed \(exit code 2\): the disk is full; its log is"
    ):
        train_all([run], jobs=1, on_gpu=False)


def test_no_more_runs_than_asked_for_at_a_time_and_the_others_stop_when_one_fails(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time; when the first fails, the second is told to save and the third never starts."""
    runs = [replace(run_in(tmp_path / str(seed)), seed=seed) for seed in (1, 2, 3)]
    for run in runs:
        run.log.parent.mkdir(parents=True)
        run.log.write_text("error: no space\n")
    told: list[str] = []
    monkeypatch.setattr(Finished, "poll", lambda self: 1 if len(Finished.started) >= 2 else None)
    monkeypatch.setattr(Finished, "returncode", 1)
    monkeypatch.setattr(Finished, "terminate", lambda self: told.append("terminate"), raising=False)
    monkeypatch.setattr(Finished, "wait", lambda self: told.append("wait"), raising=False)
    with pytest.raises(UserError, match="seed 1 failed"):
        train_all(runs, jobs=2, on_gpu=False)
    assert len(started) == 2
    assert told == ["terminate", "wait"]


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_lets_the_runs_save_first(
    tmp_path: Path,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    signum: signal.Signals,
    error: type[BaseException],
) -> None:
    told: list[str] = []

    def poll(_: Finished) -> None:
        signal.raise_signal(signum)

    monkeypatch.setattr(Finished, "poll", poll)
    monkeypatch.setattr(Finished, "terminate", lambda self: told.append("terminate"), raising=False)
    monkeypatch.setattr(Finished, "wait", lambda self: told.append("wait"), raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(error), ended_by_sigterm("the same command goes on"):
            train_all([run_in(tmp_path)], jobs=1, on_gpu=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == ["terminate", "wait"]
