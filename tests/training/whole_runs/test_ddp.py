"""Two processes (gloo, CPU) do what one does: same weights, each sample evaluated once, one end for all."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mscsa.checkpoints import read_state_dict
from mscsa.evaluation.top1 import Hits
from mscsa.recipes.spec import OptimSpec, Recipe
from mscsa.training.checkpointing import LAST, read_checkpoint
from mscsa.training.module import NonFiniteError
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


def test_a_non_finite_loss_on_one_process_stops_both(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = plain_recipe(devices=2, checkpoint_every=1)
    assert run_pair(train_with_nan_on_one_rank, recipe, folder, 7) == [0, 0]
    messages = [Path(RANK_FILE.format(folder, rank)).read_text() for rank in range(2)]
    assert messages[0] == messages[1]
    assert "scene 7 (seed 0, train)" in messages[0]
    assert messages[0].count("scene") == 1
