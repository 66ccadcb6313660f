"""Small runs on rendered scenes, and what happens to them on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from mscsa.checkpoints import read_state_dict
from mscsa.data.scenes.classification import SceneClassification
from mscsa.evaluation.top1 import Accuracy
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    ModelSpec,
    OptimSpec,
    Recipe,
    RunSpec,
)
from mscsa.training import callbacks
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import TrainingModule
from mscsa.training.run import train

torch.set_num_threads(1)

STEPS_PER_EPOCH = 5


def small_recipe(**run: Any) -> Recipe:
    """All that is random in a step, EMA, three epochs of five steps; `run` replaces fields of RunSpec."""
    return Recipe(
        name="test/small",
        paper="",
        expected="",
        cost="",
        model=ModelSpec(
            name="test_resnet",
            mscsa={"pool_stride": 8},
            budget=0.5,
            drop_path_rate=0.2,
            drop_rate=0.2,
        ),
        data=ClassificationData(
            kind="scenes",
            image_size=32,
            batch_size=8,
            eval_batch_size=4,
            workers=0,
            num_train=8 * STEPS_PER_EPOCH + 3,
            num_val=11,
        ),
        augment=ClassificationAugment(scale=(0.5, 1.0), auto_augment="rand-m5-mstd0.5", repeats=2),
        optim=OptimSpec(lr=1e-3, warmup_epochs=1.0, ema_decay=0.8, clip_grad=5.0),
        run=replace(RunSpec(epochs=3, seed=3, accelerator="cpu", checkpoint_every=2, log_every=2), **run),
    )


def plain_recipe(**run: Any) -> Recipe:
    """A bare backbone without anything random in a step."""
    recipe = small_recipe(**run)
    return replace(
        recipe,
        model=ModelSpec(name="test_resnet"),
        augment=ClassificationAugment(
            scale=(0.9, 1.0),
            color_jitter=None,
            auto_augment=None,
            random_erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            label_smoothing=0.0,
            repeats=1,
        ),
        optim=OptimSpec(lr=1e-3, warmup_epochs=0.0),
    )


def train_logging(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    events: dict[int, tuple[int, ...]] | None = None,
    extend: bool = False,
    pause: float = 0.0,
) -> None:
    """Train; note the samples of each batch; at given optimiser steps send this process signals.

    Args:
        events: Optimiser step, counted from 1, to the signals that arrive while it runs.
        pause: Seconds after each of them.
    """

    def send(step: int) -> None:
        for each in (events or {}).get(step, ()):
            os.kill(os.getpid(), each)
            time.sleep(pause)

    log_samples(folder.with_suffix(".samples"))
    before_step(send)
    train(recipe, folder, resume=resume, extend=extend)


def train_scored(
    recipe: Recipe, folder: Path, scores: Sequence[Mapping[str, float]], killed_in_step: int
) -> None:
    """Train, or go on, with evaluations that come out as told; SIGKILL arrives in a step, 0 for none."""
    before_step(lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == killed_in_step else None)
    with score_evaluations(scores):
        train_resumable(recipe, folder)


@contextmanager
def score_evaluations(scores: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """Let the evaluation of each epoch come out as told, and those after them as the last one of these."""
    measure, evaluate = callbacks.measure, callbacks.Evaluate._evaluate
    told: list[Mapping[str, float]] = []

    def evaluated(self: Any, trainer: Any, module: Any, step: int) -> bool:
        told.append(scores[min(step // module.steps_per_epoch, len(scores)) - 1])
        return evaluate(self, trainer, module, step)

    def measured(*arguments: Any, **options: Any) -> Any:
        found = measure(*arguments, **options)
        return None if found is None else replace(cast(Accuracy, found), **told[-1])

    callbacks.measure, callbacks.Evaluate._evaluate = measured, evaluated  # type: ignore[method-assign]
    try:
        yield
    finally:
        callbacks.measure, callbacks.Evaluate._evaluate = measure, evaluate  # type: ignore[method-assign]


def train_interrupted_in_evaluation(recipe: Recipe, folder: Path, evaluation: int) -> None:
    """Train; SIGTERM arrives in the middle of the n-th evaluation, counted from 1."""
    log_samples(folder.with_suffix(".samples"))
    read = SceneClassification.__getitem__
    starts = []

    def read_and_signal(self: SceneClassification, key: Any) -> Any:
        if self.scenes.split == "val" and key == 0:
            starts.append(key)
        if self.scenes.split == "val" and key == 5 and len(starts) == evaluation:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, key)

    SceneClassification.__getitem__ = read_and_signal  # type: ignore[method-assign]
    train(recipe, folder)


def resume_interrupted_in_evaluation(recipe: Recipe, folder: Path, signum: int) -> None:
    """Resume; a signal arrives in the evaluation that this begins with."""
    read = SceneClassification.__getitem__

    def read_and_signal(self: SceneClassification, key: Any) -> Any:
        if self.scenes.split == "val" and key == 5:
            os.kill(os.getpid(), signum)
        return read(self, key)

    SceneClassification.__getitem__ = read_and_signal  # type: ignore[method-assign]
    train(recipe, folder, resume=True)


def train_resumable(recipe: Recipe, folder: Path) -> None:
    """Train, from the last checkpoint if there is one."""
    train(recipe, folder, resume=(folder / "last.ckpt").exists())


def train_killed(recipe: Recipe, folder: Path, dataset: type[Any], reads: int) -> None:
    """Train until this process has read so many samples of a data set, and die by SIGKILL."""
    read, keys = dataset.__getitem__, []

    def read_or_die(self: Any, key: Any) -> Any:
        keys.append(key)
        if len(keys) > reads:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, key)

    dataset.__getitem__ = read_or_die
    train(recipe, folder)


SPEED = {"images_per_s": "", "data_wait": ""}
"""Columns of `metrics.csv` that are of the machine, without their values."""


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Two folders hold the same weights and the same metrics, but for the speed, to the last bit."""
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (read_state_dict(folder / name)[0] for folder in (ours, theirs))
        assert a.keys() == b.keys()
        assert all(torch.equal(value, b[key]) for key, value in a.items())
    rows = [read_metrics(folder / "metrics.csv") for folder in (ours, theirs)]
    for x, y in zip(*rows, strict=True):
        assert {**x, **SPEED} == {**y, **SPEED}


def log_samples(path: Path) -> None:
    """Append a line (epoch, batch, indices) to a file for each training batch of this process."""

    def note(module: TrainingModule, batch: Any, batch_idx: int) -> None:
        with path.open("a") as file:
            entry = [module.trainer.current_epoch, batch_idx, batch[2].tolist()]
            file.write(json.dumps(entry) + "\n")

    _wrap_training_step(note)


def before_step(action: Callable[[int], object]) -> None:
    """Call `action(step)` at each training step of this process, counted from 1."""
    _wrap_training_step(lambda module, batch, batch_idx: action(module.trainer.global_step + 1))


def _wrap_training_step(action: Callable[[TrainingModule, Any, int], object]) -> None:
    step = TrainingModule.training_step

    def wrapped(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        action(self, batch, batch_idx)
        return step(self, batch, batch_idx)

    TrainingModule.training_step = wrapped  # type: ignore[method-assign]


def read_samples(folder: Path) -> list[tuple[int, int, tuple[int, ...]]]:
    """Read the lines of `log_samples` beside a folder: (epoch, batch, indices)."""
    lines = folder.with_suffix(".samples").read_text().splitlines()
    return [(epoch, batch, tuple(indices)) for epoch, batch, indices in map(json.loads, lines)]


def spoil_sample(index: int) -> None:
    """Make one training image NaN, for this process."""
    read = SceneClassification.__getitem__

    def read_spoilt(self: SceneClassification, key: Any) -> Any:
        image, label, found = read(self, key)
        if self.scenes.split == "train" and found == index:
            image = torch.full_like(image, float("nan"))
        return image, label, found

    SceneClassification.__getitem__ = read_spoilt  # type: ignore[method-assign]


def log_evaluated(path: Path) -> None:
    """Append the index of each validation sample that this process reads to a file."""
    read = SceneClassification.__getitem__

    def read_and_note(self: SceneClassification, key: Any) -> Any:
        if self.scenes.split == "val":
            with path.open("a") as file:
                file.write(f"{key}\n")
        return read(self, key)

    SceneClassification.__getitem__ = read_and_note  # type: ignore[method-assign]
