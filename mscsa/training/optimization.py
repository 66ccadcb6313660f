"""Optimiser and learning-rate schedule by timm, from an `OptimSpec`."""

from __future__ import annotations

from typing import Any

from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from mscsa.errors import UserError
from mscsa.recipes.spec import OptimSpec


def build_optimizer(model: nn.Module, spec: OptimSpec) -> Optimizer:
    """Build the optimiser over the parameters that have a gradient.

    Biases, norms and what the model names in `no_weight_decay` get no weight decay. With
    `layer_decay`, groups carry an `lr_scale` by the model's own `group_matcher`.

    Raises:
        UserError: If nothing is left to train.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("model.freeze leaves no parameter to train; give fewer prefixes")
    options: dict[str, Any] = {}
    if spec.eps is not None:
        options["eps"] = spec.eps
    if spec.betas is not None and spec.optimizer == "adamw":
        options["betas"] = tuple(spec.betas)
    return create_optimizer_v2(
        model,
        opt=spec.optimizer,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        layer_decay=spec.layer_decay,
        **options,
    )


def build_scheduler(optimizer: Optimizer, spec: OptimSpec, epochs: int, steps_per_epoch: int) -> Scheduler:
    """Build the schedule, counted in optimiser steps; the warm-up is part of the `epochs`.

    Raises:
        UserError: If the warm-up would last the whole run.
    """
    if spec.warmup_epochs >= epochs:
        raise UserError(
            f"optim.warmup_epochs {spec.warmup_epochs:g} is not shorter than run.epochs {epochs}: "
            "the learning rate would never be reached; lower it, or raise run.epochs"
        )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=spec.schedule,
        num_epochs=epochs,
        decay_epochs=spec.decay_epochs,
        decay_rate=spec.decay_rate,
        min_lr=spec.min_lr,
        warmup_lr=spec.warmup_lr,
        warmup_epochs=spec.warmup_epochs,  # type: ignore[arg-type] # a share of an epoch works
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    return scheduler
