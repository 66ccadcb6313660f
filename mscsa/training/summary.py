"""What a person is told of a run before it begins and after it ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
from torch import nn

from mscsa.data.contract import TaskDataset
from mscsa.data.problems import some_of
from mscsa.detection.detector import Detector
from mscsa.evaluation.scores import SCORES, format_score
from mscsa.heads import Task
from mscsa.macs import count_macs, count_parameters
from mscsa.names import parse_model_name
from mscsa.recipes.spec import Recipe
from mscsa.training.result import RunResult


def opening_lines(
    recipe: Recipe,
    model: nn.Module,
    sets: tuple[TaskDataset, TaskDataset],
    *,
    folder: Path,
    device: torch.device,
    steps: int,
    first_step: int,
) -> list[str]:
    """Say what is about to run: model, data, device and length.

    Args:
        steps: Optimiser steps of the whole run.
        first_step: Step that it goes on from.
    """
    run, data = recipe.run, recipe.data
    train, val = sets
    names = train.class_names
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    count = count_parameters(model)
    frozen = "" if trained == count else f", {trained / 1e6:.2f} M trained"
    processes = run.devices * run.num_nodes
    group = f" x {processes} processes{', which share the model (FSDP)' if run.strategy == 'fsdp' else ''}"
    images = f"{len(train)} training, {len(val)} validation images, {len(names)} classes ({some_of(names)})"
    return [
        f"model    {_name(recipe)}: {count / 1e6:.2f} M parameters{frozen}{_macs(recipe, model)}",
        f"data     {images}",
        f"device   {_device(device)}{group if processes > 1 else ''}, {run.precision}",
        f"run      {steps} steps of {data.batch_size} images"
        f"{f', from step {first_step} on' if first_step else ''}, seed {run.seed}",
        f"folder   {folder}",
    ]


def closing_lines(folder: Path, result: RunResult, task: Task) -> list[str]:
    """Say what a run came to, and what can be done with it."""
    labels = SCORES[task].LABELS
    whose = {"average": " (moving average)", "raw": ""}[result.best_weights]
    best = _score(result.best_score, labels[result.monitor])
    last = _score(result.scores[result.metric], labels[result.metric])
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return [
        f"best     {best}{whose} after epoch {result.best_epoch:g}",
        f"last     {last} after {result.steps} steps, {timedelta(seconds=round(result.seconds))}",
        f"files    {folder}: {', '.join(files)}",
        f"next     mscsa eval {folder}",
    ]


def _score(value: float | None, label: tuple[str, str]) -> str:
    name, unit = label
    return f"{name} {format_score(value, unit)} {unit}"


def _name(recipe: Recipe) -> str:
    spec = recipe.model
    neck = f" + {spec.neck_name}" if spec.neck_name and not parse_model_name(spec.name).has_mscsa else ""
    head = f" + {spec.head}" if spec.head else ""
    return f"{spec.name}{neck}{head}"


def _macs(recipe: Recipe, model: nn.Module) -> str:
    if recipe.model.frozen:
        return ", of which the backbone is read from kept maps"
    height, width = recipe.data.input_size
    run = Detector.run_fixed if isinstance(model, Detector) else None
    try:
        macs = count_macs(model, (height, width), run=run)
    except Exception:  # a model that does not run without data still trains
        return ""
    return f", {macs / 1e9:.3f} GMACs at {height}x{width}"


def _device(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
