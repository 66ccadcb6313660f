"""Optimiser groups and learning rates at known steps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import nn

import mscsa
from mscsa.detection import build_detector
from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import OptimSpec, RunSpec
from mscsa.segmentation import build_segmenter
from mscsa.training.optimization import build_optimizer, build_scheduler

STEPS = 100
"""Per epoch."""


def rates(spec: OptimSpec, epochs: int, at: list[int], steps: int | None = None) -> list[float]:
    optimizer = build_optimizer(nn.Linear(2, 2), replace(spec, head_lr_factor=1.0))
    scheduler = build_scheduler(optimizer, spec, RunSpec(epochs=epochs, steps=steps), STEPS)
    result = []
    for step in at:
        if step:
            scheduler.step_update(step)
        result.append(optimizer.param_groups[0]["lr"])
    return result


def test_cosine_with_warm_up_as_in_appendix_c1() -> None:
    spec = RECIPES["imagenet/pvt_v2_b1"].optim
    epochs = 300
    total, warm = epochs * STEPS, 5 * STEPS

    def cosine(step: int) -> float:
        return 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * (step - warm) / (total - warm)))

    found = rates(spec, epochs, [0, warm // 2, warm - 1, warm, total // 2, total - 1, total])
    expected = [
        1e-6,
        1e-6 + (1e-3 - 1e-6) / 2,
        1e-6 + (1e-3 - 1e-6) * (warm - 1) / warm,
        1e-3,
        cosine(total // 2),
        cosine(total - 1),
        1e-5,
    ]
    assert found == pytest.approx(expected, rel=1e-9)


def test_step_schedule_of_topformer() -> None:
    spec = RECIPES["imagenet/topformer_tiny"].optim
    warm, interval = 300, 240  # 3 and 2.4 epochs
    found = rates(spec, 600, [warm, warm + interval - 1, warm + interval, warm + interval * 10 + 1])
    assert found == pytest.approx([0.064, 0.064, 0.064 * 0.973, 0.064 * 0.973**10], rel=1e-9)


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step", "multistep", "constant"])
@pytest.mark.parametrize("warmup", [{"warmup_epochs": 0.7}, {"warmup_steps": 150}])
def test_the_rate_is_reached_and_does_not_jump_where_the_warm_up_ends(
    schedule: str, warmup: dict[str, Any]
) -> None:
    spec = OptimSpec(lr=1.0, min_lr=0.0, warmup_lr=0.0, milestones=(3.0,), schedule=schedule, **warmup)  # type: ignore[arg-type]
    steps = round(warmup.get("warmup_steps", 70))
    course = rates(spec, 4, list(range(401)))
    assert course[steps] == max(course) == pytest.approx(1.0, rel=1e-9)
    rise = 1 / steps
    assert all(later - before <= rise * 1.001 for before, later in pairwise(course))
    assert all(before - later < 0.02 for before, later in pairwise(course[: steps + 20]))
    if schedule in ("cosine", "poly"):
        assert course[399] > course[400] == 0.0


def test_constant_after_a_warm_up_of_half_an_epoch() -> None:
    spec = OptimSpec(lr=0.1, schedule="constant", warmup_epochs=0.5, warmup_lr=0.0)
    assert rates(spec, 2, [0, 25, 50, 199]) == pytest.approx([0.0, 0.05, 0.1, 0.1])


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimSpec())
    with pytest.raises(
        UserError, match=r"optim.warmup_epochs 5 is not shorter than the run of 5 epochs \(500 steps\)"
    ):
        build_scheduler(optimizer, OptimSpec(), RunSpec(epochs=5), STEPS)


def test_no_decay_for_biases_norms_and_what_the_model_names() -> None:
    model = mscsa.create_model("pvt_v2_b0", num_classes=3, pool_stride=16, budget=0.2)
    optimizer = build_optimizer(model, OptimSpec(weight_decay=0.05))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    grouped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert grouped == {id(p) for p in model.parameters()}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim > 1), name


def test_layer_decay_falls_from_the_head_to_the_stem() -> None:
    model = mscsa.create_model("test_resnet", num_classes=3, pool_stride=8, budget=0.5)
    spec = OptimSpec(layer_decay=0.75)
    optimizer = build_optimizer(model, spec)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: scale[id(p)] for name, p in model.named_parameters()}
    assert by_name["head.weight"] == 1.0
    stem, layers = (
        by_name["backbone.conv1.0.weight"],
        [
            max(value for name, value in by_name.items() if name.startswith(f"backbone.layer{i}."))
            for i in (1, 2, 3, 4)
        ],
    )
    assert stem < layers[0] < layers[1] < layers[2] < layers[3] < 1.0
    assert all(math.log(value, 0.75) == pytest.approx(round(math.log(value, 0.75))) for value in layers)
    run = RunSpec(epochs=10)
    scheduler = build_scheduler(optimizer, replace(spec, warmup_epochs=0.0), run, STEPS)
    scheduler.step_update(0)
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(1e-3 * group["lr_scale"])


def test_each_optimiser_takes_its_settings() -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    adamw = build_optimizer(model, OptimSpec(betas=(0.8, 0.9), eps=1e-5))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["betas"], adamw.defaults["eps"]) == ((0.8, 0.9), 1e-5)
    sgd = build_optimizer(model, OptimSpec(optimizer="sgd", momentum=0.7))
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.7
    rmsprop = build_optimizer(model, OptimSpec(optimizer="rmsproptf", eps=1e-3, momentum=0.9))
    assert type(rmsprop).__name__ == "RMSpropTF"
    assert (rmsprop.defaults["eps"], rmsprop.defaults["momentum"]) == (1e-3, 0.9)


def test_fixed_parameters_are_left_out_and_something_must_remain() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, OptimSpec())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    model.requires_grad_(False)
    with pytest.raises(UserError, match="leaves no parameter to train"):
        build_optimizer(model, OptimSpec())


def test_poly_and_multistep_as_in_appendix_c2_and_c3() -> None:
    """At the steps where they change: (1 - t/T)^0.9, and a tenth exactly after epochs 8 and 11."""
    spec = RECIPES["ade20k/mscsa_pvt_v2_b1"].optim
    expected = [2e-4 * (1 - step / 40_000) ** 0.9 for step in (0, 100, 39_999)]
    assert rates(spec, 1, [0, 100, 39_999], steps=40_000) == pytest.approx(expected)
    topformer = RECIPES["ade20k/topformer_tiny"].optim
    at = rates(topformer, 1, [0, 750, 1500, 80_000], steps=160_000)
    assert at == pytest.approx([3e-10, 1.5e-4, 3e-4, 3e-4 * (160_000 - 80_000) / (160_000 - 1500)], rel=1e-5)
    multistep = OptimSpec(schedule="multistep", milestones=(8, 11), decay_rate=0.1, warmup_steps=50)
    at = rates(multistep, 12, [50, 799, 800, 1099, 1100])
    assert at == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    with pytest.raises(UserError, match="multistep needs optim.milestones"):
        rates(OptimSpec(schedule="multistep"), 12, [0])


def test_a_head_learns_at_its_own_rate() -> None:
    model = build_segmenter("topformer_head", "mscsa_topformer_tiny", 3)
    spec = OptimSpec(lr=1e-3, weight_decay=0.05, head_lr_factor=10.0, warmup_epochs=0.0)
    optimizer = build_optimizer(model, spec)
    build_scheduler(optimizer, spec, RunSpec(epochs=1), STEPS)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rate) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rate[id(parameter)] == pytest.approx(1e-2 if name.startswith("decode_head.") else 1e-3), name
        assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0), name
    with pytest.raises(UserError, match="head_lr_factor 10 needs a model with a head on a pyramid"):
        build_optimizer(nn.Linear(2, 2), spec)


@pytest.mark.parametrize("backbone", ["test_convnext", "mscsa_test_convnext"])
def test_layer_decay_of_a_detector_is_that_of_its_backbone(backbone: str) -> None:
    """Both arms of a comparison learn at the same rates; MSCSA, FPN and heads at the whole one."""
    fields = {"fields": {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}} if "mscsa" in backbone else {}
    model = build_detector("retinanet", backbone, 3, fpn_channels=16, **fields)
    optimizer = build_optimizer(model, OptimSpec(layer_decay=0.5))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales = {names[id(p)]: group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scales.keys() == dict(model.named_parameters()).keys()
    prefix = "net.backbone.body.backbone."
    plain = {name for name in scales if name.startswith(prefix)}
    assert all(scale == 1 for name, scale in scales.items() if name not in plain)
    depths = {round(-math.log2(scales[name])) for name in plain}
    assert depths == set(range(1, max(depths) + 1)) and max(depths) > 4
    stem = next(name for name in plain if ".stem." in name)
    assert scales[stem] == min(scales.values())
