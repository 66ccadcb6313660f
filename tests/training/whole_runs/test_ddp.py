"""Two processes (gloo, CPU) do what one does: same weights, each sample evaluated once, one end for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mscsa.checkpoints import read_state_dict
from mscsa.data.scenes.classification import SceneClassification
from mscsa.errors import UserError
from mscsa.evaluation.top1 import Hits
from mscsa.recipes.spec import OptimSpec, Recipe
from mscsa.run_files import LAST
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import NonFiniteError
from mscsa.training.processes import ProcessLost
from mscsa.training.run import train
from tests.training.processes import finish, free_port, group_environment, run, start
from tests.training.small_runs import (
    before_step,
    log_evaluated,
    log_samples,
    plain_recipe,
    read_samples,
    spoil_sample,
)

RANK_FILE = "{}-rank{}"


def run_pair(target: Callable[..., None], *arguments: Any) -> list[int]:
    """Run `target(rank, *arguments)` in a group of two processes and return their exit codes."""
    port = free_port()
    pair = [start(target, rank, *arguments, env=group_environment(rank, 2, port)) for rank in range(2)]
    return [finish(process) for process in pair]


def train_logging_all(rank: int, recipe: Recipe, folder: Path) -> None:
    mine = Path(RANK_FILE.format(folder, rank))
    log_samples(mine.with_suffix(".samples"))
    log_evaluated(mine.with_suffix(".evaluated"))
    train(recipe, folder)


def train_stopped_on_rank_1(rank: int, recipe: Recipe, folder: Path) -> None:
    if rank == 1:
        before_step(lambda step: signal.raise_signal(signal.SIGTERM) if step == 3 else None)
    train(recipe, folder)


def train_with_nan_on_one_rank(rank: int, recipe: Recipe, folder: Path, index: int) -> None:
    spoil_sample(index)
    try:
        train(recipe, folder)
    except NonFiniteError as error:
        Path(RANK_FILE.format(folder, rank)).write_text(str(error))


def train_stopped_in_evaluation_on_rank_0(rank: int, recipe: Recipe, folder: Path) -> None:
    read = SceneClassification.__getitem__

    def read_and_signal(self: SceneClassification, key: Any) -> Any:
        if self.scenes.split == "val" and rank == 0 and key == 4:
            signal.raise_signal(signal.SIGTERM)
        return read(self, key)

    SceneClassification.__getitem__ = read_and_signal  # type: ignore[method-assign]
    train(recipe, folder)


def train_failing_on_rank_1(rank: int, recipe: Recipe, folder: Path, kind: type[Exception]) -> None:
    """End by an error at the third step in the second process; the first one notes what it says."""

    def fail(step: int) -> None:
        if rank == 1 and step == 3:
            raise kind("of its own")

    before_step(fail)
    note_loss(rank, recipe, folder)


def train_killed_on_rank(rank: int, recipe: Recipe, folder: Path, killed: int, resume: bool = False) -> None:
    start = read_checkpoint(folder / LAST)["global_step"] if resume else 0
    if rank == killed:
        before_step(lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == start + 3 else None)
    note_loss(rank, recipe, folder, resume=resume)


def train_on(rank: int, recipe: Recipe, folder: Path) -> None:
    train(recipe, folder, resume=True)


def note_loss(rank: int, recipe: Recipe, folder: Path, resume: bool = False) -> None:
    """Train, and end with code 7 and a note if another process is lost."""
    try:
        train(recipe, folder, resume=resume)
    except ProcessLost as error:
        Path(RANK_FILE.format(folder, rank)).write_text(str(error))
        sys.exit(7)


def train_with_bad_images(rank: int, recipe: Recipe, folder: Path, bad: tuple[int, ...]) -> None:
    read = SceneClassification.__getitem__

    def read_or_refuse(self: SceneClassification, key: Any) -> Any:
        index = key if isinstance(key, int) else key.index
        if self.scenes.split == "train" and index in bad:
            raise UserError(f"{self.describe(index)}: damaged")
        return read(self, key)

    SceneClassification.__getitem__ = read_or_refuse  # type: ignore[method-assign]
    try:
        train(recipe, folder)
    except UserError as error:
        assert "3 images cannot be used, data.max_bad allows 2" in str(error) and "\n" not in str(error)
        sys.exit(2)


def exact_recipe(**run: Any) -> Recipe:
    """Float64, SGD and fixed batch norm: what two processes can do exactly as one."""
    recipe = plain_recipe(precision="64-true", checkpoint_every=100, **run)
    model = timm.create_model("test_resnet", num_classes=0)
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    return replace(
        recipe,
        model=replace(recipe.model, freeze=tuple(norms)),
        optim=OptimSpec(optimizer="sgd", lr=0.05, warmup_epochs=0.0, clip_grad=1.0),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run by one process and by two."""
    root = tmp_path_factory.mktemp("ddp")
    one, two = root / "one", root / "two"
    assert run(train_logging_all, 0, exact_recipe(), one) == 0
    assert run_pair(train_logging_all, exact_recipe(devices=2), two) == [0, 0]
    return one, two


def test_two_processes_train_to_the_same_weights(runs: tuple[Path, Path]) -> None:
    one, two = (read_state_dict(folder / "last.safetensors")[0] for folder in runs)
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert (value.double() - two[key].double()).abs().max() <= 1e-9, key
    weight = one["conv1.0.weight"]
    assert weight.dtype == torch.float64
    assert not torch.equal(weight, two["conv1.0.weight"]), "equal to the last bit: was it two processes?"


@pytest.mark.long
def test_two_nodes_of_two_processes_train_to_the_same_weights(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """By torchrun, which says how many processes there are; both nodes are this machine."""
    folder, port = tmp_path / "four", free_port()
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    target = ["-m", "tests.training.two_nodes", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen([*command, f"--node-rank={rank}", *target], cwd=root, env=env) for rank in range(2)
    ]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    (session,) = json.loads((folder / "environment.json").read_text())["sessions"]
    assert session["processes"] == 4
    one, four = (read_state_dict(each / "last.safetensors")[0] for each in (runs[0], folder))
    for key, value in one.items():
        assert (value.double() - four[key].double()).abs().max() <= 1e-9, key
    scores = [json.loads((each / "result.json").read_text())["scores"] for each in (runs[0], folder)]
    assert scores[0] == {**scores[1], "loss": pytest.approx(scores[1]["loss"], abs=1e-9)}


def test_each_sample_is_evaluated_once_by_some_process(runs: tuple[Path, Path]) -> None:
    shares = [
        [
            int(line)
            for line in Path(RANK_FILE.format(runs[1], rank)).with_suffix(".evaluated").read_text().split()
        ]
        for rank in range(2)
    ]
    assert [len(share) for share in shares] == [3 * 6, 3 * 5]  # 11 samples, three evaluations
    assert sorted(shares[0] + shares[1]) == sorted(list(range(11)) * 3)
    results = [json.loads((folder / "result.json").read_text()) for folder in runs]
    first, second = (result["scores"] for result in results)
    assert first == {**second, "loss": pytest.approx(second["loss"], abs=1e-9)}
    images = [Hits.load(folder / "last_images.npz") for folder in runs]
    assert images[0].index.tolist() == images[1].index.tolist() == list(range(11))
    assert images[0].hits.tolist() == images[1].hits.tolist()


def test_the_logged_loss_is_the_mean_over_the_processes(runs: tuple[Path, Path]) -> None:
    """Of one process and of two on the same weights and images; each process alone has another."""
    one, two = (
        {
            row["step"]: float(row["train_loss"])
            for row in read_metrics(folder / "metrics.csv")
            if row["train_loss"]
        }
        for folder in runs
    )
    assert len(one) > 3 and one.keys() == two.keys()
    for step, loss in one.items():
        assert two[step] == pytest.approx(loss, abs=1e-9), step


def test_the_processes_share_each_global_batch(runs: tuple[Path, Path]) -> None:
    whole = read_samples(Path(RANK_FILE.format(runs[0], 0)))
    parts = [read_samples(Path(RANK_FILE.format(runs[1], rank))) for rank in range(2)]
    for (epoch, batch, together), first, second in zip(whole, *parts, strict=True):
        assert first[:2] == second[:2] == (epoch, batch)
        assert sorted(first[2] + second[2]) == sorted(together)


def test_a_signal_to_one_process_stops_both(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_pair(train_stopped_on_rank_1, plain_recipe(devices=2), folder) == [143, 143]
    assert read_checkpoint(folder / LAST)["global_step"] == 3


@pytest.mark.slow
def test_a_signal_to_one_process_in_an_evaluation_stops_both_alike(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_pair(train_stopped_in_evaluation_on_rank_0, plain_recipe(devices=2), folder) == [143, 143]
    assert read_checkpoint(folder / LAST)["global_step"] == 5


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(UserError, marks=pytest.mark.long),
        OSError,
        pytest.param(MemoryError, marks=pytest.mark.long),
    ],
    ids=lambda kind: kind.__name__,
)
def test_an_error_on_one_process_ends_the_other_with_one_line(tmp_path: Path, kind: type[Exception]) -> None:
    folder = tmp_path / "run"
    began = time.monotonic()
    codes = run_pair(train_failing_on_rank_1, plain_recipe(devices=2, checkpoint_every=1), folder, kind)
    assert codes[1] == 1 and codes[0] == 7, "the first one ends by `ProcessLost`, which is one line"
    assert time.monotonic() - began < 60
    assert (
        Path(RANK_FILE.format(folder, 0)).read_text()
        == "another process of this run is gone; go on with --resume"
    )
    assert read_checkpoint(folder / LAST)["global_step"] == 2


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = exact_recipe(devices=2)
    recipe = replace(recipe, run=replace(recipe.run, checkpoint_every=1))
    assert run_pair(train_killed_on_rank, recipe, folder, 1) == [7, -signal.SIGKILL]
    assert run_pair(train_killed_on_rank, recipe, folder, 0, True) == [-signal.SIGKILL, 7]
    assert run_pair(train_on, recipe, folder) == [0, 0]


@pytest.mark.slow
def test_unreadable_images_of_all_processes_count_together(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = plain_recipe(devices=2)
    recipe = replace(recipe, data=replace(recipe.data, max_bad=2))
    assert run_pair(train_with_bad_images, recipe, folder, (3, 8)) == [0, 0]
    listed = (folder / "bad_images.txt").read_text().splitlines()
    assert sorted(line.split("\t")[1] for line in listed) == [
        "scene 3 (seed 0, train)",
        "scene 8 (seed 0, train)",
    ]
    other = tmp_path / "other"
    assert run_pair(train_with_bad_images, recipe, other, (3, 8, 11)) == [2, 2]


def test_a_non_finite_loss_on_one_process_stops_both(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = plain_recipe(devices=2, checkpoint_every=1)
    assert run_pair(train_with_nan_on_one_rank, recipe, folder, 7) == [0, 0]
    messages = [Path(RANK_FILE.format(folder, rank)).read_text() for rank in range(2)]
    assert messages[0] == messages[1]
    assert "scene 7 (seed 0, train)" in messages[0]
    assert messages[0].count("scene") == 1
