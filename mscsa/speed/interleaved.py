"""Models timed in turn in one process, with the measurement's spread.

A round times each arm once, in alternating order, so that whatever else the machine does hits all of them;
ratios are taken within rounds. Images are random and already on the device.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import nn

from mscsa.errors import UserError
from mscsa.progress import tracked
from mscsa.speed.steps import Mode, StepOptions, build_step, check_graph

logger = logging.getLogger(__name__)

TIE = 0.05
"""Difference of times up to which two models are called equally fast: repeated runs differ by as much."""

UNSTABLE_SPREAD = 0.05
"""Spread of the paired ratio over the rounds above which a result is called unstable."""

MIN_ROUNDS = 5

_ROUND_S = 0.2
_WARM_UP_S = 0.5

WARM_UP = f"each is called once before, which compiles it where it is to be, and then for {_WARM_UP_S} s"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time of one call of one arm, over the calls of all rounds."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    p95_ms: float
    images_per_s: float
    """Batch size / median."""
    calls: int


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Time of an arm / time of the first one, over the rounds."""

    median: float
    range: tuple[float, float]
    """Smallest and largest ratio of a round."""
    spread: float
    """(p90 - p10) / median."""

    @property
    def is_stable(self) -> bool:
        """Whether the spread is at most `UNSTABLE_SPREAD`."""
        return self.spread <= UNSTABLE_SPREAD

    @property
    def is_tie(self) -> bool:
        """Whether the two differ by at most `TIE`."""
        return abs(self.median - 1) <= TIE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms at one batch size in one mode."""

    mode: Mode
    batch_size: int
    timings: tuple[Timing, ...]
    """Of each arm."""
    ratios: tuple[Ratio, ...]
    """Of each arm but the first, to the first."""
    rounds: int


def compare_speed(
    models: Sequence[nn.Module],
    size: tuple[int, int],
    *,
    batch_sizes: Sequence[int] = (1, 16, 64),
    modes: Sequence[Mode] = ("inference", "training"),
    options: StepOptions | None = None,
    rounds: int = 7,
    threads: int | None = None,
) -> list[Comparison]:
    """Time models at (H, W) pixels, in all modes and batch sizes.

    Args:
        models: Two or more; ratios are to the first.
        batch_sizes: Images per call.
        modes: Inference, training steps, or both.
        options: Device, dtype and memory layout.
        rounds: Rounds of all arms.
        threads: CPU threads of this process from now on; as they are if None.
    Raises:
        UserError: If a batch does not fit into the device's memory, or a number is too small.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise UserError(f"batch sizes {list(batch_sizes)} given: give one or more of at least 1")
    if rounds < MIN_ROUNDS:
        raise UserError(f"rounds={rounds} given: a median with its spread needs {MIN_ROUNDS} or more")
    if threads is not None and threads < 1:
        raise UserError(f"threads={threads} given: give 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    options = options or StepOptions()
    for mode in modes if options.cuda_graph else ():  # before anything is timed
        for arm in models:
            check_graph(arm, mode, options.device)
    comparisons = []
    settings = [(mode, batch_size) for mode in modes for batch_size in batch_sizes]
    for mode, batch_size in tracked(settings, "bench", len(settings)):
        logger.info("%s, batch %d: %d rounds of %d models", mode, batch_size, rounds, len(models))
        try:
            steps = [build_step(arm, mode, batch_size, size, options) for arm in models]
            times = time_interleaved(steps, rounds, synchronizer(options.device))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{mode} with batch {batch_size} does not fit into the memory of {options.device}: "
                "give smaller batch sizes"
            ) from error
        comparisons.append(summarize(times, mode, batch_size))
    return comparisons


def time_interleaved(
    steps: Sequence[Callable[[], None]],
    rounds: int,
    synchronize: Callable[[], None],
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[list[float]]]:
    """Time functions in turn, after a warm-up.

    Args:
        steps: What to time.
        rounds: How often each gets its turn; the order is reversed in every other round.
        synchronize: Waits for the device.
        clock: Gives seconds; `time.process_time` with one thread is that of an idle machine, nearly, on a
            busy one.
    Returns:
        Seconds of each call, by function and round.
    """
    calls = [_calls_per_round(step, synchronize, clock) for step in steps]
    times: list[list[list[float]]] = [[] for _ in steps]
    for round_index in range(rounds):
        order = range(len(steps))
        for i in order if round_index % 2 == 0 else reversed(order):
            times[i].append([_time_call(steps[i], synchronize, clock) for _ in range(calls[i])])
    return times


def summarize(times: Sequence[Sequence[Sequence[float]]], mode: Mode, batch_size: int) -> Comparison:
    """Reduce the seconds of each arm, by round and call, to medians, spreads and ratios to the first arm."""
    return Comparison(
        mode=mode,
        batch_size=batch_size,
        timings=tuple(_timing(rounds, batch_size) for rounds in times),
        ratios=tuple(_ratio(times[0], rounds) for rounds in times[1:]),
        rounds=len(times[0]),
    )


def _timing(rounds: Sequence[Sequence[float]], batch_size: int) -> Timing:
    calls = [1000 * seconds for calls in rounds for seconds in calls]
    low, middle, high = _percentiles(calls)
    return Timing(
        median_ms=middle,
        p10_ms=low,
        p90_ms=high,
        p95_ms=quantiles(calls, n=20, method="inclusive")[-1],
        images_per_s=1000 * batch_size / middle,
        calls=len(calls),
    )


def _ratio(first: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Ratio:
    ratios = [median(b) / median(a) for a, b in zip(first, other, strict=True)]
    low, middle, high = _percentiles(ratios)
    return Ratio(median=middle, range=(min(ratios), max(ratios)), spread=(high - low) / middle)


def _calls_per_round(
    step: Callable[[], None], synchronize: Callable[[], None], clock: Callable[[], float]
) -> int:
    """Warm a function up and choose how many calls make a round long enough to time."""
    step()  # compiles, which may take minutes, and no part of the warm-up
    synchronize()
    start = time.perf_counter()
    seconds = [_time_call(step, synchronize, clock)]
    while time.perf_counter() - start < _WARM_UP_S:
        seconds.append(_time_call(step, synchronize, clock))
    return max(1, round(_ROUND_S / median(seconds)))


def _time_call(
    step: Callable[[], None], synchronize: Callable[[], None], clock: Callable[[], float]
) -> float:
    start = clock()
    step()
    synchronize()
    return clock() - start


def synchronizer(device: str) -> Callable[[], None]:
    """Give what waits for a device."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def _percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """10th, 50th and 90th percentile."""
    deciles = quantiles(values, n=10, method="inclusive")
    return deciles[0], median(values), deciles[-1]
