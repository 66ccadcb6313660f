"""What a comparison comes to, and what its numbers allow to say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mscsa.speed.interleaved import Comparison

T_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 95 % quantiles of Student's t for 2 to 10 seeds; more seeds take the last, which is wider."""


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm over all seeds."""

    model: str
    recipe: str
    scores: tuple[float, ...]
    """Main score of the last evaluation of each seed, in %."""
    curves: tuple[list[tuple[float, float]], ...]
    """Evaluations of each seed: (epochs done, main score in %)."""
    seconds: tuple[float, ...]
    """Training time of each seed."""
    parameters: int
    macs: int
    """Multiply-adds of one image at the recipe's size."""
    other_scores: dict[str, tuple[float | None, ...]]
    """The task's other scores after the last evaluation of each seed, by name."""

    @property
    def mean(self) -> float:
        """Mean score over the seeds, in %."""
        return mean(self.scores)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """Both arms, what they cost, and what they were measured on."""

    out: Path
    seeds: tuple[int, ...]
    metric: str
    """Name of the task's main score."""
    labels: dict[str, tuple[str, str]]
    """The task's scores by name: what people call each, and its unit."""
    input_size: tuple[int, int]
    """(H, W) in pixels at which costs are counted and latency is measured."""
    baseline: ArmResult
    mscsa: ArmResult
    latency: tuple[Comparison, ...]
    machine: dict[str, Any]

    @property
    def metric_label(self) -> str:
        """What people call the main score."""
        return self.labels[self.metric][0]

    @property
    def differences(self) -> tuple[float, ...]:
        """Score with MSCSA minus without, of each seed, in points."""
        return tuple(b - a for a, b in zip(self.baseline.scores, self.mscsa.scores, strict=True))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of the mean difference over seeds, in points; None for one seed."""
        count = len(self.seeds)
        if count < 2:
            return None
        half = T_95[min(count - 2, len(T_95) - 1)] * stdev(self.differences) / count**0.5
        return mean(self.differences) - half, mean(self.differences) + half


def verdict(result: CompareResult) -> str:
    """Say in one sentence what the numbers allow."""
    difference, interval = mean(result.differences), result.interval
    if interval is None:
        return f"One seed, {difference:+.2f} points: without a spread this says nothing; give more --seeds."
    low, high = interval
    numbers = (
        f"{difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f} over {len(result.seeds)} seeds"
    )
    if low <= 0 <= high:
        return f"No clear difference: it is within the spread of the seeds ({numbers})."
    return f"MSCSA is {'better' if difference > 0 else 'worse'} than its baseline here ({numbers})."
