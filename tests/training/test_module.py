"""The step: seeding, frozen parts, clipping, and what stops it."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mscsa.checkpoints import read_state_dict
from mscsa.data.scenes.classification import SceneClassification
from mscsa.detection.build import build_detector
from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import OptimSpec
from mscsa.run_files import LAST
from mscsa.segmentation import build_segmenter
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.module import NonFiniteError, TrainingModule, seed_generators
from mscsa.training.objectives import ClassificationObjective, DetectionObjective, build_objective
from mscsa.training.run import train
from tests.training.small_runs import plain_recipe, small_recipe, spoil_sample


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Index of a training image that is NaN."""
    monkeypatch.setattr(SceneClassification, "__getitem__", SceneClassification.__getitem__)
    spoil_sample(7)
    yield 7


def test_a_non_finite_loss_stops_names_the_sample_and_keeps_the_checkpoint(
    tmp_path: Path, spoilt: int
) -> None:
    recipe = plain_recipe(checkpoint_every=1, seed=1)
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError, match=rf"samples: scene {spoilt} \(seed 0, train\); ") as caught:
        train(recipe, folder)
    assert "\n" not in str(caught.value)
    saved = read_checkpoint(folder / LAST)
    assert f"at step {saved['global_step'] + 1} " in str(caught.value)
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


class RootAtZero(nn.Module):
    """A finite loss whose gradient is not: the square root at 0."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, targets) + (logits.sum() * 0).abs().sqrt()


def test_a_non_finite_gradient_stops_before_the_weights_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingModule.training_step

    def from_step_3(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 2:
            assert isinstance(self.objective, ClassificationObjective)
            self.objective.criterion = RootAtZero()
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", from_step_3)
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError, match="gradient is not finite at step 3 .*samples: scene"):
        train(plain_recipe(checkpoint_every=1), folder)
    saved = read_checkpoint(folder / LAST)
    assert saved["global_step"] == 2
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


def test_seeding_reaches_every_generator() -> None:
    def draw(seed: int) -> list[float]:
        seed_generators(seed)
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    big = 2**64 - 5
    assert draw(big) == draw(big)
    assert not set(draw(big)) & set(draw(big - 1))


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(small_recipe(max_steps=2, seed=seed), tmp_path / name)
    a, b, c = (read_state_dict(tmp_path / name / "last.safetensors")[0] for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def frozen_run(tmp_path: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights after 0 and after 5 steps with the stem and the first stage fixed."""
    recipe = small_recipe(epochs=1)
    prefixes = ("backbone.conv1", "backbone.bn1", "backbone.layer1")
    recipe = replace(
        recipe,
        model=replace(recipe.model, freeze=prefixes),
        optim=OptimSpec(lr=1e-2, warmup_epochs=0.0),
    )
    result = []
    for steps in (1, 5):
        stepped = replace(recipe, run=replace(recipe.run, max_steps=steps))
        train(stepped, tmp_path / str(steps))
        result.append(read_state_dict(tmp_path / str(steps) / "last.safetensors")[0])
    return result[0], result[1]


def test_frozen_parts_stay_with_their_statistics(tmp_path: Path) -> None:
    before, after = frozen_run(tmp_path)
    fixed = ("backbone.conv1.", "backbone.bn1.", "backbone.layer1.")
    for key, value in after.items():
        moved = not torch.equal(before[key], value)
        if key.startswith(fixed):
            assert not moved, key
        elif value.dtype.is_floating_point and "running" in key:
            assert moved, key


def test_what_is_compiled_keeps_its_names() -> None:
    """The model itself is; a copy of it, as the moving average is one, runs without."""
    plain, compiled = (build_module(compile=each) for each in (False, True))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    assert plain.model._compiled_call_impl is None and compiled.model._compiled_call_impl is not None
    assert copy.deepcopy(compiled).model._compiled_call_impl is None


def build_module(**run: Any) -> TrainingModule:
    recipe = plain_recipe(**run)
    return TrainingModule(nn.Linear(2, 2), recipe, build_objective(recipe, 2), steps_per_epoch=5)


def test_convolutions_do_the_work_of_frozen_norms_while_a_run_lasts() -> None:
    recipe = plain_recipe()
    model = build_segmenter("semantic_fpn", "test_resnet", 2, backbone_norm="frozen", fpn_channels=8)
    module = TrainingModule(model, recipe, build_objective(recipe, 2), steps_per_epoch=5)

    def num_folded() -> int:
        return sum("forward" in vars(each) for each in module.modules() if isinstance(each, nn.Conv2d))

    assert num_folded() == 0
    module.on_fit_start()
    assert num_folded() > 5
    module.on_fit_end()
    assert num_folded() == 0


def test_gradients_are_clipped_over_the_whole_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    clip = TrainingModule.configure_gradient_clipping

    def note(self: TrainingModule, *arguments: Any, **options: Any) -> None:
        clip(self, *arguments, **options)
        squares = [p.grad.square().sum() for p in self.model.parameters() if p.grad is not None]
        norms.append(torch.stack(squares).sum().sqrt().item())

    monkeypatch.setattr(TrainingModule, "configure_gradient_clipping", note)
    recipe = plain_recipe(max_steps=3)
    train(replace(recipe, optim=replace(recipe.optim, clip_grad=0.05)), tmp_path / "run")
    assert norms == pytest.approx([0.05] * 3, rel=1e-3)


def test_checkpointed_gradients_are_refused_where_there_are_none(tmp_path: Path) -> None:
    recipe = plain_recipe(grad_checkpointing=True)
    model = nn.Linear(2, 2)
    with pytest.raises(UserError, match="has no gradient checkpointing"):
        TrainingModule(model, recipe, build_objective(recipe, 2), steps_per_epoch=5)


def targets_of(counts: list[int]) -> list[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(3)
    found = []
    for count in counts:
        corner = torch.from_numpy(rng.uniform(0, 30, (count, 2)))
        boxes = torch.cat([corner, corner + torch.from_numpy(rng.uniform(8, 30, (count, 2)))], dim=1)
        found.append({"boxes": boxes.reshape(-1, 4), "labels": torch.ones(count, dtype=torch.int64)})
    return found


@pytest.mark.parametrize("head", ["deformable_detr", "retinanet"])
@pytest.mark.parametrize("counts", [[4, 1, 0, 0], pytest.param([0, 0, 3, 2], marks=pytest.mark.slow)])
def test_accumulated_parts_are_divided_by_the_objects_of_the_whole(head: str, counts: list[int]) -> None:
    """Of two halves of a batch, one without an object, the gradient is that of the batch."""
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "deformable_detr": {
            **{"num_queries": 20, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0},
            "two_stage": True,
        },
        "retinanet": {"fpn_channels": 8, "anchor_scale": 2.0},
    }[head]
    norms = {"backbone_norm": "frozen", "mscsa_norm": "frozen"}
    model = build_detector(head, "mscsa_resnet10t", 2, **options, **norms)
    images = [torch.rand(3, 64, 64, dtype=torch.float64) for _ in counts]
    targets = targets_of(counts)
    gradients = []
    for parts in (1, 2):
        recipe = replace(RECIPES[f"scenes_{head}/resnet10t"])
        recipe = replace(recipe, run=replace(recipe.run, accumulate=parts, precision="64-true"))
        module = TrainingModule(copy.deepcopy(model), recipe, DetectionObjective(), steps_per_epoch=1)
        module._trainer = SimpleNamespace(world_size=1, precision_plugin=None)  # type: ignore[assignment]
        size = len(counts) // parts
        for first in range(0, len(counts), size):
            chosen = slice(first, first + size)
            batch = (images[chosen], targets[chosen], torch.arange(size))
            (module.training_step(batch, 0) / parts).backward()  # as Lightning divides it
        module.configure_gradient_clipping(None)  # type: ignore[arg-type]
        gradients.append([p.grad.clone() for p in module.model.parameters() if p.grad is not None])
    assert len(gradients[0]) > 20
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-10)
