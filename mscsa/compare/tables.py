"""A comparison laid out for people, and as plain values."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from statistics import mean, stdev
from typing import Any

import yaml  # type: ignore[import-untyped]

from mscsa.compare.results import CompareResult, verdict
from mscsa.evaluation.scores import format_score
from mscsa.report import Table, percent_more
from mscsa.speed.interleaved import UNSTABLE_SPREAD
from mscsa.speed.machine import machine_line


def comparison_tables(result: CompareResult) -> list[Table]:
    """Lay out the comparison, and its single seeds."""
    a, b = result.baseline, result.mscsa
    rows = []
    for is_model, arm in enumerate((a, b)):
        timings = [(c.model if is_model else c.baseline) for c in result.latency]
        rows.append(
            (
                arm.model,
                _spread(arm.mean, arm.std),
                f"{arm.parameters / 1e6:.2f}",
                f"{arm.macs / 1e9:.4f}",
                f"{timings[0].median_ms:.2f}",
                f"{timings[1].images_per_s:.0f}",
            )
        )
    std = stdev(result.differences) if len(result.seeds) > 1 else None
    rows.append(
        (
            "difference",
            _spread(mean(result.differences), std, signed=True),
            percent_more(b.parameters, a.parameters),
            percent_more(b.macs, a.macs),
            f"x{result.latency[0].ratio:.2f}",
            f"x{1 / result.latency[1].ratio:.2f}",
        )
    )
    (height, width), label = result.input_size, result.metric_label
    whole = Table(
        title=f"{b.recipe} against {a.recipe}, {len(result.seeds)} seeds, images of {height}x{width} px",
        columns=(
            *("model", f"{label} %", "parameters (M)", "GMACs"),
            f"ms, batch {result.latency[0].batch_size}",
            f"images/s, batch {result.latency[1].batch_size}",
        ),
        rows=rows,
        notes=(
            f"{label}: mean ± standard deviation over the seeds, after the last epoch; differences by seed.",
            verdict(result),
            *_latency_notes(result),
            f"Latency is interleaved inference on {machine_line(result.machine)}.",
            f"Written: {result.out / 'compare.json'}, {result.out / 'compare.png'}.",
        ),
    )
    return [_seeds_table(result), _scores_table(result), whole]


def compare_json(result: CompareResult) -> dict[str, Any]:
    """Give a result as plain values."""
    arms = {
        name: {**asdict(arm), "mean": arm.mean, "std": arm.std}
        for name, arm in (("baseline", result.baseline), ("mscsa", result.mscsa))
    }
    a, b = result.baseline, result.mscsa
    environment = json.loads(
        (result.out / "baseline" / f"seed{result.seeds[0]}" / "environment.json").read_text()
    )
    return {
        "command": ["mscsa", *sys.argv[1:]],
        "seeds": result.seeds,
        "metric": result.metric,
        "input_size": result.input_size,
        **arms,
        "difference": {
            "points": result.differences,
            "mean": mean(result.differences),
            "std": stdev(result.differences) if len(result.seeds) > 1 else None,
            "interval_95": result.interval,
            "parameters_percent": 100 * (b.parameters / a.parameters - 1),
            "macs_percent": 100 * (b.macs / a.macs - 1),
            "verdict": verdict(result),
        },
        "latency": [{**asdict(c), "is_stable": c.is_stable} for c in result.latency],
        "latency_machine": result.machine,
        "training_environment": environment["sessions"][-1],
        "recipe": yaml.safe_load((result.out / "mscsa.yaml").read_text()),
    }


def _seeds_table(result: CompareResult) -> Table:
    rows = [
        (str(seed), f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}")
        for seed, a, b in zip(result.seeds, result.baseline.scores, result.mscsa.scores, strict=True)
    ]
    return Table(
        title=f"{result.metric_label} % after the last epoch, by seed",
        columns=("seed", result.baseline.model, result.mscsa.model, "difference"),
        rows=rows,
    )


def _scores_table(result: CompareResult) -> Table:
    """Lay out the means of the task's other scores."""
    rows = []
    for name, (label, unit) in result.labels.items():
        if name == result.metric:
            continue
        cells = []
        for arm in (result.baseline, result.mscsa):
            known = [score for score in arm.other_scores[name] if score is not None]
            cells.append(format_score(mean(known) if known else None, unit))
        rows.append((f"{label} ({unit})", *cells))
    return Table(
        title="Other scores, mean over the seeds",
        columns=("score", result.baseline.model, result.mscsa.model),
        rows=rows,
        notes=("Not tested for significance.",),
    )


def _latency_notes(result: CompareResult) -> list[str]:
    return [
        f"Latency at batch {c.batch_size} is unstable: its ratio varies by {100 * c.spread:.0f} % over "
        f"{c.rounds} rounds (limit {100 * UNSTABLE_SPREAD:.0f} %)."
        for c in result.latency
        if not c.is_stable
    ]


def _spread(value: float, std: float | None, *, signed: bool = False) -> str:
    shown = f"{value:+.2f}" if signed else f"{value:.2f}"
    return shown if std is None else f"{shown} ± {std:.2f}"
