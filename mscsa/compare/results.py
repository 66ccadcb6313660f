"""What a comparison comes to, and what its numbers allow to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mscsa.compare.statistics import (
    ALPHA,
    MIN_SEEDS,
    Interval,
    PairedStatistics,
    includes_zero,
    smallest_p,
)
from mscsa.neck_table import NECKS, OTHER_NECKS
from mscsa.speed.interleaved import Comparison

ARM_NAMES = {
    "baseline": "its baseline",
    "control": "the control of the same MACs",
    **{neck: f"{NECKS[neck].title} of the same MACs" for neck in OTHER_NECKS},
    "mscsa": "MSCSA",
}
"""Arms in their order, and what sentences call them; necks go by their names in the table. Variants of MSCSA
stand before MSCSA itself, and go by the names that they were given."""


def arm_name(arm: str) -> str:
    """Give what sentences call an arm."""
    return ARM_NAMES.get(arm, f"MSCSA's variant {arm}")


def pairs_of(arms: Iterable[str]) -> list[tuple[str, str]]:
    """List the arms that are compared: the first of a pair minus the second.

    MSCSA against each other arm, the baseline first, which gives the verdict; then each other against the
    baseline.
    """
    others = [arm for arm in arms if arm not in ("baseline", "mscsa")]
    against = [("mscsa", arm) for arm in ("baseline", *others)]
    return against + [(arm, "baseline") for arm in others]


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm over all seeds."""

    model: str
    """What tables and pictures call it."""
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
    class_scores: dict[str, tuple[tuple[float | None, ...], ...]] = field(default_factory=dict)
    """The scores of `CLASS_SCORES` that the task has, by name: of each class, in %, by seed. None where the
    test images have nothing of a class."""

    @property
    def mean(self) -> float:
        """Mean score over the seeds, in %."""
        return mean(self.scores)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One arm against another."""

    first: str
    second: str
    """Names of arms: scores of the first minus those of the second."""
    seeds: PairedStatistics
    """Over the seeds."""
    image_interval: Interval
    """95 % bootstrap interval over the test images of the mean over the seeds, in points."""


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """All arms, what they cost, how they differ, and what they were measured on."""

    out: Path
    seeds: tuple[int, ...]
    metric: str
    """Name of the task's main score."""
    labels: dict[str, tuple[str, str]]
    """The task's scores by name: what people call each, and its unit."""
    input_size: tuple[int, int]
    """(H, W) in pixels at which costs are counted and latency is measured."""
    num_images: int
    """Test images."""
    block: int
    """Consecutive images that the bootstrap over images draws together."""
    class_names: tuple[str, ...] = ()
    """In the order of `ArmResult.class_scores`."""
    arms: dict[str, ArmResult]
    """By name, in the order of `ARM_NAMES`; there may be no control, and no other necks."""
    contrasts: tuple[Contrast, ...]
    """As `pairs_of` lists them."""
    control_note: str
    """What the control is, or why there is none."""
    neck_notes: dict[str, str] = field(default_factory=dict)
    """Neck that was asked for -> how wide it is, or why it is not among the arms."""
    variant_notes: dict[str, str] = field(default_factory=dict)
    """Variant of MSCSA -> what is otherwise in it."""
    latency: tuple[Comparison, ...]
    """Of all arms in their order, at each batch size; empty where it was not to be measured."""
    machine: dict[str, Any]

    @property
    def metric_label(self) -> str:
        """What people call the main score."""
        return self.labels[self.metric][0]


def verdict(result: CompareResult, contrast: Contrast) -> str:
    """Say in one sentence what the numbers allow on two arms."""
    first, second = arm_name(contrast.first), arm_name(contrast.second)
    first = first[0].upper() + first[1:]
    numbers = _numbers(result, contrast)
    count, direction = len(result.seeds), contrast.seeds.direction
    if count < MIN_SEEDS:
        seeds = "one seed" if count == 1 else f"{count} seeds"
        return (
            f"No verdict on {first} against {second}: {seeds} cannot reach 5 % (a sign-flip test has p "
            f"{smallest_p(count):.2g} at least), give --seeds {MIN_SEEDS} or more: {numbers}."
        )
    if not direction:
        return f"No clear difference between {first} and {second}, {_doubt(contrast.seeds)}: {numbers}."
    finding = f"{first} is {'better' if direction > 0 else 'worse'} than {second}"
    if includes_zero(contrast.image_interval):
        return f"{finding} on these test images; on others it may not hold: {numbers}."
    return f"{finding} here: {numbers}."


def _doubt(seeds: PairedStatistics) -> str:
    """Say which of the interval and the test does not see a difference."""
    if seeds.interval is None:
        return "all seeds differ by the same, which leaves no spread to judge by"
    if not includes_zero(seeds.interval):
        return "the interval over seeds excludes 0, but the sign-flip test does not reach 5 %"
    if seeds.p <= ALPHA:
        return "the sign-flip test reaches 5 %, but the interval over seeds includes 0"
    return "it is within the spread of the seeds"


def _numbers(result: CompareResult, contrast: Contrast) -> str:
    seeds, count = contrast.seeds, len(result.seeds)
    over_seeds = f"p = {seeds.p:.2g} over {count} seeds" if count > 1 else "one seed"
    if seeds.interval is not None:
        over_seeds = f"95 % interval {show_interval(seeds.interval)} and {over_seeds}"
    over_images = f"{show_interval(contrast.image_interval)} over {result.num_images} test images"
    return f"{seeds.mean:+.2f} points, {over_seeds}, 95 % interval {over_images}"


def show_interval(interval: Interval) -> str:
    """Write an interval as "+0.10 to +0.90"."""
    return f"{interval[0]:+.2f} to {interval[1]:+.2f}"
