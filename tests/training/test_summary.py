"""What is said of a run before it begins and after it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mscsa.assembly.build import build_model
from mscsa.recipes.spec import Recipe
from mscsa.training.result import RunResult
from mscsa.training.summary import closing_lines, opening_lines
from tests.training.small_runs import plain_recipe, small_recipe


class Images:
    """So many images of three classes."""

    class_names = ["ant", "bee", "cat"]

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def opening(recipe: Recipe, model: nn.Module, **changes: Any) -> list[str]:
    options: dict[str, Any] = {
        "folder": Path("runs/x"),
        "device": torch.device("cpu"),
        "steps": 15,
        "first_step": 0,
    }
    sets: Any = (Images(43), Images(11))
    return opening_lines(recipe, model, sets, **{**options, **changes})


def test_model_data_device_length_and_folder() -> None:
    recipe = plain_recipe(threads=1)
    model = build_model(recipe.model, 3)
    count = sum(p.numel() for p in model.parameters())
    lines = opening(recipe, model)
    assert lines[0].startswith(f"model    test_resnet: {count / 1e6:.2f} M parameters, 0.0")
    assert lines[0].endswith("GMACs at 32x32")
    assert lines[1] == "data     43 training, 11 validation images, 3 classes (ant, bee, cat)"
    assert lines[2].startswith("device   CPU, ") and lines[2].endswith("32-true")
    assert lines[3:] == ["run      15 steps of 8 images, seed 3", "folder   runs/x"]


def test_what_is_special_about_a_run() -> None:
    recipe = small_recipe(devices=2)
    model = build_model(recipe.model, 3)
    model.get_parameter("backbone.conv1.0.weight").requires_grad_(False)
    lines = opening(recipe, model, first_step=7)
    assert "test_resnet + mscsa: " in lines[0] and " M trained" in lines[0]
    assert "x 2 processes, 32-true" in lines[2] and "from step 7 on" in lines[3]
    lines = opening(small_recipe(devices=2, strategy="fsdp"), model)
    assert "x 2 processes, which share the model (FSDP), 32-true" in lines[2]


def test_a_model_that_does_not_run_without_data_is_not_counted() -> None:
    class Stubborn(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * float(images.sum())  # has no value on the meta device

    assert "MACs" not in opening(plain_recipe(), Stubborn())[0]


def test_the_end_says_best_last_files_and_what_to_do_next(tmp_path: Path) -> None:
    for name in (".lock", "log.txt", "best.safetensors"):
        (tmp_path / name).touch()
    result = RunResult(
        recipe="x",
        seed=0,
        metric="top1",
        scores={"top1": 40.0},
        monitor="top1",
        best_score=45.0,
        best_epoch=3.0,
        best_weights="average",
        steps=180,
        num_parameters=7,
        seconds=3725.4,
        data={},
    )
    assert closing_lines(tmp_path, result, "classification") == [
        "best     top-1 45.00 % (moving average) after epoch 3",
        "last     top-1 40.00 % after 180 steps, 1:02:05",
        f"files    {tmp_path}: best.safetensors, log.txt",
        f"next     mscsa eval {tmp_path}",
    ]
    assert "(" not in closing_lines(tmp_path, replace(result, best_weights="raw"), "classification")[0]
    by_loss = replace(result, monitor="loss", best_score=1.25, best_weights="raw")
    assert closing_lines(tmp_path, by_loss, "classification")[0] == "best     loss 1.2500 nats after epoch 3"
    without = replace(by_loss, best_score=None)
    assert closing_lines(tmp_path, without, "classification")[0] == "best     loss - nats after epoch 3"
