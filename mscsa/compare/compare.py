"""Whether MSCSA helps: a recipe with and without it, from the same seeds, measured and set side by side."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from mscsa.assembly.weights_file import load_trained
from mscsa.checkpoints import write_text
from mscsa.compare.picture import draw_comparison
from mscsa.compare.runs import Run, train_all
from mscsa.cost.model_info import count_model
from mscsa.errors import UserError
from mscsa.evaluation.scores import SCORES, format_score, main_label, score_names
from mscsa.macs import count_parameters
from mscsa.recipes import baseline_of
from mscsa.recipes.options import recipe_yaml
from mscsa.recipes.spec import Recipe, Task
from mscsa.report import Table, percent_more, write_json
from mscsa.speed.bench import UNSTABLE_SPREAD, Comparison, compare_speed, describe_machine, machine_line
from mscsa.speed.steps import StepOptions, choose_device

logger = logging.getLogger(__name__)

ARMS = ("baseline", "mscsa")

T_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 95 % quantiles of Student's t for 2 to 10 seeds; more seeds take the last, which is wider."""

_LATENCY_BATCHES: dict[Task, tuple[int, int]] = {
    "classification": (1, 64),
    "segmentation": (1, 4),
    "detection": (1, 2),
    "instance_segmentation": (1, 2),
}


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


def compare_recipe(
    recipe: Recipe, out: Path, *, num_seeds: int = 3, jobs: int | None = None
) -> CompareResult:
    """Train both arms with each seed, measure them, and write OUT/compare.json and OUT/compare.png.

    Called again, it goes on where it stopped.

    Args:
        recipe: A recipe with MSCSA; the baseline is the same without.
        out: Folder of the comparison.
        num_seeds: Seeds from `recipe.run.seed` on.
        jobs: Runs at a time; one per CPU core, or one on a GPU, if None.
    Raises:
        UserError: If the recipe has no MSCSA, the folder is of another comparison, or a run fails.
        ValueError: If a number is too small.
    """
    if num_seeds < 1:
        raise ValueError(f"seeds={num_seeds} given: give 1 or more; a spread needs 2")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs={jobs} given: give 1 or more")
    device = choose_device(recipe.run.accelerator)
    arms = {"baseline": baseline_of(recipe), "mscsa": recipe}
    _open_folder(out, arms)
    seeds = tuple(range(recipe.run.seed, recipe.run.seed + num_seeds))
    runs = [_run(out, arm, arms[arm], seed) for seed in seeds for arm in ARMS]
    jobs = jobs or (1 if device == "cuda" else _num_cores())
    logger.info("%d runs, %d at a time; folder %s", len(runs), min(jobs, len(runs)), out)
    train_all(runs, jobs=jobs, on_gpu=device == "cuda")
    result = _measure(out, arms, seeds, runs, device)
    write_json(out / "compare.json", compare_json(result))
    draw_comparison(result, out / "compare.png")
    return result


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


def _open_folder(out: Path, arms: dict[str, Recipe]) -> None:
    """Write the recipes of both arms, or find the same ones there.

    Raises:
        UserError: If the folder holds something else, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        is_new = not any(out.iterdir())
        for arm, recipe in arms.items():
            path, text = out / f"{arm}.yaml", recipe_yaml(recipe)
            if is_new:
                write_text(path, text)
            elif not path.exists():
                raise UserError(f"{out} holds something else than a comparison: give another --out")
            elif path.read_text() != text:
                key, before, now = _first_difference(yaml.safe_load(path.read_text()), yaml.safe_load(text))
                raise UserError(
                    f"{out} is of a comparison with {key} = {before!r}, now it is {now!r}: go on with the "
                    "former, or give another --out"
                )
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {error.strerror}; give a folder that can be written"
        ) from error


def _first_difference(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> tuple[str, Any, Any]:
    for key in {**now, **before}:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            return _first_difference(old, new, f"{prefix}{key}.")
        return f"{prefix}{key}", old, new
    return "its form", before, now


def _run(out: Path, arm: str, recipe: Recipe, seed: int) -> Run:
    return Run(
        arm=arm,
        seed=seed,
        recipe_name=recipe.name,
        config=out / f"{arm}.yaml",
        folder=out / arm / f"seed{seed}",
        log=out / "logs" / f"{arm}-seed{seed}.log",
        epochs=recipe.run.epochs if recipe.run.steps is None else None,
        steps=min((n for n in (recipe.run.steps, recipe.run.max_steps) if n is not None), default=None),
        metric=SCORES[recipe.model.task].MAIN,
        metric_label=main_label(recipe.model.task),
    )


def _measure(
    out: Path, arms: dict[str, Recipe], seeds: tuple[int, ...], runs: list[Run], device: str
) -> CompareResult:
    """Gather the runs' results and measure the cost of both models."""
    recipe = arms["mscsa"]
    size, task = recipe.data.input_size, recipe.model.task
    models: dict[str, torch.nn.Module] = {}
    results: dict[str, ArmResult] = {}
    for arm in ARMS:
        own = [run for run in runs if run.arm == arm]
        models[arm], _ = load_trained(own[0].folder / "last.safetensors")
        finished = [run.result or {} for run in own]
        has_mscsa = "mscsa_" if arm == "mscsa" else ""
        results[arm] = ArmResult(
            model=has_mscsa + arms[arm].model.name.removeprefix("mscsa_"),
            recipe=arms[arm].name,
            scores=tuple(result["scores"][result["metric"]] for result in finished),
            curves=tuple(run.curve() for run in own),
            seconds=tuple(result["seconds"] for result in finished),
            parameters=count_parameters(models[arm]),
            macs=count_model(models[arm], size),
            other_scores={
                name: tuple(result["scores"][name] for result in finished)
                for name in score_names(SCORES[task])
                if name != SCORES[task].MAIN
            },
        )
    options = StepOptions(device=device, channels_last=recipe.run.channels_last)
    machine = describe_machine(options)
    latency = compare_speed(
        models["baseline"],
        models["mscsa"],
        size,
        batch_sizes=_LATENCY_BATCHES[task],
        modes=("inference",),
        options=options,
        rounds=15,
    )
    return CompareResult(
        out=out,
        seeds=seeds,
        metric=SCORES[task].MAIN,
        labels=SCORES[task].LABELS,
        input_size=size,
        latency=tuple(latency),
        machine=machine,
        **results,
    )


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


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
