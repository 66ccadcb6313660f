"""Around the steps: when a run is evaluated and what is kept, lines and metrics."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.checkpoints import read_state_dict
from mscsa.evaluation.top1 import Accuracy
from mscsa.run_files import BEST, LAST_WEIGHTS
from mscsa.training import callbacks
from mscsa.training.callbacks import OTHER, Evaluate, LogSteps
from mscsa.training.checkpointing import SaveLast
from mscsa.training.display import Display
from mscsa.training.lost_weights import LostWeights
from mscsa.training.metrics_log import read_metrics
from mscsa.training.module import TrainingModule
from mscsa.training.objectives import build_objective
from mscsa.training.run import train
from tests.training.small_runs import STEPS_PER_EPOCH, plain_recipe


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


def evaluation(folder: Path, average: Any = None, **run: Any) -> Evaluate:
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
        average=average,
        save_last=SaveLast(folder, 2, {}),
        display=Display(),
        lost=LostWeights(folder),
    )


def fake_trainer(**fields: Any) -> Any:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}, {"lr": 0.3}])
    known = {"global_step": 0, "world_size": 1, "is_global_zero": True, "strategy": None}
    parts = {"loggers": [FakeLogger()], "optimizers": [optimizer]}
    return SimpleNamespace(**{**known, **parts, "datamodule": SimpleNamespace(val_loader=list), **fields})


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
    assert evaluate.ranking.best == {"epoch": 2.0, "step": 10, "score": 60.0, "weights": "raw"}
    assert evaluate.evaluated_step == 20 and evaluate.latest["top1"] == 30.0
    for name, weight in ((BEST, 2.0), (LAST_WEIGHTS, 4.0)):
        weights, _ = read_state_dict(tmp_path / name)
        assert (weights["weight"] == weight).all()
    rows = trainer.loggers[0].rows
    assert [step for step, _ in rows] == [5, 10, 15, 20]
    assert rows[1][1] == {"epoch": 2.0, "val_top1": 60.0, "val_top5": 90.0, "val_loss": 1.0}


@pytest.mark.parametrize(
    ("of_average", "of_raw", "better"),
    [(19.4, 45.0, "raw"), (45.0, 19.4, "average"), (30.0, 30.0, "average")],
)
def test_the_better_of_average_and_weights_is_exported_and_the_other_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    of_average: float,
    of_raw: float,
    better: str,
) -> None:
    average, module, trainer = SimpleNamespace(model=nn.Linear(2, 2)), training_module(), fake_trainer()
    evaluate = evaluation(tmp_path, average)
    nn.init.constant_(average.model.weight, 1.0)
    nn.init.constant_(module.model.weight, 2.0)  # type: ignore[arg-type]
    top1 = {id(average.model): of_average, id(module.model): of_raw}

    def measured(task: str, model: nn.Module, *arguments: Any, **options: Any) -> Accuracy:
        return Accuracy(top1=top1[id(model)], top5=90.0, loss=1.0, num_samples=11)

    monkeypatch.setattr(callbacks, "measure", measured)
    trainer.global_step = 5
    with caplog.at_level(logging.INFO):
        evaluate.on_train_epoch_end(trainer, module)
    assert evaluate.ranking.best["weights"] == better and evaluate.latest["top1"] == max(of_average, of_raw)
    value = {"average": 1.0, "raw": 2.0}
    for name in (BEST, LAST_WEIGHTS):
        weights, said = read_state_dict(tmp_path / name)
        other, said_of_other = read_state_dict(tmp_path / OTHER[name])
        assert (weights["weight"] == value[better]).all()
        assert (other["weight"] == 3.0 - value[better]).all()
        assert json.loads(said["result"])["weights"] == better
        assert json.loads(said_of_other["result"])["top1"] == min(of_average, of_raw)
    assert trainer.loggers[0].rows[0][1]["average_top1"] == of_average
    assert trainer.loggers[0].rows[0][1]["raw_top1"] == of_raw
    assert f"top-1 {min(of_average, of_raw):.2f} %" in caplog.text


def test_what_was_evaluated_is_kept_by_a_checkpoint(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path), evaluation(tmp_path)
    before.evaluated_step, before.latest = 10, {"top1": 5.0}
    before.ranking.take({"epoch": 1.0, "step": 5, "score": 7.0})
    saved = before.state_dict()
    saved["seconds"] = 1000.0
    after.load_state_dict(saved)
    assert (after.evaluated_step, after.latest, after.ranking.best) == (
        10,
        before.latest,
        before.ranking.best,
    )
    assert 1000.0 <= after.seconds < 1100.0


def test_all_processes_evaluate_the_statistics_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has batch statistics of its own since its last step."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(callbacks.dist, "broadcast", lambda value, source: sent.append((id(value), source)))
    module, seen = training_module(), []
    module.model = nn.BatchNorm1d(2)

    def measured(*arguments: Any, **options: Any) -> Accuracy:
        seen.append(len(sent))
        return Accuracy(top1=1.0, top5=2.0, loss=3.0, num_samples=4)

    monkeypatch.setattr(callbacks, "measure", measured)
    trainer = fake_trainer(global_step=5, is_global_zero=False, world_size=2)
    evaluation(tmp_path).on_train_epoch_end(trainer, module)
    assert sent == [(id(value), 0) for value in module.model.buffers()] and seen == [3]


def test_only_the_first_process_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Accuracy(top1=1.0, top5=2.0, loss=3.0, num_samples=4)
    monkeypatch.setattr(callbacks, "measure", lambda *arguments, **options: scores)
    evaluate = evaluation(tmp_path)
    evaluate.on_train_epoch_end(fake_trainer(global_step=5, is_global_zero=False), training_module())
    assert evaluate.ranking.best["score"] == 1.0 and not list(tmp_path.iterdir())


def no_wait() -> float:
    return 0.0


def logged_steps(log: LogSteps, losses: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run the hooks of steps of a second each; the learning rate is a tenth of the step's number."""
    module, trainer = training_module(), fake_trainer()
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: float(trainer.global_step))
    log.on_train_start(trainer, module)
    log.on_train_epoch_start(trainer, module)
    for batch, loss in enumerate(losses):
        module.loss_value = loss
        groups = [{"lr": 0.0}, {"lr": (batch + 1) / 10}]
        optimizer: Any = SimpleNamespace(param_groups=groups)
        log.on_before_optimizer_step(trainer, module, optimizer)
        groups[1]["lr"] = 7.0  # the next step's
        trainer.global_step = batch + 1
        log.on_train_batch_end(trainer, module, None, None, batch)
    rows: list[Any] = trainer.loggers[0].rows
    return rows


def test_steps_are_logged_as_means_since_the_last_entry(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = LogSteps(2, 8, 100, Display(), no_wait)
    with caplog.at_level(logging.INFO):
        rows = logged_steps(log, (1.0, 3.0, 5.0, 7.0, 9.0), monkeypatch)
    assert [step for step, _ in rows] == [2, 4]
    first, second = (row for _, row in rows)
    assert (first["train_loss"], second["train_loss"]) == (2.0, 6.0)
    assert (first["epoch"], first["lr"], first["images_per_s"]) == (2 / 5, 0.2, 8.0)
    assert "step 2 of 100: loss 2.0000, lr 2.00e-01, 8.0 images/s (0 % waiting), 0:01:38 left" in caplog.text
    assert log.state_dict() == {"losses": [9.0]}
    monkeypatch.undo()
    resumed = LogSteps(2, 8, 100, Display(), no_wait)
    resumed.load_state_dict(log.state_dict())
    module, trainer = training_module(), fake_trainer()
    module.loss_value, trainer.global_step = 1.0, 5
    resumed.on_train_start(trainer, module)
    trainer.global_step = 6
    resumed.on_train_batch_end(trainer, module, None, None, 0)
    assert trainer.loggers[0].rows[-1][1]["train_loss"] == 5.0


@pytest.mark.parametrize(
    ("seconds", "share", "told"), [(80.0, 0.4, True), (30.0, 0.15, False), (4.0, 0.4, False)]
)
def test_waiting_for_images_is_logged_and_told_where_it_is_much(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
    share: float,
    told: bool,
) -> None:
    steps = round(seconds / share)
    passed = iter(
        seconds * i for i in (0, 0, 0.5, 0.5, 1, 1)
    )  # at the start twice, then at and after entries
    log = LogSteps(steps // 2, 8, steps, Display(), lambda: next(passed))
    rows = logged_steps(log, [1.0] * steps, monkeypatch)
    assert [row["data_wait"] for _, row in rows] == pytest.approx([share, share])
    log.on_train_end(fake_trainer(), training_module())
    assert ("of the training time went into waiting for images: more --data.workers" in caplog.text) == told


@pytest.mark.parametrize(("total", "logged"), [(5, [2, 4, 5]), (1, [1])])
def test_the_last_step_is_logged_too(monkeypatch: pytest.MonkeyPatch, total: int, logged: list[int]) -> None:
    rows = logged_steps(LogSteps(2, 8, total, Display(), no_wait), range(1, total + 1), monkeypatch)
    assert [step for step, _ in rows] == logged
    assert rows[-1][1]["train_loss"] == total


def test_accumulated_batches_are_one_entry() -> None:
    log, module, trainer = LogSteps(1, 8, 100, Display(), no_wait), training_module(), fake_trainer()
    log.on_train_start(trainer, module)
    for batch, (step, loss) in enumerate(((0, 1.0), (1, 2.0))):
        trainer.global_step, module.loss_value = step, loss
        log.on_train_batch_end(trainer, module, None, None, batch)
    assert [(step, row["train_loss"]) for step, row in trainer.loggers[0].rows] == [(1, 1.5)]


@pytest.mark.parametrize(("resumed", "since_best"), [(10, 1), (12, 2)])
def test_an_evaluation_that_comes_once_more_does_not_take_patience_twice(
    tmp_path: Path, resumed: int, since_best: int
) -> None:
    """Where its weights are lost; not where training went on since."""
    evaluate = evaluation(tmp_path, None)
    evaluate.resumed_step, evaluate.lost = resumed, LostWeights(tmp_path, (LAST_WEIGHTS,))
    best = {"epoch": 1.0, "step": 2, "score": 5.0, "weights": "raw"}
    kept = {"best": best, "kept": [best], "num_since_best": 2}
    evaluate.load_state_dict({"evaluated_step": 10, "latest": {}, "seconds": 1.0, **kept})
    assert evaluate.ranking.num_since_best == since_best
    assert evaluate.evaluated_step == (9 if resumed == 10 else 10)
