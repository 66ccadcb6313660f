"""Optimiser groups and learning rates at known steps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

import mscsa
from mscsa.errors import UserError
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import OptimSpec
from mscsa.training.optimization import build_optimizer, build_scheduler

STEPS = 100
"""Per epoch."""


def rates(spec: OptimSpec, epochs: int, steps: list[int]) -> list[float]:
    optimizer = build_optimizer(nn.Linear(2, 2), spec)
    scheduler = build_scheduler(optimizer, spec, epochs, STEPS)
    result = []
    for step in steps:
        if step:
            scheduler.step_update(step)
        result.append(optimizer.param_groups[0]["lr"])
    return result


def test_cosine_with_warm_up_as_in_appendix_c1() -> None:
    spec = RECIPES["imagenet/pvt_v2_b1"].optim
    epochs = 300
    total, warm = epochs * STEPS, 5 * STEPS

    def cosine(step: int) -> float:
        return 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * step / total))

    found = rates(spec, epochs, [0, warm // 2, warm - 1, warm, total // 2, total - 1, total])
    expected = [
        1e-6,
        1e-6 + (1e-3 - 1e-6) / 2,
        1e-6 + (1e-3 - 1e-6) * (warm - 1) / warm,
        cosine(warm),
        cosine(total // 2),
        cosine(total - 1),
        1e-5,
    ]
    assert found == pytest.approx(expected, rel=1e-9)


def test_step_schedule_of_topformer() -> None:
    spec = RECIPES["imagenet/topformer_tiny"].optim
    interval = 240  # 2.4 epochs
    found = rates(spec, 600, [300, interval * 2 - 1, interval * 2, interval * 10 + 1])
    assert found == pytest.approx(
        [0.064 * 0.973, 0.064 * 0.973, 0.064 * 0.973**2, 0.064 * 0.973**10], rel=1e-9
    )


def test_constant_after_a_warm_up_of_half_an_epoch() -> None:
    spec = OptimSpec(lr=0.1, schedule="constant", warmup_epochs=0.5, warmup_lr=0.0)
    assert rates(spec, 2, [0, 25, 50, 199]) == pytest.approx([0.0, 0.05, 0.1, 0.1])


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimSpec())
    with pytest.raises(UserError, match=r"optim.warmup_epochs 5 is not shorter than run.epochs 5"):
        build_scheduler(optimizer, OptimSpec(), 5, STEPS)


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
    scheduler = build_scheduler(optimizer, replace(spec, warmup_epochs=0.0), 10, STEPS)
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
