"""A comparison laid out for people, and as plain values."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from statistics import mean
from typing import Any

import yaml  # type: ignore[import-untyped]

from mscsa.compare.results import ArmResult, CompareResult, Contrast, show_interval, verdict
from mscsa.evaluation.scores import format_score
from mscsa.report import Table, percent_more
from mscsa.run_files import COMPARISON, ENVIRONMENT
from mscsa.speed.interleaved import UNSTABLE_SPREAD, Comparison
from mscsa.speed.machine import machine_line

_MOST_CLASSES = 10
"""Classes that are shown of those that gain most, and of those that gain least."""


def comparison_tables(result: CompareResult) -> list[Table]:
    """Lay out single seeds, the task's other scores and classes, all arms, and how they differ."""
    return [
        *(_seeds_table(result), _scores_table(result), *_class_tables(result)),
        *(_arms_table(result), _contrasts_table(result)),
    ]


def compare_json(result: CompareResult) -> dict[str, Any]:
    """Give a result as plain values."""
    environments = _environments(result)
    return {
        "command": ["mscsa", *sys.argv[1:]],
        "seeds": result.seeds,
        "metric": result.metric,
        "input_size": result.input_size,
        "test_images": result.num_images,
        "block": result.block,
        "classes": result.class_names,
        "verdict": verdict(result, result.contrasts[0]),
        "control": result.control_note,
        "necks": result.neck_notes,
        "variants": result.variant_notes,
        "arms": {
            name: {**asdict(arm), "mean": arm.mean, "std": arm.std} for name, arm in result.arms.items()
        },
        "comparisons": [_plain_contrast(result, contrast) for contrast in result.contrasts],
        "latency": [_plain_latency(result, each) for each in result.latency],
        "latency_machine": result.machine,
        "training_environment": environments[0],
        "trained_by": _trained_by(environments),
        "recipes": {name: yaml.safe_load((result.out / f"{name}.yaml").read_text()) for name in result.arms},
    }


def _environments(result: CompareResult) -> list[dict[str, Any]]:
    """Read what ended each run; the baseline's first seed comes first."""
    files = [result.out / arm / f"seed{seed}" / ENVIRONMENT for arm in result.arms for seed in result.seeds]
    return [json.loads(path.read_text())["sessions"][-1] for path in files]


def _trained_by(environments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Count the runs of each commit, device and version of torch: arms and seeds may join later."""
    counts = Counter((each["git_commit"], each["device"], each["versions"]["torch"]) for each in environments)
    return [
        {"git_commit": commit, "device": device, "torch": torch, "runs": runs}
        for (commit, device, torch), runs in counts.items()
    ]


def _plain_contrast(result: CompareResult, contrast: Contrast) -> dict[str, Any]:
    a, b = result.arms[contrast.first], result.arms[contrast.second]
    return {
        "of": contrast.first,
        "against": contrast.second,
        "points": contrast.seeds.differences,
        "mean": contrast.seeds.mean,
        "std": contrast.seeds.std,
        "interval_95_seeds": contrast.seeds.interval,
        "p_sign_flip": contrast.seeds.p,
        "interval_95_images": contrast.image_interval,
        "parameters_percent": 100 * (a.parameters / b.parameters - 1),
        "macs_percent": 100 * (a.macs / b.macs - 1),
        "verdict": verdict(result, contrast),
    }


def _plain_latency(result: CompareResult, latency: Comparison) -> dict[str, Any]:
    """Give the times of each arm, and their ratios to the first."""
    ratios = [None, *({**asdict(ratio), "is_stable": ratio.is_stable} for ratio in latency.ratios)]
    return {
        "mode": latency.mode,
        "batch_size": latency.batch_size,
        "rounds": latency.rounds,
        "arms": {
            name: {**asdict(timing), "ratio_to_baseline": ratio}
            for name, timing, ratio in zip(result.arms, latency.timings, ratios, strict=True)
        },
    }


def _arms_table(result: CompareResult) -> Table:
    times, columns = _times(result)
    rows = [
        (
            arm.model,
            _spread(arm.mean, arm.std),
            f"{arm.parameters / 1e6:.2f}",
            f"{arm.macs / 1e9:.4f}",
            *of_arm,
        )
        for arm, of_arm in zip(result.arms.values(), times, strict=True)
    ]
    (height, width), label = result.input_size, result.metric_label
    baseline, with_mscsa = result.arms["baseline"], result.arms["mscsa"]
    return Table(
        title=f"{with_mscsa.recipe} against {baseline.recipe}, {len(result.seeds)} seeds, images of "
        f"{height}x{width} px",
        columns=("model", f"{label} %", "parameters (M)", "GMACs", *columns),
        rows=rows,
        notes=(
            f"{label}: mean ± standard deviation over the seeds, after the last epoch.",
            result.control_note,
            *_neck_notes(result),
            *_variant_notes(result),
            *_latency_notes(result),
        ),
    )


def _times(result: CompareResult) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Give the latency of each arm, and what the columns are called; nothing where it was not measured."""
    if not result.latency:
        return [()] * len(result.arms), ()
    single, batch = result.latency
    times: list[tuple[str, ...]] = [
        (f"{alone.median_ms:.2f}", f"{alone.p95_ms:.2f}", f"{together.images_per_s:.0f}")
        for alone, together in zip(single.timings, batch.timings, strict=True)
    ]
    return times, (f"ms p50, batch {single.batch_size}", "p95", f"images/s, batch {batch.batch_size}")


def _contrasts_table(result: CompareResult) -> Table:
    ratios = {}
    for single in result.latency[:1]:
        ratios = dict(zip(result.arms, (1.0, *(ratio.median for ratio in single.ratios)), strict=True))
    blocks = f" in blocks of {result.block}" if result.block > 1 else ""
    rows = []
    for contrast in result.contrasts:
        a, b = result.arms[contrast.first], result.arms[contrast.second]
        seeds = contrast.seeds
        rows.append(
            (
                f"{contrast.first} - {contrast.second}",
                _spread(seeds.mean, seeds.std, signed=True),
                "-" if seeds.interval is None else show_interval(seeds.interval),
                f"{seeds.p:.2g}",
                show_interval(contrast.image_interval),
                percent_more(a.parameters, b.parameters),
                percent_more(a.macs, b.macs),
                *([f"x{ratios[contrast.first] / ratios[contrast.second]:.2f}"] if ratios else []),
            )
        )
    return Table(
        title=f"Differences in {result.metric_label}, points",
        columns=(
            *("arms", "mean ± std", f"95 % over {len(result.seeds)} seeds", "p"),
            f"95 % over {result.num_images} images",
            *("parameters", "MACs"),
            *(f"ms, batch {single.batch_size}" for single in result.latency[:1]),
        ),
        rows=rows,
        notes=(
            "Over seeds: BCa bootstrap and sign-flip test of paired differences. Over images: bootstrap of "
            f"the test images{blocks}, the same in all runs.",
            *_many_note(result),
            *(verdict(result, contrast) for contrast in result.contrasts if contrast.first == "mscsa"),
            f"Written: {', '.join(_written(result))}.",
        ),
    )


def _seeds_table(result: CompareResult) -> Table:
    arms = result.arms
    main = result.contrasts[0]
    rows = [
        (str(seed), *(f"{arm.scores[place]:.2f}" for arm in arms.values()), f"{difference:+.2f}")
        for place, (seed, difference) in enumerate(zip(result.seeds, main.seeds.differences, strict=True))
    ]
    return Table(
        title=f"{result.metric_label} % after the last epoch, by seed",
        columns=("seed", *_models(arms), f"{main.first} - {main.second}"),
        rows=rows,
    )


def _scores_table(result: CompareResult) -> Table:
    """Lay out the means of the task's other scores."""
    rows = []
    for name, (label, unit) in result.labels.items():
        if name == result.metric:
            continue
        cells = []
        for arm in result.arms.values():
            known = [score for score in arm.other_scores[name] if score is not None]
            cells.append(format_score(mean(known) if known else None, unit))
        rows.append((f"{label} ({unit})", *cells))
    return Table(
        title="Other scores, mean over the seeds",
        columns=("score", *_models(result.arms)),
        rows=rows,
        notes=("Not tested for significance.",),
    )


def _class_tables(result: CompareResult) -> list[Table]:
    """Lay out what MSCSA does to each class, the most gained first; nothing where scores have no classes."""
    return [_class_table(result, name) for name in result.arms["mscsa"].class_scores]


def _class_table(result: CompareResult, metric: str) -> Table:
    against = [contrast.second for contrast in result.contrasts if contrast.first == "mscsa"]
    rows: list[tuple[float, tuple[str, ...]]] = []
    for label, name in enumerate(result.class_names):
        differences = {arm: _class_differences(result, metric, label, arm) for arm in against}
        known = [scores[label] for scores in result.arms["baseline"].class_scores[metric]]
        present = [score for score in known if score is not None]
        if not present or not differences["baseline"]:
            continue
        cells = (_mean_and_wins(each) for each in differences.values())
        rows.append((mean(differences["baseline"]), (name, f"{mean(present):.2f}", *cells)))
    shown = [row for _, row in sorted(rows, key=lambda each: -each[0])]
    left_out = len(shown) - 2 * _MOST_CLASSES
    if left_out > 0:
        shown = shown[:_MOST_CLASSES] + shown[-_MOST_CLASSES:]
    return Table(
        title=f"{result.labels[metric][0]} by class, mean over the seeds",
        columns=("class", result.arms["baseline"].model, *(f"mscsa - {arm}" for arm in against)),
        rows=shown,
        notes=(
            "In brackets the seeds in which the class gains. Of so many classes some differ by chance.",
            *([f"{left_out} classes between them are in compare.json."] if left_out > 0 else []),
        ),
    )


def _class_differences(result: CompareResult, metric: str, label: int, arm: str) -> list[float]:
    """Give MSCSA's score of a class minus another arm's, for the seeds in which both have one."""
    first, second = (result.arms[each].class_scores[metric] for each in ("mscsa", arm))
    pairs = zip(first, second, strict=True)
    return [a[label] - b[label] for a, b in pairs if a[label] is not None and b[label] is not None]  # type: ignore[operator]


def _mean_and_wins(differences: list[float]) -> str:
    if not differences:
        return "-"
    return f"{mean(differences):+.2f} ({sum(each > 0 for each in differences)} of {len(differences)})"


def _models(arms: dict[str, ArmResult]) -> list[str]:
    return [arm.model for arm in arms.values()]


def _neck_notes(result: CompareResult) -> list[str]:
    if not result.neck_notes:
        return []
    return [
        "Necks in the place of MSCSA, as narrow as lets the whole model cost at least as much:",
        *result.neck_notes.values(),
    ]


def _variant_notes(result: CompareResult) -> list[str]:
    if not result.variant_notes:
        return []
    return ["Variants, as MSCSA is but for:", *result.variant_notes.values()]


def _many_note(result: CompareResult) -> list[str]:
    """Say that many differences were tested, where there are more than those of the control."""
    if not result.neck_notes and not result.variant_notes:
        return []
    return [
        f"Intervals and p are of each of the {len(result.contrasts)} differences by itself: of so many, one "
        "may look clear by chance."
    ]


def _latency_notes(result: CompareResult) -> list[str]:
    if not result.latency:
        return ["Latency was not to be measured (--no-latency)."]
    names = list(result.arms)[1:]
    unstable = [
        f"Latency of {name} at batch {each.batch_size} is unstable: its ratio to the baseline's varies by "
        f"{100 * ratio.spread:.0f} % over {each.rounds} rounds (limit {100 * UNSTABLE_SPREAD:.0f} %)."
        for each in result.latency
        for name, ratio in zip(names, each.ratios, strict=True)
        if not ratio.is_stable
    ]
    return [*unstable, f"Latency is interleaved inference on {machine_line(result.machine)}."]


def _spread(value: float, std: float | None, *, signed: bool = False) -> str:
    shown = f"{value:+.2f}" if signed else f"{value:.2f}"
    return shown if std is None else f"{shown} ± {std:.2f}"


def _written(result: CompareResult) -> list[str]:
    """Name the files that a comparison has written; examples there are of segmentation alone."""
    files = [result.out / name for name in (COMPARISON, "compare.png", "examples.png")]
    return [str(file) for file in files[:2]] + [str(file) for file in files[2:] if file.exists()]
