"""How fast a model is against its backbone: interleaved in one process, with the measurement's spread.

A round times one arm and then the other, in alternating order, so that whatever else the machine
does hits both; ratios are taken within rounds. Images are random and already on the device.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import timm
import torch
from torch import nn

from mscsa.cost.model_pair import build_pair
from mscsa.errors import UserError
from mscsa.report import Table
from mscsa.speed.peak_memory import PeakMemory, measure_peak_memory
from mscsa.speed.steps import Mode, StepOptions, build_step

logger = logging.getLogger(__name__)

UNSTABLE_SPREAD = 0.05
"""Spread of the paired ratio over the rounds above which a result is called unstable."""

MIN_ROUNDS = 5

_ROUND_S = 0.2
_WARM_UP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time of one call of one arm, over the calls of all rounds."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    images_per_s: float
    """Batch size / median."""
    calls: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both arms at one batch size in one mode."""

    mode: Mode
    batch_size: int
    baseline: Timing
    model: Timing
    ratio: float
    """Median over the rounds of (time of the model / time of the backbone)."""
    ratio_range: tuple[float, float]
    """Smallest and largest ratio of a round."""
    spread: float
    """(p90 - p10) / median of the ratio over the rounds."""
    rounds: int

    @property
    def is_stable(self) -> bool:
        """Whether the spread is at most `UNSTABLE_SPREAD`."""
        return self.spread <= UNSTABLE_SPREAD


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """A model against its backbone, and what that was measured on."""

    baseline: str
    model: str
    is_dense: bool
    """Whether both are in the pyramid form."""
    head: str | None
    """What stands on both pyramids; None for classifiers and bare pyramids."""
    input_size: tuple[int, int]
    """(H, W) in pixels."""
    comparisons: tuple[Comparison, ...]
    memory: tuple[PeakMemory, ...]
    """Empty where it was not or cannot be measured."""
    machine: dict[str, Any]


def bench_model(
    pair_arguments: dict[str, Any],
    size: tuple[int, int] | None,
    *,
    batch_sizes: Sequence[int],
    modes: Sequence[Mode],
    options: StepOptions,
    rounds: int,
    threads: int | None,
    with_memory: bool,
) -> BenchResult:
    """Build a model and its backbone with random weights and measure both.

    Args:
        pair_arguments: Arguments of `build_pair` except its size; plain values.
        size: (H, W) in pixels; the model's default if None.
        with_memory: Measure peak memory too.
    Raises:
        UserError: If there is no such model, or it does not fit into memory.
        ValueError: If a number is too small.
    """
    machine = describe_machine(options)
    arguments = {**pair_arguments, "size": size}
    pair = build_pair(**arguments)
    size = size or pair.input_size
    comparisons = compare_speed(
        pair.baseline,
        pair.model,
        size,
        batch_sizes=batch_sizes,
        modes=modes,
        options=options,
        rounds=rounds,
        threads=threads,
    )
    memory = []
    if with_memory:
        logger.info("peak memory: one process per model")
        memory = measure_peak_memory(
            arguments, size, batch_sizes=batch_sizes, modes=modes, options=options, threads=threads
        )
    return BenchResult(
        baseline=pair.baseline_name,
        model=pair.name,
        is_dense=pair.is_dense,
        head=pair.head,
        input_size=size,
        comparisons=tuple(comparisons),
        memory=tuple(memory),
        machine={**machine, "threads": torch.get_num_threads()},
    )


def compare_speed(
    baseline: nn.Module,
    model: nn.Module,
    size: tuple[int, int],
    *,
    batch_sizes: Sequence[int] = (1, 16, 64),
    modes: Sequence[Mode] = ("inference", "training"),
    options: StepOptions | None = None,
    rounds: int = 7,
    threads: int | None = None,
) -> list[Comparison]:
    """Time two models at (H, W) pixels, in all modes and batch sizes.

    Args:
        batch_sizes: Images per call.
        modes: Inference, training steps, or both.
        options: Device, dtype and memory layout.
        rounds: Rounds of both arms.
        threads: CPU threads of this process from now on; as they are if None.
    Raises:
        UserError: If a batch does not fit into the device's memory.
        ValueError: If a number is too small.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch sizes {list(batch_sizes)} given: give one or more of at least 1")
    if rounds < MIN_ROUNDS:
        raise ValueError(f"rounds={rounds} given: a median with its spread needs {MIN_ROUNDS} or more")
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads} given: give 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    options = options or StepOptions()
    comparisons = []
    for mode in modes:
        for batch_size in batch_sizes:
            logger.info("%s, batch %d: %d rounds of both models", mode, batch_size, rounds)
            try:
                steps = [build_step(arm, mode, batch_size, size, options) for arm in (baseline, model)]
                times = time_interleaved(steps, rounds, _synchronizer(options.device))
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"{mode} with batch {batch_size} does not fit into the memory of {options.device}: "
                    "give smaller batch sizes"
                ) from error
            comparisons.append(summarize(times, mode, batch_size))
    return comparisons


def time_interleaved(
    steps: Sequence[Callable[[], None]], rounds: int, synchronize: Callable[[], None]
) -> list[list[list[float]]]:
    """Time functions in turn, after a warm-up.

    Args:
        steps: What to time.
        rounds: How often each gets its turn; the order is reversed in every other round.
        synchronize: Waits for the device.
    Returns:
        Seconds of each call, by function and round.
    """
    calls = [_calls_per_round(step, synchronize) for step in steps]
    times: list[list[list[float]]] = [[] for _ in steps]
    for round_index in range(rounds):
        order = range(len(steps))
        for i in order if round_index % 2 == 0 else reversed(order):
            times[i].append([_time_call(steps[i], synchronize) for _ in range(calls[i])])
    return times


def summarize(times: Sequence[Sequence[Sequence[float]]], mode: Mode, batch_size: int) -> Comparison:
    """Reduce the seconds of (backbone, model), by round and call, to medians and spreads."""
    timings = []
    for rounds in times:
        all_calls = [1000 * seconds for calls in rounds for seconds in calls]
        low, middle, high = _percentiles(all_calls)
        timings.append(
            Timing(
                median_ms=middle,
                p10_ms=low,
                p90_ms=high,
                images_per_s=1000 * batch_size / middle,
                calls=len(all_calls),
            )
        )
    ratios = [median(b) / median(a) for a, b in zip(times[0], times[1], strict=True)]
    low, middle, high = _percentiles(ratios)
    return Comparison(
        mode=mode,
        batch_size=batch_size,
        baseline=timings[0],
        model=timings[1],
        ratio=middle,
        ratio_range=(min(ratios), max(ratios)),
        spread=(high - low) / middle,
        rounds=len(ratios),
    )


def bench_tables(result: BenchResult) -> list[Table]:
    """Lay out a result, a table per mode."""
    peaks = {(peak.is_model, peak.mode, peak.batch_size): peak.mebibytes for peak in result.memory}
    height, width = result.input_size
    form = f" under {result.head}" if result.head else ", pyramid form" if result.is_dense else ""
    tables = []
    for mode in dict.fromkeys(comparison.mode for comparison in result.comparisons):
        chosen = [comparison for comparison in result.comparisons if comparison.mode == mode]
        what = "Inference" if mode == "inference" else "Training step: forward, backward, AdamW"
        tables.append(
            Table(
                title=f"{what}; images of {height}x{width} px{form}",
                columns=(
                    *("model", "batch", "median ms", "p10 - p90 ms", "images/s"),
                    *("time ratio", "over rounds", "peak MiB"),
                ),
                rows=[row for comparison in chosen for row in _rows(result, comparison, peaks)],
                notes=(*_stability_notes(chosen), machine_line(result.machine)),
            )
        )
    return tables


def bench_json(result: BenchResult) -> dict[str, Any]:
    """Give a result as plain values."""
    comparisons = [{**asdict(c), "is_stable": c.is_stable} for c in result.comparisons]
    return {**asdict(result), "comparisons": comparisons, "unstable_above": UNSTABLE_SPREAD}


def _rows(
    result: BenchResult, comparison: Comparison, peaks: dict[tuple[bool, Mode, int], float]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for is_model, name in ((False, result.baseline), (True, result.model)):
        timing = comparison.model if is_model else comparison.baseline
        peak = peaks.get((is_model, comparison.mode, comparison.batch_size))
        low, high = comparison.ratio_range
        rows.append(
            (
                name,
                str(comparison.batch_size),
                f"{timing.median_ms:.2f}",
                f"{timing.p10_ms:.2f} - {timing.p90_ms:.2f}",
                f"{timing.images_per_s:.1f}",
                f"x{comparison.ratio:.3f}" if is_model else "",
                f"{low:.3f} - {high:.3f}" if is_model else "",
                "-" if peak is None else f"{peak:.0f}",
            )
        )
    return rows


def describe_machine(options: StepOptions) -> dict[str, Any]:
    """Say what was measured on."""
    is_cuda = options.device.startswith("cuda")
    return {
        **asdict(options),
        "device_name": torch.cuda.get_device_name() if is_cuda else _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "mscsa": importlib.metadata.version("mscsa"),
        },
    }


def machine_line(machine: dict[str, Any]) -> str:
    """Say the same in one line."""
    layout = "channels-last" if machine["channels_last"] else "contiguous"
    return (
        f"{machine['device_name']}, {machine['threads']} of {machine['cores']} CPU threads, torch "
        f"{machine['versions']['torch']}, {machine['dtype']}, {layout}, "
        f"load {machine['load_average']:.1f} at the start"
    )


def _stability_notes(comparisons: Sequence[Comparison]) -> list[str]:
    unstable = [c for c in comparisons if not c.is_stable]
    if not unstable:
        largest = 100 * max(c.spread for c in comparisons)
        return [f"stable: the ratio varies by at most {largest:.1f} % over the rounds"]
    return [
        f"unstable at batch {c.batch_size}: the ratio varies by {100 * c.spread:.1f} % over "
        f"{c.rounds} rounds (limit {100 * UNSTABLE_SPREAD:.0f} %); close other programs and "
        "repeat, or give more --rounds"
        for c in unstable
    ]


def _calls_per_round(step: Callable[[], None], synchronize: Callable[[], None]) -> int:
    """Warm a function up and choose how many calls make a round long enough to time."""
    start = time.perf_counter()
    step()
    synchronize()
    seconds = _time_call(step, synchronize)
    while time.perf_counter() - start < _WARM_UP_S:
        seconds = _time_call(step, synchronize)
    return max(1, round(_ROUND_S / seconds))


def _time_call(step: Callable[[], None], synchronize: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    synchronize()
    return time.perf_counter() - start


def _synchronizer(device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def _percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """10th, 50th and 90th percentile."""
    deciles = quantiles(values, n=10, method="inclusive")
    return deciles[0], median(values), deciles[-1]


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
