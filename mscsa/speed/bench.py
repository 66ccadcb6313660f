"""How fast a model is against its backbone, and how much memory both take."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mscsa.cost.model_pair import build_pair
from mscsa.report import Table
from mscsa.speed.interleaved import TIE, UNSTABLE_SPREAD, WARM_UP, Comparison, compare_speed
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.peak_memory import PeakMemory, measure_peak_memory
from mscsa.speed.steps import Mode, StepOptions

logger = logging.getLogger(__name__)


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
        UserError: If there is no such model, it does not fit into memory, or a number is too small.
    """
    machine = describe_machine(options)
    arguments = {**pair_arguments, "size": size}
    pair = build_pair(**arguments)
    size = size or pair.input_size
    comparisons = compare_speed(
        [pair.baseline, pair.model],
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
                    *("model", "batch", "p50 ms", "p95 ms", "images/s"),
                    *("time ratio", "over rounds", "peak MiB"),
                ),
                rows=[row for comparison in chosen for row in _rows(result, comparison, peaks)],
                notes=(
                    *_stability_notes(chosen),
                    f"tie: a ratio within {100 * TIE:.0f} % of 1; {WARM_UP}",
                    machine_line(result.machine),
                ),
            )
        )
    return tables


def bench_json(result: BenchResult) -> dict[str, Any]:
    """Give a result as plain values."""
    comparisons = [_plain(comparison) for comparison in result.comparisons]
    return {
        **asdict(result),
        "comparisons": comparisons,
        "unstable_above": UNSTABLE_SPREAD,
        "tie_within": TIE,
    }


def _plain(comparison: Comparison) -> dict[str, Any]:
    (baseline, model), (ratio,) = comparison.timings, comparison.ratios
    return {
        "mode": comparison.mode,
        "batch_size": comparison.batch_size,
        "baseline": asdict(baseline),
        "model": asdict(model),
        "ratio": ratio.median,
        "ratio_range": ratio.range,
        "spread": ratio.spread,
        "rounds": comparison.rounds,
        "is_stable": ratio.is_stable,
        "is_tie": ratio.is_tie,
    }


def _rows(
    result: BenchResult, comparison: Comparison, peaks: dict[tuple[bool, Mode, int], float]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    (ratio,), names = comparison.ratios, (result.baseline, result.model)
    low, high = ratio.range
    for is_model, name, timing in zip((False, True), names, comparison.timings, strict=True):
        peak = peaks.get((is_model, comparison.mode, comparison.batch_size))
        rows.append(
            (
                name,
                str(comparison.batch_size),
                f"{timing.median_ms:.2f}",
                f"{timing.p95_ms:.2f}",
                f"{timing.images_per_s:.1f}",
                f"x{ratio.median:.3f}{' (tie)' if ratio.is_tie else ''}" if is_model else "",
                f"{low:.3f} - {high:.3f}" if is_model else "",
                "-" if peak is None else f"{peak:.0f}",
            )
        )
    return rows


def _stability_notes(comparisons: Sequence[Comparison]) -> list[str]:
    spreads = [(c, c.ratios[0]) for c in comparisons]
    if all(ratio.is_stable for _, ratio in spreads):
        largest = 100 * max(ratio.spread for _, ratio in spreads)
        return [f"stable: the ratio varies by at most {largest:.1f} % over the rounds"]
    return [
        f"unstable at batch {c.batch_size}: the ratio varies by {100 * ratio.spread:.1f} % over "
        f"{c.rounds} rounds (limit {100 * UNSTABLE_SPREAD:.0f} %); close other programs and "
        "repeat, or give more --rounds"
        for c, ratio in spreads
        if not ratio.is_stable
    ]
