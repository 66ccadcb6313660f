"""Whether MSCSA helps: a recipe with and without it, from the same seeds, measured and set side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mscsa.assembly.weights_file import load_trained
from mscsa.compare.examples import draw_examples
from mscsa.compare.folder import open_folder
from mscsa.compare.image_bootstrap import image_intervals
from mscsa.compare.picture import LABELS, draw_comparison
from mscsa.compare.processes import Run, train_all
from mscsa.compare.results import ArmResult, CompareResult, Contrast, pairs_of
from mscsa.compare.statistics import MIN_SEEDS, paired_statistics
from mscsa.compare.tables import compare_json
from mscsa.cost.matched_control import MatchedArm, matched_control
from mscsa.cost.matched_neck import asked_necks, matched_necks
from mscsa.cost.model_info import count_model
from mscsa.data.datasets import build_dataset, class_names_of
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import choose_device
from mscsa.evaluation.image_counts import ImageCounts
from mscsa.evaluation.scores import SCORES, main_label, score_names
from mscsa.frozen.backbone import prepare
from mscsa.macs import count_parameters
from mscsa.names import parse_model_name
from mscsa.neck_table import MSCSA_NECK, NECKS
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.spec import Recipe, Task
from mscsa.report import write_json
from mscsa.speed.interleaved import Comparison, compare_speed
from mscsa.speed.machine import describe_machine, num_cores
from mscsa.speed.steps import StepOptions

logger = logging.getLogger(__name__)

_LATENCY_BATCHES: dict[Task, tuple[int, int]] = {
    "classification": (1, 64),
    "segmentation": (1, 4),
    "detection": (1, 2),
    "instance_segmentation": (1, 2),
}


def compare_recipe(
    recipe: Recipe,
    out: Path,
    *,
    num_seeds: int = MIN_SEEDS,
    jobs: int | None = None,
    with_control: bool = True,
    necks: Sequence[str] = (),
    block: int = 1,
) -> CompareResult:
    """Train all arms with each seed, measure them, and write OUT/compare.json and OUT/compare.png.

    Called again, it goes on where it stopped.

    Args:
        recipe: A recipe with MSCSA; the baseline is the same without.
        out: Folder of the comparison.
        num_seeds: Seeds from `recipe.run.seed` on; with fewer than six there is no verdict.
        jobs: Runs at a time; one per CPU core, or one on a GPU, if None.
        with_control: Train a baseline with a wider head that costs what MSCSA costs, too, where there is one.
        necks: Of `mscsa.necks.NECKS`: train each in the place of MSCSA, at its cost, too. Those that join
            later find the runs of the other arms.
        block: Consecutive test images that are drawn together to say what holds on other images.
    Raises:
        UserError: If the recipe has no MSCSA, or a neck has no place in it, the folder is of another
            comparison, a number is too small or too large, or a run fails.
    """
    for name, number in (("seeds", num_seeds), ("jobs", jobs), ("block", block)):
        if number is not None and number < 1:
            raise UserError(f"{name}={number} given: give 1 or more")
    device = choose_device(recipe.run.accelerator).type
    matched = _matched_arms(recipe, asked_necks(necks), with_control=with_control)
    arms = {
        "baseline": baseline_of(recipe),
        **{arm: each.recipe for arm, each in matched.items() if each.recipe is not None},
        "mscsa": recipe,
    }
    open_folder(out, arms)
    if recipe.model.frozen:
        prepare(recipe)  # once, by all cores, before the runs ask for it
    seeds = tuple(range(recipe.run.seed, recipe.run.seed + num_seeds))
    runs = {arm: [_run(out, arm, each, seed) for seed in seeds] for arm, each in arms.items()}
    in_turn = [run for of_seed in zip(*runs.values(), strict=True) for run in of_seed]
    jobs = jobs or (1 if device == "cuda" else num_cores())
    logger.info("%d runs, %d at a time; folder %s", len(in_turn), min(jobs, len(in_turn)), out)
    train_all(in_turn, jobs=jobs, on_gpu=device == "cuda")
    notes = {arm: each.note for arm, each in matched.items()}
    result = _measure(out, arms, runs, notes, block, device)
    write_json(out / "compare.json", compare_json(result))
    draw_comparison(result, out / "compare.png")
    return result


def _matched_arms(recipe: Recipe, necks: Sequence[str], *, with_control: bool) -> dict[str, MatchedArm]:
    """Find the arms that cost what MSCSA costs, in their order; the control is always among them.

    Raises:
        UserError: If the recipe has no MSCSA, or a neck has no place in it.
    """
    if recipe.model.neck not in (None, MSCSA_NECK):
        raise UserError(
            f"recipe {recipe.name} with model.neck {recipe.model.neck} in the place of MSCSA: leave it out, "
            f"and give --necks {recipe.model.neck}"
        )
    baseline_of(recipe)  # refuses what has no MSCSA
    num_classes = len(class_names_of(recipe.data)) if with_control or necks else 0
    control = MatchedArm(None, "No control of the same MACs: it was left out (--no-control).")
    if with_control:
        control = matched_control(recipe, num_classes)
    matched = {"control": control, **matched_necks(recipe, necks, num_classes)}
    for arm in matched.values():
        logger.info(arm.note)
    return matched


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
    out: Path,
    recipes: Mapping[str, Recipe],
    runs: Mapping[str, Sequence[Run]],
    notes: Mapping[str, str],
    block: int,
    device: str,
) -> CompareResult:
    """Gather the runs' results and measure the cost of all models.

    Args:
        notes: Of the arms that cost what MSCSA costs: what they are.
    """
    recipe = recipes["mscsa"]
    task, size = recipe.model.task, recipe.data.input_size
    models = {arm: load_trained(each[0].folder / "last.safetensors")[0] for arm, each in runs.items()}
    arms = {arm: _arm_result(arm, recipes[arm], runs[arm], models[arm]) for arm in recipes}
    counts = {arm: [run.images(SCORES[task].IMAGES) for run in each] for arm, each in runs.items()}
    _check_same_images(runs, counts)
    if task == "segmentation":
        shown = {f"{LABELS[arm]}, seed {runs[arm][0].seed}": model for arm, model in models.items()}
        cfg: dict[str, Any] = dict(models["mscsa"].pretrained_cfg)  # type: ignore[arg-type]
        images = build_dataset("val", recipe.data, recipe.augment, cfg, recipe.run.seed)
        draw_examples(shown, images, out / "examples.png")
    options = StepOptions(device=device, channels_last=recipe.run.channels_last)
    machine = describe_machine(options)
    return CompareResult(
        out=out,
        seeds=tuple(run.seed for run in runs["mscsa"]),
        metric=SCORES[task].MAIN,
        labels=SCORES[task].LABELS,
        input_size=size,
        num_images=len(counts["mscsa"][0].index),
        block=block,
        arms=arms,
        contrasts=_contrasts(arms, counts, block),
        control_note=notes["control"],
        neck_notes={arm: note for arm, note in notes.items() if arm != "control"},
        latency=tuple(_latency(list(models.values()), task, size, options)),
        machine=machine,
    )


def _arm_result(arm: str, recipe: Recipe, runs: Sequence[Run], model: torch.nn.Module) -> ArmResult:
    kind = SCORES[recipe.model.task]
    finished = [run.result or {} for run in runs]
    name = parse_model_name(recipe.model.name)
    shown = {"baseline": name.without_mscsa, "control": f"{name.without_mscsa}, wider head"}
    if arm in NECKS and arm != MSCSA_NECK:
        shown[arm] = f"{name.without_mscsa} + {NECKS[arm].title}"
    return ArmResult(
        model=shown.get(arm, name.with_mscsa),
        recipe=recipe.name,
        scores=tuple(result["scores"][result["metric"]] for result in finished),
        curves=tuple(run.curve() for run in runs),
        seconds=tuple(result["seconds"] for result in finished),
        parameters=count_parameters(model),
        macs=count_model(model, recipe.data.input_size),
        other_scores={
            name: tuple(result["scores"][name] for result in finished)
            for name in score_names(kind)
            if name != kind.MAIN
        },
    )


def _check_same_images(
    runs: Mapping[str, Sequence[Run]], counts: Mapping[str, Sequence[ImageCounts]]
) -> None:
    """Refuse runs that were not evaluated on the same images: their differences would not be paired."""
    first = runs["baseline"][0]
    expected = counts["baseline"][0]
    for arm, each in counts.items():
        for run, images in zip(runs[arm], each, strict=True):
            same = np.array_equal(images.index, expected.index)
            if not same or not np.array_equal(images.truth(), expected.truth()):
                raise UserError(
                    f"the runs {first.label} and {run.label} were evaluated on different images: the data "
                    f"set has changed between them; remove {run.folder} or {first.folder} and compare again"
                )


def _contrasts(
    arms: Mapping[str, ArmResult], counts: Mapping[str, Sequence[ImageCounts]], block: int
) -> tuple[Contrast, ...]:
    pairs = pairs_of(arms)
    intervals = image_intervals(counts, pairs, block=block)
    return tuple(
        Contrast(
            first=a,
            second=b,
            seeds=paired_statistics([x - y for x, y in zip(arms[a].scores, arms[b].scores, strict=True)]),
            image_interval=interval,
        )
        for (a, b), interval in zip(pairs, intervals, strict=True)
    )


def _latency(
    models: Sequence[torch.nn.Module], task: Task, size: tuple[int, int], options: StepOptions
) -> list[Comparison]:
    return compare_speed(
        models,
        size,
        batch_sizes=_LATENCY_BATCHES[task],
        modes=("inference",),
        options=options,
        rounds=15,
    )
