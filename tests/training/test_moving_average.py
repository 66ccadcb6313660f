"""The moving average's decay grows with the run, so that a short run is not all start."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mscsa.checkpoints import read_state_dict
from mscsa.training.moving_average import MovingAverage, short_run_warning, warmed_up
from mscsa.training.run import train
from tests.training.small_runs import small_recipe


def test_moving_average_is_the_recursion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters and buffers: the first update copies, later ones mix, the earlier the more."""
    history: list[dict[str, torch.Tensor]] = []
    averages: list[dict[str, torch.Tensor]] = []
    update = MovingAverage.on_train_batch_end

    def note(self: MovingAverage, trainer: Any, pl_module: Any, *rest: Any) -> None:
        history.append({k: v.clone() for k, v in pl_module.model.state_dict().items()})
        update(self, trainer, pl_module, *rest)
        averages.append({k: v.clone() for k, v in self.model.state_dict().items()})

    monkeypatch.setattr(MovingAverage, "on_train_batch_end", note)
    recipe = small_recipe(epochs=2, max_steps=4)
    train(replace(recipe, optim=replace(recipe.optim, ema_decay=0.25)), tmp_path / "run")
    assert len(history) == 4
    for key, value in averages[-1].items():
        if not value.dtype.is_floating_point:
            continue
        average = history[0][key].double()
        for decay, later in zip((2 / 11, 0.25, 0.25), history[1:], strict=True):
            average = decay * average + (1 - decay) * later[key].double()
        assert torch.allclose(value.double(), average, rtol=1e-5, atol=1e-7), key
    files = [
        read_state_dict(tmp_path / "run" / name)[0] for name in ("last.safetensors", "last_other.safetensors")
    ]
    for kept in (averages[-1], history[-1]):  # the better and the other, whichever they are
        assert any(all(torch.equal(kept[key], file[key]) for key in kept) for file in files)
    assert any(not torch.equal(files[0][key], files[1][key]) for key in files[0])


def test_the_start_of_a_short_run_has_little_share() -> None:
    """With the fixed decay of the fine-tuning recipes 70 % of an average over 180 steps was the first."""
    share = 1.0
    for update in range(1, 180):
        share *= warmed_up(0.998, update)
    assert share < 1e-6 < 0.69 < 0.998**179
    assert warmed_up(0.998, 4480) < 0.998 == warmed_up(0.998, 4500)


def test_a_run_that_is_short_for_its_decay_is_told() -> None:
    assert short_run_warning(0.998, 1500) is None
    warning = short_run_warning(0.998, 180)
    assert warning is not None and "70 % of the average" in warning and "\n" not in warning
    assert "0.953" in warning


def test_the_log_of_a_short_run_has_the_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(small_recipe(max_steps=1), tmp_path / "run")
    (warning,) = (each.getMessage() for each in caplog.records if each.levelno == logging.WARNING)
    assert warning == short_run_warning(0.8, 1)
