"""Around the steps: moving average, when a run is evaluated and what is kept, lines and metrics."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.checkpoints import read_state_dict
from mscsa.evaluation.top1 import Accuracy
from mscsa.training import callbacks
from mscsa.training.callbacks import BEST, LAST_WEIGHTS, Evaluate, LogSteps, MovingAverage, ProgressBar
from mscsa.training.checkpointing import SaveLast
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import TrainingModule
from mscsa.training.objectives import build_objective
from mscsa.training.run import train
from tests.training.small_runs import STEPS_PER_EPOCH, plain_recipe, small_recipe


def test_moving_average_is_the_recursion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters and buffers: the first update copies, later ones mix; evaluated and exported."""
    history: list[dict[str, torch.Tensor]] = []
    update = MovingAverage.on_train_batch_end

    def note(self: MovingAverage, trainer: Any, pl_module: Any, *rest: Any) -> None:
        history.append({k: v.clone() for k, v in pl_module.model.state_dict().items()})
        update(self, trainer, pl_module, *rest)

    monkeypatch.setattr(MovingAverage, "on_train_batch_end", note)
    train(small_recipe(epochs=2, max_steps=4), tmp_path / "run")
    exported, _ = read_state_dict(tmp_path / "run" / "last.safetensors")
    assert len(history) == 4
    for key, value in exported.items():
        if not value.dtype.is_floating_point:
            continue
        average = history[0][key].double()
        for later in history[1:]:
            average = 0.8 * average + 0.2 * later[key].double()
        assert torch.allclose(value.double(), average, rtol=1e-5, atol=1e-7), key
    assert any(not torch.equal(exported[key], history[-1][key]) for key in exported)


def test_evaluations_every_second_epoch_and_at_the_end(tmp_path: Path) -> None:
    train(plain_recipe(eval_every=2), tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [int(row["step"]) for row in rows if row["val_top1"]] == [10, 15]


class FakeLogger:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))


def evaluation(folder: Path, **run: Any) -> Evaluate:
    recipe = plain_recipe(**run)
    info = WeightsInfo(
        model=recipe.model, data=recipe.data, class_names=("a",), input={}, provenance={"x": 1}
    )
    return Evaluate(
        folder,
        recipe,
        info,
        total_steps=3 * STEPS_PER_EPOCH,
        resumed_step=0,
        average=None,
        save_last=SaveLast(folder, 2, {}),
    )


def fake_trainer(**fields: Any) -> Any:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}, {"lr": 0.3}])
    known = {"global_step": 0, "world_size": 1, "is_global_zero": True, "loggers": [FakeLogger()]}
    return SimpleNamespace(
        **{**known, "optimizers": [optimizer], "datamodule": SimpleNamespace(val_loader=list), **fields}
    )


def training_module() -> TrainingModule:
    recipe = plain_recipe()
    return TrainingModule(nn.Linear(2, 2), recipe, build_objective(recipe, 2), steps_per_epoch=5)


def test_evaluations_are_due_after_epochs_and_at_the_end(tmp_path: Path) -> None:
    each = evaluation(tmp_path)
    assert [step for step in range(1, 16) if each.is_due(step, STEPS_PER_EPOCH)] == [5, 10, 15]
    second = evaluation(tmp_path, eval_every=2)
    assert [step for step in range(1, 16) if second.is_due(step, STEPS_PER_EPOCH)] == [10, 15]
    second.total_steps = 12  # a run may end within an epoch
    assert [step for step in range(1, 13) if second.is_due(step, STEPS_PER_EPOCH)] == [10, 12]


def test_the_best_weights_are_the_earliest_of_the_best_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, module, trainer = evaluation(tmp_path), training_module(), fake_trainer()
    top1 = iter([20.0, 60.0, 60.0, 30.0])

    def measured(*arguments: Any, **options: Any) -> Accuracy:
        return Accuracy(top1=next(top1), top5=90.0, loss=1.0, num_samples=11)

    monkeypatch.setattr(callbacks, "measure", measured)
    for step, weight in ((5, 1.0), (10, 2.0), (15, 3.0), (20, 4.0)):
        nn.init.constant_(module.model.weight, weight)  # type: ignore[arg-type]
        trainer.global_step = step
        evaluate.on_train_epoch_end(trainer, module)
    assert evaluate.best == {"epoch": 2.0, "step": 10, "score": 60.0}
    assert evaluate.evaluated_step == 20 and evaluate.latest["top1"] == 30.0
    for name, weight in ((BEST, 2.0), (LAST_WEIGHTS, 4.0)):
        weights, _ = read_state_dict(tmp_path / name)
        assert (weights["weight"] == weight).all()
    rows = trainer.loggers[0].rows
    assert [step for step, _ in rows] == [5, 10, 15, 20]
    assert rows[1][1] == {"epoch": 2.0, "val_top1": 60.0, "val_top5": 90.0, "val_loss": 1.0}


def test_what_was_evaluated_is_kept_by_a_checkpoint(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path), evaluation(tmp_path)
    before.evaluated_step, before.latest = 10, {"top1": 5.0}
    before.best = {"epoch": 1.0, "step": 5, "score": 7.0}
    saved = before.state_dict()
    saved["seconds"] = 1000.0
    after.load_state_dict(saved)
    assert (after.evaluated_step, after.latest, after.best) == (10, before.latest, before.best)
    assert 1000.0 <= after.seconds < 1100.0


def test_only_the_first_process_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Accuracy(top1=1.0, top5=2.0, loss=3.0, num_samples=4)
    monkeypatch.setattr(callbacks, "measure", lambda *arguments, **options: scores)
    evaluate = evaluation(tmp_path)
    evaluate.on_train_epoch_end(fake_trainer(global_step=5, is_global_zero=False), training_module())
    assert evaluate.best["score"] == 1.0 and not list(tmp_path.iterdir())


def test_steps_are_logged_as_means_since_the_last_entry(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, module, trainer = LogSteps(2, 8, 100, lines=True), training_module(), fake_trainer()
    monkeypatch.setattr(module, "log", lambda *arguments, **options: None)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: float(trainer.global_step))  # a second a step
    log.on_train_start(trainer, module)
    log.on_train_epoch_start(trainer, module)
    with caplog.at_level(logging.INFO):
        for batch, loss in enumerate((1.0, 3.0, 5.0, 7.0, 9.0)):
            module.loss_value = loss
            trainer.global_step = batch + 1
            log.on_train_batch_end(trainer, module, None, None, batch)
    assert [step for step, _ in trainer.loggers[0].rows] == [2, 4]
    first, second = (row for _, row in trainer.loggers[0].rows)
    assert (first["train_loss"], second["train_loss"]) == (2.0, 6.0)
    assert (first["epoch"], first["lr"], first["images_per_s"]) == (2 / 5, 0.3, 8.0)
    assert "step 2 of 100: loss 2.0000, lr 3.00e-01, 8.0 images/s" in caplog.text
    assert log.state_dict() == {"losses": [9.0]}
    resumed = LogSteps(2, 8, 100, lines=False)
    resumed.load_state_dict(log.state_dict())
    module.loss_value, trainer.global_step = 1.0, 5
    resumed.on_train_start(trainer, module)
    trainer.global_step = 6
    resumed.on_train_batch_end(trainer, module, None, None, 0)
    assert trainer.loggers[0].rows[-1][1]["train_loss"] == 5.0


def test_accumulated_batches_are_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    log, module, trainer = LogSteps(1, 8, 100, lines=False), training_module(), fake_trainer()
    monkeypatch.setattr(module, "log", lambda *arguments, **options: None)
    log.on_train_start(trainer, module)
    for batch, (step, loss) in enumerate(((0, 1.0), (1, 2.0))):
        trainer.global_step, module.loss_value = step, loss
        log.on_train_batch_end(trainer, module, None, None, batch)
    assert [(step, row["train_loss"]) for step, row in trainer.loggers[0].rows] == [(1, 1.5)]


def test_the_bar_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    base = ProgressBar.__bases__[0]
    monkeypatch.setattr(base, "get_metrics", lambda *arguments: {"v_num": 3, "loss": 1.0})
    assert ProgressBar().get_metrics(fake_trainer(), training_module()) == {"loss": 1.0}
