"""Where numbers go beside `metrics.csv`: nowhere by default; after a resume to the same record as before."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mscsa.training import trackers
from mscsa.training.metrics_log import read_metrics
from mscsa.training.run import train
from mscsa.training.trackers import Tracker, check_installed
from tests.refusals import one_line_error
from tests.training.small_runs import plain_recipe


class FakeTracker(Logger):
    """A tracker whose records are lists in this process."""

    records: dict[str, list[tuple[int, dict[str, float]]]] = {}
    settings: list[dict[str, Any]] = []
    refusal: Exception | None = None

    def __init__(self, known: str | None) -> None:
        super().__init__()
        self.record = known or f"record{len(self.records)}"

    @property
    def name(self) -> str:
        return "fake"

    @property
    def version(self) -> str:
        return self.record

    @property
    def experiment(self) -> object:
        if self.refusal:
            raise self.refusal
        return self.records.setdefault(self.record, [])

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.settings.append(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.refusal:
            raise self.refusal
        self.records[self.record].append((step or 0, dict(metrics)))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeTracker]:
    """In the place of MLflow, as if that were installed."""
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    monkeypatch.setitem(trackers._MAKE, "mlflow", lambda recipe, folder, known, step: FakeTracker(known))
    for name, value in {"records": {}, "settings": [], "refusal": None}.items():
        monkeypatch.setattr(FakeTracker, name, value)
    return FakeTracker


def test_none_is_the_default(tmp_path: Path) -> None:
    tracker = Tracker(plain_recipe(), tmp_path, None)
    tracker.start()
    tracker.end()
    assert tracker.loggers == [] and list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_with_its_record(tmp_path: Path, fake: type[FakeTracker]) -> None:
    recipe = plain_recipe(epochs=2, logger="mlflow")
    folder = tmp_path / "run"
    train(replace(recipe, run=replace(recipe.run, max_steps=6)), folder)
    assert json.loads((folder / "tracker.json").read_text()) == {"mlflow": "record0"}
    train(recipe, folder, resume=True)
    assert list(fake.records) == ["record0"] and len(fake.settings) == 1
    assert fake.settings[0]["run"]["seed"] == recipe.run.seed
    sent = [
        (step, values["train_loss"]) for step, values in fake.records["record0"] if "train_loss" in values
    ]
    rows = read_metrics(folder / "metrics.csv")
    assert sent == [(int(row["step"]), float(row["train_loss"])) for row in rows if row["train_loss"]]


def test_a_new_run_in_another_folder_has_a_record_of_its_own(tmp_path: Path, fake: type[FakeTracker]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Tracker(plain_recipe(logger="mlflow"), tmp_path / name, None).start()
    assert list(fake.records) == ["record0", "record1"]


@pytest.mark.parametrize("content", ["{", "[]", '{"wandb": "other"}', '{"mlflow": 3}'])
def test_a_record_that_is_not_known_is_a_new_one(
    tmp_path: Path, fake: type[FakeTracker], content: str
) -> None:
    (tmp_path / "tracker.json").write_text(content)
    Tracker(plain_recipe(logger="mlflow"), tmp_path, 6).start()
    assert json.loads((tmp_path / "tracker.json").read_text()) == {"mlflow": "record0"}


def test_a_tracker_that_refuses_at_the_start_is_one_line(tmp_path: Path, fake: type[FakeTracker]) -> None:
    fake.refusal = RuntimeError("no\nserver")
    tracker = Tracker(plain_recipe(logger="mlflow"), tmp_path, None)
    one_line_error(tracker.start, "run.logger mlflow cannot be started .no server.: see that MLFLOW_TRACKING")


def test_a_tracker_that_fails_later_ends_no_run(
    tmp_path: Path, fake: type[FakeTracker], caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(plain_recipe(logger="mlflow"), tmp_path, None)
    tracker.start()
    fake.refusal = ConnectionError("gone")
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            tracker.loggers[0].log_metrics({"train_loss": 1.0}, step)
    (record,) = [each for each in caplog.records if "misses numbers" in each.getMessage()]
    assert record.getMessage() == "run.logger mlflow misses numbers, metrics.csv has them: gone"


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_names_the_installation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    one_line_error(
        lambda: check_installed(name), f"not installed: pip install {name}, or give --run.logger none"
    )


def test_tensorboard_goes_on_after_a_resume(tmp_path: Path) -> None:
    recipe = plain_recipe(logger="tensorboard")
    (first := Tracker(recipe, tmp_path, None)).start()
    for step in (2, 4, 6):
        first.loggers[0].log_metrics({"train_loss": float(step)}, step)
    first.loggers[0].finalize("failed")
    (again := Tracker(recipe, tmp_path, 4)).start()
    for step in (6, 8):
        again.loggers[0].log_metrics({"train_loss": 10.0 * step}, step)
    again.loggers[0].finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("train_loss")] == [
        (2, 2),
        (4, 4),
        (6, 60),
        (8, 80),
    ]


def test_wandb_keeps_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = plain_recipe(logger="wandb")
    records = []
    for step in (None, 4):
        tracker = Tracker(recipe, tmp_path, step)
        tracker.start()
        tracker.loggers[0].log_metrics({"train_loss": 1.0}, 5)
        tracker.end()
        records.append(json.loads((tmp_path / "tracker.json").read_text())["wandb"])
    assert records[0] == records[1] and len(list((tmp_path / "wandb").glob(f"*{records[0]}"))) >= 1


def test_mlflow_keeps_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlruns'}")
    recipe = plain_recipe(logger="mlflow")
    for step in (None, 4):
        tracker = Tracker(replace(recipe, run=replace(recipe.run, epochs=3 if step else 2)), tmp_path, step)
        tracker.start()
        tracker.loggers[0].log_metrics({"train_loss": 1.0}, step or 4)
        tracker.loggers[0].finalize("success")
    record = json.loads((tmp_path / "tracker.json").read_text())["mlflow"]
    (found,) = tracker.loggers[0].experiment.search_runs([tracker.loggers[0].experiment_id])
    assert found.info.run_id == record and found.info.status == "FINISHED"
