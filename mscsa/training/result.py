"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a finished run came to; `result.json` holds the same."""

    recipe: str
    """Name of the recipe."""
    seed: int
    metric: str
    """Name of the main score: `top1`, `miou` or `ap`."""
    scores: dict[str, Any]
    """Last evaluation on the validation set, the fields of the task's scores."""
    monitor: str
    """Score by which evaluations are ranked: `metric`, or what `run.monitor` names."""
    best_score: float | None
    """That score of the best evaluation, whose weights `best.safetensors` holds; None if it has no value."""
    best_epoch: float
    best_weights: str
    """Whose weights these are: `raw`, or with a moving average the better of `raw` and `average`."""
    steps: int
    """Optimiser steps."""
    num_parameters: int
    seconds: float
    """Time of training and evaluation, over all sessions."""
    data: dict[str, Any]
    """What it was trained and evaluated on: numbers of images, hashes of files and classes."""
