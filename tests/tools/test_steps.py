"""Steps of inference and training on random images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mscsa.errors import UserError
from mscsa.tools.steps import StepOptions, build_step, choose_device


class Recorder(nn.Module):
    """Keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.images: list[Tensor] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.images.append(x)
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.conv(x).mean(dim=(2, 3))


def test_inference_runs_in_eval_mode_with_dtype_and_layout() -> None:
    model = Recorder()
    options = StepOptions(dtype="bfloat16", channels_last=True)
    build_step(model, "inference", 2, (8, 10), options)()
    (images,) = model.images
    assert images.shape == (2, 3, 8, 10)
    assert images.dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert model.modes == [(False, False)]


def test_training_changes_the_weights() -> None:
    model = Recorder()
    before = model.conv.weight.detach().clone()
    step = build_step(model, "training", 2, (8, 8), StepOptions())
    step()
    assert model.modes == [(True, True)]
    assert not torch.equal(before, model.conv.weight)


def test_training_of_a_pyramid_reaches_all_levels() -> None:
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.levels = nn.ModuleList(nn.Conv2d(3, 4, 1) for _ in range(2))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [level(x) for level in self.levels]

    model = Pyramid()
    build_step(model, "training", 2, (8, 8), StepOptions())()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_devices() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UserError, match="give auto, cpu or gpu"):
        choose_device("tpu")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees none"):
        choose_device("gpu")
