"""Choices of a run: length, patience, what is kept, how it calculates; each exact after a kill."""

from __future__ import annotations

import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mscsa.checkpoints import read_state_dict
from mscsa.errors import UserError
from mscsa.recipes.spec import Recipe
from mscsa.run_files import LAST
from mscsa.training import callbacks
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.metrics_log import read_metrics
from mscsa.training.result import RunResult
from mscsa.training.run import train
from tests.training.processes import run
from tests.training.small_runs import (
    assert_same_run,
    plain_recipe,
    score_evaluations,
    small_recipe,
    train_logging,
    train_scored,
)

KILL = signal.SIGKILL


def rows(folder: Path, column: str) -> list[tuple[int, float]]:
    found = read_metrics(folder / "metrics.csv")
    return [(int(row["step"]), float(row[column])) for row in found if row[column]]


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "kept").iterdir())


# A run is made longer


def test_a_longer_run_is_refused_without_a_choice(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(plain_recipe(max_steps=2), folder)
    with pytest.raises(UserError, match="run.epochs = 3, now it is 4: .*add --extend"):
        train(plain_recipe(epochs=4), folder, resume=True)
    with pytest.raises(UserError, match="run of 15 steps, and --extend makes one longer, not shorter, as 10"):
        train(plain_recipe(epochs=2), folder, resume=True, extend=True)
    with pytest.raises(UserError, match="--extend makes a run longer that is there already"):
        train(plain_recipe(), tmp_path / "new", extend=True)
    with pytest.raises(UserError, match="run.seed = 3, now it is 4"):
        train(plain_recipe(epochs=4, seed=4), folder, resume=True, extend=True)


@pytest.mark.slow
def test_an_extended_run_follows_the_longer_schedule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    first = train(plain_recipe(log_every=1), folder)
    longer = plain_recipe(log_every=1, epochs=6)
    caplog.set_level("INFO")
    result = train(longer, folder, resume=True, extend=True)
    assert (first.steps, result.steps) == (15, 30)
    train(longer, whole)
    assert rows(folder, "lr")[15:] == rows(whole, "lr")[15:]
    assert rows(folder, "lr")[:15] != rows(whole, "lr")[:15]
    (said,) = (text for text in caplog.messages if text.startswith("extended"))
    lr = dict(rows(folder, "lr"))
    assert f"from step 16 on the learning rate is that of a run of 30 steps: first {lr[16]:.2e}, not" in said
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["run"]["epochs"] == 6  # what `mscsa train --resume RUN` goes by
    caplog.clear()
    again = train(longer, folder, resume=True, extend=True)  # a job that is queued again
    assert replace(again, seconds=result.seconds) == result
    assert not any(text.startswith("extended") for text in caplog.messages)


@pytest.mark.slow
def test_an_extended_run_is_exact_after_a_kill(tmp_path: Path) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    longer = small_recipe(epochs=5)
    for place in (folder, whole):
        train(small_recipe(), place)
    train(longer, whole, resume=True, extend=True)
    assert run(train_logging, longer, folder, True, {19: (KILL,)}, True) == -KILL
    assert run(train_logging, longer, folder, True) == 0  # now it is the longer run
    assert_same_run(folder, whole)
    assert rows(folder, "lr") == rows(whole, "lr")


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_longer_save_is_the_longer_one(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    train(plain_recipe(), folder)
    longer = plain_recipe(epochs=4)
    with pytest.raises(UserError, match="add --extend"):
        train(longer, folder, resume=True)
    assert run(train_logging, longer, folder, True, {16: (KILL,)}, True) == -KILL
    assert read_checkpoint(folder / LAST)["mscsa"]["recipe"]["run"]["epochs"] == 3
    assert train(longer, folder, resume=True).steps == 20  # as its settings say by now


def test_what_a_resume_may_change_goes_on_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(plain_recipe(max_steps=2), folder)
    train(plain_recipe(max_steps=3, keep=2), folder, resume=True)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert (settings["run"]["max_steps"], settings["run"]["keep"]) == (3, 2)


# It ends early, keeps the best, by a score of choice


SCORES = ({"top1": 10.0, "loss": 3.0}, {"top1": 30.0, "loss": 4.0}, {"top1": 20.0, "loss": 2.0})
"""Of the first three evaluations; all later ones are as the last."""


@pytest.mark.slow
def test_a_run_ends_when_its_patience_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, recipe = tmp_path / "run", plain_recipe(epochs=9, patience=2, log_every=4)
    caplog.set_level("INFO")
    with score_evaluations(SCORES):
        result = train(recipe, folder)
        assert "the run ends here: no better top-1 in 2 evaluations (run.patience)" in caplog.text
        assert (result.steps, result.best_score, result.best_epoch) == (20, 30.0, 2)
        assert [step for step, _ in rows(folder, "val_top1")] == [5, 10, 15, 20]
        assert [step for step, _ in rows(folder, "train_loss")] == [4, 8, 12, 16, 20]
        assert (folder / "last_images.npz").exists()
        again = train(recipe, folder, resume=True)
        assert replace(again, seconds=result.seconds) == result
        assert read_checkpoint(folder / LAST)["global_step"] == 20
        more = train(replace(recipe, run=replace(recipe.run, patience=3)), folder, resume=True)
    assert more.steps == 25


def test_the_last_steps_are_logged_where_a_run_ends_early(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with score_evaluations(SCORES):
        train(plain_recipe(epochs=9, patience=1, log_every=4), folder)
    assert [step for step, _ in rows(folder, "train_loss")] == [4, 8, 12, 15]


@pytest.mark.parametrize(
    ("monitor", "best", "steps"),
    [
        pytest.param("top1", 30.0, [10, 15], marks=pytest.mark.slow),
        ("loss", 2.0, [5, 15]),
        pytest.param(None, 30.0, [10, 15], marks=pytest.mark.slow),
    ],
)
def test_the_best_evaluations_are_kept_by_the_score_of_choice(
    tmp_path: Path, monitor: str | None, best: float, steps: list[int]
) -> None:
    folder = tmp_path / "run"
    with score_evaluations(SCORES):
        result = train(plain_recipe(keep=2, monitor=monitor), folder)
    assert result.best_score == best and result.monitor == (monitor or "top1")
    assert kept(folder) == sorted(f"step_{step}.safetensors" for step in steps)
    states = {name: read_state_dict(folder / name)[0] for name in ("best.safetensors", "last.safetensors")}
    last, _ = read_state_dict(folder / "kept" / "step_15.safetensors")
    assert all(torch.equal(value, last[key]) for key, value in states["last.safetensors"].items())
    assert all(torch.equal(value, last[key]) for key, value in states["best.safetensors"].items()) == (
        monitor == "loss"
    )


@pytest.mark.slow
def test_patience_and_what_is_kept_are_exact_after_a_kill(tmp_path: Path) -> None:
    """Killed in the step after the second evaluation, and in the evaluation that would be the last."""
    folder, whole = tmp_path / "run", tmp_path / "whole"
    recipe = small_recipe(epochs=9, patience=2, keep=2, checkpoint_every=100)
    assert run(train_scored, recipe, whole, SCORES, 0) == 0
    assert run(train_scored, recipe, folder, SCORES, 11) == -KILL
    assert run(train_scored, recipe, folder, SCORES, 16) == -KILL
    assert run(train_scored, recipe, folder, SCORES, 0) == 0
    assert_same_run(folder, whole)
    assert kept(folder) == kept(whole) == ["step_10.safetensors", "step_15.safetensors"]
    for name in kept(folder):
        ours, theirs = (read_state_dict(each / "kept" / name)[0] for each in (folder, whole))
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_a_score_that_has_no_value_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measure = callbacks.measure

    def measured(*arguments: Any, **options: Any) -> Any:
        scores = measure(*arguments, **options)
        return None if scores is None else replace(scores, top5=None)

    monkeypatch.setattr(callbacks, "measure", measured)
    result = train(plain_recipe(monitor="top5", epochs=1), tmp_path / "run")
    assert result.best_score is None and result.best_epoch == 1
    assert "top-5 has no value on these images: the first evaluation counts as the best" in caplog.text


# How it calculates


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice",
    [
        {"deterministic": True, "matmul_precision": "medium"},
        pytest.param({"compile": True}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_way_to_calculate_is_exact_after_a_kill(tmp_path: Path, choice: dict[str, Any]) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    recipe = small_recipe(epochs=2, **choice)
    assert run(train_logging, recipe, whole) == 0
    assert run(train_logging, recipe, folder, False, {7: (KILL,)}) == -KILL
    assert run(train_logging, recipe, folder, True) == 0
    assert_same_run(folder, whole)


@pytest.mark.long
def test_a_compiled_run_is_the_same_but_for_rounding(tmp_path: Path) -> None:
    """Keys of the weights are the same, evaluation runs without, and the losses are near."""
    results: list[RunResult] = []
    for compile in (False, True):
        recipe: Recipe = plain_recipe(epochs=1, compile=compile, log_every=1)
        recipe = replace(recipe, optim=replace(recipe.optim, ema_decay=0.5))
        results.append(train(recipe, tmp_path / str(compile)))
    losses = [[loss for _, loss in rows(tmp_path / name, "train_loss")] for name in ("False", "True")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and losses[0] != losses[1]
    plain, compiled = (read_state_dict(tmp_path / name / "last.safetensors")[0] for name in ("False", "True"))
    assert plain.keys() == compiled.keys()
    assert asdict(results[0]).keys() == asdict(results[1]).keys()
