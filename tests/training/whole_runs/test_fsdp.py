"""Two processes that share a model (gloo, CPU) end as one does, and write what one reads."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mscsa.checkpoints import read_state_dict
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import evaluate
from mscsa.recipes.spec import OptimSpec, Recipe
from mscsa.run_files import LAST
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.module import TrainingModule
from mscsa.training.moving_average import MovingAverage
from mscsa.training.run import train
from mscsa.training.sharding import local
from tests.training.processes import run
from tests.training.small_runs import before_step, small_recipe, train_resumable
from tests.training.whole_runs.test_ddp import (
    RANK_FILE,
    exact_recipe,
    note_loss,
    run_pair,
    train_failing_on_rank_1,
    train_logging_all,
    train_on,
    train_stopped_in_evaluation_on_rank_0,
    train_stopped_on_rank_1,
    train_with_nan_on_one_rank,
)
from tests.training.whole_runs.test_detection import recipe as detector_recipe
from tests.training.whole_runs.test_resume import assert_same_run, flatten

FSDP: dict[str, Any] = {"devices": 2, "strategy": "fsdp"}
LONG = pytest.mark.long

# By default: tests/training/test_sharding.py, in two processes too.
pytestmark = pytest.mark.slow


def uneven_recipe(**run: Any) -> Recipe:
    """Two processes have two and one batch to evaluate; the average is part of it."""
    recipe = exact_recipe(**run)
    return replace(
        recipe,
        data=replace(recipe.data, num_val=9),
        optim=replace(recipe.optim, optimizer="momentum", ema_decay=0.8),
    )


def train_weighing(rank: int, recipe: Recipe, folder: Path) -> None:
    """Train, and note the bytes of weights, average and optimiser that this process has between two steps."""

    def weigh(self: TrainingModule, batch: Any, batch_idx: int) -> None:
        states = self.trainer.optimizers[0].state.values()
        moments = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        averages = [each for each in self.trainer.callbacks if isinstance(each, MovingAverage)]
        weights = [p for model in (self, *averages) for p in model.model.parameters()]
        assert len(averages) == 1 and (batch_idx == 0 or len(moments) > 10)
        held = [local(value) for value in (*weights, *moments)]
        size = sum(value.numel() * value.element_size() for value in held)
        Path(RANK_FILE.format(folder, rank)).with_suffix(".bytes").write_text(str(size))
        noted(self, batch, batch_idx)

    noted = TrainingModule.on_train_batch_start
    TrainingModule.on_train_batch_start = weigh  # type: ignore[method-assign]
    train(recipe, folder)


def bytes_of(folder: Path, rank: int) -> int:
    return int(Path(RANK_FILE.format(folder, rank)).with_suffix(".bytes").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run by one process and by two that share the model."""
    root = tmp_path_factory.mktemp("fsdp")
    one, two = root / "one", root / "two"
    assert run(train_weighing, 0, uneven_recipe(), one) == 0
    assert run_pair(train_weighing, uneven_recipe(**FSDP), two) == [0, 0]
    return one, two


def assert_close(ours: Path, theirs: Path, limit: float = 1e-9) -> None:
    """Weights, the average, and both in the last checkpoint with the optimiser are the same to rounding."""
    for name in ("last.safetensors", "last_other.safetensors", "best.safetensors"):
        a, b = (read_state_dict(folder / name)[0] for folder in (ours, theirs))
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert (value.double() - b[key].double()).abs().max() <= limit, f"{name}: {key}"
    x, y = (dict(flatten(read_checkpoint(folder / LAST))) for folder in (ours, theirs))
    assert x.keys() == y.keys()
    for key, value in x.items():
        if isinstance(value, Tensor):
            assert type(y[key]) is type(value) and y[key].dtype == value.dtype, key
            assert (value.double() - y[key].double()).abs().max() <= limit, key


def test_two_processes_that_share_a_model_train_to_the_same_weights(runs: tuple[Path, Path]) -> None:
    """With clipped gradients, and a moving average; the checkpoint is of the same form to the last key."""
    assert_close(*runs)
    weights = [read_state_dict(folder / "last.safetensors")[0]["conv1.0.weight"] for folder in runs]
    assert not torch.equal(*weights), "equal to the last bit: was it two processes?"
    one, two = (json.loads((folder / "result.json").read_text()) for folder in runs)
    assert one["scores"] == {**two["scores"], "loss": pytest.approx(two["scores"]["loss"], abs=1e-9)}
    assert one["num_parameters"] == two["num_parameters"]


def test_each_process_keeps_half_of_what_lasts(runs: tuple[Path, Path]) -> None:
    whole = bytes_of(runs[0], 0)
    halves = [bytes_of(runs[1], rank) for rank in range(2)]
    assert sum(halves) == whole
    assert max(halves) <= 0.51 * whole


def test_the_checkpoint_has_no_trace_of_the_shares(runs: tuple[Path, Path]) -> None:
    """Plain tensors in memory of their own size, read without running code."""
    content = read_checkpoint(runs[1] / LAST)
    tensors = [value for _, value in flatten(content) if isinstance(value, Tensor)]
    assert len(tensors) > 50
    for value in tensors:
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size()
    sizes = [(folder / LAST).stat().st_size for folder in runs]
    assert sizes[1] <= 1.05 * sizes[0]


def test_one_process_evaluates_what_two_trained(runs: tuple[Path, Path]) -> None:
    scores = evaluate(runs[1] / "last.safetensors").scores
    told = json.loads((runs[1] / "result.json").read_text())["scores"]
    assert scores.top1 == told["top1"]  # type: ignore[union-attr]
    assert scores.loss == pytest.approx(told["loss"], abs=1e-6)  # type: ignore[union-attr]


def stopped_at(recipe: Recipe, steps: int) -> Recipe:
    return replace(recipe, run=replace(recipe.run, max_steps=steps))


@pytest.mark.parametrize(
    ("first", "then"), [("fsdp", "ddp"), ("ddp", "fsdp"), pytest.param("fsdp", "fsdp", marks=LONG)]
)
def test_a_run_goes_on_with_another_strategy(
    runs: tuple[Path, Path], tmp_path: Path, first: str, then: str
) -> None:
    folder = tmp_path / "run"
    recipe = uneven_recipe(devices=2, strategy=first)
    assert run_pair(train_logging_all, stopped_at(recipe, 7), folder) == [0, 0]
    assert read_checkpoint(folder / LAST)["global_step"] == 7
    assert run_pair(train_on, uneven_recipe(devices=2, strategy=then), folder) == [0, 0]
    assert_close(runs[0], folder)


def test_one_process_goes_on_from_the_file_of_two(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """A run keeps its number of processes, on which its random draws depend; the file would do for any."""
    folder = tmp_path / "run"
    assert run_pair(train_logging_all, stopped_at(uneven_recipe(**FSDP), 7), folder) == [0, 0]
    with pytest.raises(
        UserError, match="is of a run with processes = 2, now it is 1: resume with the former"
    ):
        train(uneven_recipe(), folder, resume=True)
    content = torch.load(folder / LAST, weights_only=True)
    content["mscsa"]["processes"] = 1
    torch.save(content, folder / LAST)
    assert run(train_resumable, uneven_recipe(), folder) == 0
    assert_close(runs[0], folder)


def train_killed_in(rank: int, recipe: Recipe, folder: Path, step: int) -> None:
    """Die by SIGKILL in a step in the second process, and soon after it in the first."""
    if rank == 1:
        before_step(lambda now: os.kill(os.getpid(), signal.SIGKILL) if now == step else None)
    note_loss(rank, recipe, folder)


OPTIMIZERS = {
    "adamw": OptimSpec(lr=1e-3, warmup_epochs=1.0, ema_decay=0.8, clip_grad=1.0, layer_decay=0.9),
    "rmsproptf": OptimSpec(optimizer="rmsproptf", lr=1e-3, warmup_epochs=1.0, ema_decay=0.8),
    "sgd": OptimSpec(optimizer="sgd", lr=1e-2, warmup_epochs=1.0, ema_decay=0.8),
}


@pytest.mark.parametrize(
    "optimizer", ["adamw", *(pytest.param(name, marks=LONG) for name in ("rmsproptf", "sgd"))]
)
def test_a_killed_run_ends_as_the_one_that_was_not(tmp_path: Path, optimizer: str) -> None:
    """MSCSA with all that is random in a step, to the last bit."""
    recipe = replace(small_recipe(epochs=2, **FSDP), optim=OPTIMIZERS[optimizer])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_pair(train_logging_all, recipe, whole) == [0, 0]
    assert run_pair(train_killed_in, recipe, killed, 8) == [7, -signal.SIGKILL]
    assert read_checkpoint(killed / LAST)["global_step"] == 6
    assert run_pair(train_on, recipe, killed) == [0, 0]
    assert_same_run(killed, whole)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"accumulate": 2, "channels_last": False}, 1e-9),
        ({"freeze": ("conv1", "layer1", "layer2")}, 1e-9),
        pytest.param({"grad_checkpointing": True}, 1e-9, marks=LONG),
        pytest.param({"precision": "bf16-mixed"}, 2e-3, marks=LONG),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_ways_to_calculate_are_those_of_ddp(tmp_path: Path, changes: dict[str, Any], limit: float) -> None:
    folders = []
    for strategy in ("ddp", "fsdp"):
        recipe = uneven_recipe(devices=2, strategy=strategy)
        part = "model" if "freeze" in changes else "run"
        recipe = replace(recipe, **{part: replace(getattr(recipe, part), **changes)})
        folders.append(tmp_path / strategy)
        assert run_pair(train_logging_all, recipe, folders[-1]) == [0, 0]
    assert_close(*folders, limit)


@pytest.mark.long
def test_a_detector_is_shared_too(tmp_path: Path) -> None:
    """Losses that are divided by counts of all processes; boxes and masks are scored whole."""
    scores = []
    for strategy in ("ddp", "fsdp"):
        recipe = detector_recipe(devices=2, strategy=strategy, precision="64-true", accumulate=2)
        recipe = replace(recipe, optim=replace(recipe.optim, optimizer="momentum", lr=1e-4))
        folder = tmp_path / strategy
        assert run_pair(train_logging_all, recipe, folder) == [0, 0]
        scores.append(json.loads((folder / "result.json").read_text())["scores"])
    assert scores[0] == scores[1]
    assert_close(tmp_path / "ddp", tmp_path / "fsdp", 1e-8)


@pytest.mark.parametrize(
    ("target", "step"),
    [(train_stopped_on_rank_1, 3), pytest.param(train_stopped_in_evaluation_on_rank_0, 5, marks=LONG)],
)
def test_a_signal_to_one_process_stops_both(tmp_path: Path, target: Callable[..., None], step: int) -> None:
    folder = tmp_path / "run"
    assert run_pair(target, uneven_recipe(**FSDP), folder) == [143, 143]
    assert read_checkpoint(folder / LAST)["global_step"] == step
    assert run_pair(train_on, uneven_recipe(**FSDP), folder) == [0, 0]


@pytest.mark.long
def test_a_non_finite_loss_on_one_process_stops_both(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_pair(train_with_nan_on_one_rank, uneven_recipe(**FSDP), folder, 7) == [0, 0]
    messages = [Path(RANK_FILE.format(folder, rank)).read_text() for rank in range(2)]
    assert messages[0] == messages[1] and messages[0].count("scene 7 (seed 0, train)") == 1


def test_an_error_on_one_process_ends_the_other_with_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    codes = run_pair(train_failing_on_rank_1, uneven_recipe(**FSDP), folder, OSError)
    assert codes == [7, 1]
