"""Whether MSCSA helps: a recipe with and without it, from the same seeds, measured and set side by side."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from mscsa.assembly.weights_file import load_trained
from mscsa.compare.folder import open_folder
from mscsa.compare.picture import draw_comparison
from mscsa.compare.processes import Run, train_all
from mscsa.compare.results import ArmResult, CompareResult
from mscsa.compare.tables import compare_json
from mscsa.cost.model_info import count_model
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import choose_device
from mscsa.evaluation.scores import SCORES, main_label, score_names
from mscsa.macs import count_parameters
from mscsa.names import parse_model_name
from mscsa.recipes import baseline_of
from mscsa.recipes.spec import Recipe, Task
from mscsa.report import write_json
from mscsa.speed.interleaved import compare_speed
from mscsa.speed.machine import describe_machine, num_cores
from mscsa.speed.steps import StepOptions

logger = logging.getLogger(__name__)

ARMS = ("baseline", "mscsa")

_LATENCY_BATCHES: dict[Task, tuple[int, int]] = {
    "classification": (1, 64),
    "segmentation": (1, 4),
    "detection": (1, 2),
    "instance_segmentation": (1, 2),
}


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
        UserError: If the recipe has no MSCSA, the folder is of another comparison, a number is too small, or
            a run fails.
    """
    if num_seeds < 1:
        raise UserError(f"seeds={num_seeds} given: give 1 or more; a spread needs 2")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs={jobs} given: give 1 or more")
    device = choose_device(recipe.run.accelerator).type
    arms = {"baseline": baseline_of(recipe), "mscsa": recipe}
    open_folder(out, arms)
    seeds = tuple(range(recipe.run.seed, recipe.run.seed + num_seeds))
    runs = [_run(out, arm, arms[arm], seed) for seed in seeds for arm in ARMS]
    jobs = jobs or (1 if device == "cuda" else num_cores())
    logger.info("%d runs, %d at a time; folder %s", len(runs), min(jobs, len(runs)), out)
    train_all(runs, jobs=jobs, on_gpu=device == "cuda")
    result = _measure(out, arms, seeds, runs, device)
    write_json(out / "compare.json", compare_json(result))
    draw_comparison(result, out / "compare.png")
    return result


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
        name = parse_model_name(arms[arm].model.name)
        results[arm] = ArmResult(
            model=name.with_mscsa if arm == "mscsa" else name.without_mscsa,
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
