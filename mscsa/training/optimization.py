"""Optimiser and learning-rate schedule by timm, from an `OptimSpec`."""

from __future__ import annotations

from typing import Any

from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from mscsa.errors import UserError
from mscsa.recipes.length import check_schedule, run_length, warmup_length
from mscsa.recipes.spec import OptimSpec, RunSpec


def build_optimizer(model: nn.Module, spec: OptimSpec) -> Optimizer:
    """Build the optimiser over the parameters that have a gradient.

    Biases, norms and what the model names in `no_weight_decay` get no weight decay. With
    `layer_decay`, groups carry an `lr_scale` by the model's own `group_matcher`; with
    `head_lr_factor`, those of the model's `head_prefixes` carry that factor.

    Raises:
        UserError: If nothing is left to train, or the model has no head on a pyramid to set apart.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("model.freeze leaves no parameter to train; give fewer prefixes")
    options: dict[str, Any] = {}
    if spec.eps is not None:
        options["eps"] = spec.eps
    if spec.betas is not None and spec.optimizer == "adamw":
        options["betas"] = tuple(spec.betas)
    return create_optimizer_v2(
        model if spec.head_lr_factor == 1 else _head_groups(model, spec),
        opt=spec.optimizer,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        layer_decay=spec.layer_decay,
        **options,
    )


def build_scheduler(optimizer: Optimizer, spec: OptimSpec, run: RunSpec, steps_per_epoch: int) -> Scheduler:
    """Build the schedule, counted in optimiser steps.

    A linear warm-up to `lr`, from which `cosine`, `poly` and `step` start and end with the run: the rate
    reaches `lr` and does not jump where the warm-up ends. Milestones count from the run's first step.

    Raises:
        UserError: As `check_schedule`.
    """
    check_schedule(spec, run, steps_per_epoch)
    length, warmup = run_length(run, steps_per_epoch), warmup_length(spec, steps_per_epoch)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=spec.schedule,
        num_epochs=length - warmup,  # type: ignore[arg-type] # a share of an epoch works
        decay_epochs=spec.decay_epochs * steps_per_epoch,
        # timm applies a milestone one update early.
        decay_milestones=[round(epoch * steps_per_epoch) + 1 for epoch in spec.milestones],
        # timm's name for the power of its polynomial.
        decay_rate=spec.power if spec.schedule == "poly" else spec.decay_rate,
        min_lr=spec.min_lr,
        warmup_lr=spec.warmup_lr,
        warmup_epochs=warmup,  # type: ignore[arg-type] # likewise
        # Without it timm lets the schedule run below the warm-up, and its rate falls at once where that ends.
        warmup_prefix=spec.schedule != "multistep",
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return scheduler


def _head_groups(model: nn.Module, spec: OptimSpec) -> list[dict[str, Any]]:
    """Split timm's groups for weight decay into the head's, with a learning rate of its own, and the rest."""
    prefixes = getattr(model, "head_prefixes", None)
    if prefixes is None or spec.layer_decay is not None:
        raise UserError(
            f"optim.head_lr_factor {spec.head_lr_factor:g} needs a model with a head on a pyramid, without "
            "optim.layer_decay; leave it at 1"
        )
    spared: Any = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()  # type: ignore[operator]
    in_head = {id(p) for name, p in model.named_parameters() if name.startswith(tuple(prefixes))}
    groups = []
    for group in param_groups_weight_decay(model, spec.weight_decay, no_weight_decay_list=spared):
        for is_head, factor in ((True, spec.head_lr_factor), (False, 1.0)):
            chosen = [p for p in group["params"] if (id(p) in in_head) is is_head]
            if chosen:
                groups.append({**group, "params": chosen, "lr_scale": factor})
    return groups
