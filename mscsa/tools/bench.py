"""How fast a model is against its backbone: interleaved in one process, with the spread of the measurement.

Each round times one arm and then the other, in alternating order, so that whatever else the machine
does hits both. Ratios are taken within rounds. Images are random and already on the device.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mscsa.tools.model_pair import ModelPair
from mscsa.tools.peak_memory import PeakMemory, measure_peak_memory
from mscsa.tools.report import Table

logger = logging.getLogger(__name__)

Dtype = Literal["float32", "bfloat16", "float16"]

UNSTABLE_SPREAD = 0.05
"""Spread of the paired ratio over the rounds above which a result is called unstable."""

_MIN_ROUND_S = 0.2
_MIN_CALLS = 3
_WARM_UP_S = 0.5
_WARM_UP_CALLS = 3


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """How to measure."""

    batch_sizes: tuple[int, ...] = (1, 16, 64)
    """Images per call."""
    device: str = "cpu"
    """torch's name of the device."""
    dtype: Dtype = "float32"
    """Of weights and images in inference; training autocasts to it."""
    channels_last: bool = False
    """Memory layout of images and convolutions."""
    rounds: int = 7
    """Rounds of both arms; 5 at least."""
    threads: int | None = None
    """CPU threads; torch's choice if None."""
    train: bool = True
    """Measure a training step too: forward, backward and AdamW."""
    memory: bool = True
    """Measure peak memory too, each arm in its own process."""

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch sizes {list(self.batch_sizes)} given: give one or more of at least 1")
        if self.rounds < 5:
            raise ValueError(f"rounds={self.rounds} given: a median and its spread need 5 or more")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads} given: give 1 or more")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time of one call of one arm, over all rounds."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    images_per_s: float
    """Batch size / median."""
    calls: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both arms at one batch size in one mode."""

    mode: Literal["inference", "training"]
    batch_size: int
    baseline: Timing
    model: Timing
    ratio: float
    """Median over the rounds of (time of the model / time of the backbone)."""
    ratio_range: tuple[float, float]
    """Smallest and largest ratio of a round."""
    spread: float
    """(p90 - p10) / median of the ratio over the rounds."""
    is_stable: bool
    """Whether `spread` is at most `UNSTABLE_SPREAD`."""


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All comparisons of a pair, and what they were measured on."""

    model: str
    baseline: str
    is_dense: bool
    input_size: tuple[int, int]
    """(H, W) in pixels."""
    options: BenchOptions
    machine: dict[str, Any]
    comparisons: tuple[Comparison, ...]
    memory: tuple[PeakMemory, ...]
    """Peak memory of each arm, mode and batch size."""


def bench_pair(
    pair: ModelPair, size: tuple[int, int], options: BenchOptions, *, memory_key: dict[str, Any] | None = None
) -> BenchResult:
    """Time a pair at (H, W) pixels, inference first and then training steps.

    Args:
        memory_key: Arguments of `build_pair` that build the pair again in a process of its own, for
            the peak memory on the CPU; None measures no memory.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    arms = (pair.baseline, pair.model)
    memory: tuple[PeakMemory, ...] = ()
    modes: tuple[Literal["inference", "training"], ...] = ("inference", "training")
    if options.memory and memory_key is not None:
        logger.info("peak memory of both models")
        memory = measure_peak_memory(memory_key, size, asdict(options), [_num_threads(options)])
    comparisons = []
    for mode in modes if options.train else modes[:1]:
        for batch_size in options.batch_sizes:
            logger.info("%s, batch %d: %d rounds", mode, batch_size, options.rounds)
            calls = [build_call(arm, mode, batch_size, size, options) for arm in arms]
            comparisons.append(_compare(calls[0], calls[1], mode, batch_size, options))
    return BenchResult(
        model=pair.name,
        baseline=pair.baseline_name,
        is_dense=pair.is_dense,
        input_size=size,
        options=options,
        machine=describe_machine(options.device),
        comparisons=tuple(comparisons),
        memory=memory,
    )
