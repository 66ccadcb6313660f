"""Whether MSCSA helps: a recipe with and without it, from the same seeds, measured and set side by side."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mscsa.assembly.weights_file import load_trained
from mscsa.compare.arms import Arms, arms_of
from mscsa.compare.examples import draw_examples
from mscsa.compare.folder import open_folder
from mscsa.compare.image_bootstrap import image_intervals
from mscsa.compare.picture import draw_comparison, label_of
from mscsa.compare.processes import Run, train_all
from mscsa.compare.results import ARM_NAMES, ArmResult, CompareResult, Contrast, pairs_of
from mscsa.compare.statistics import MIN_SEEDS, paired_statistics
from mscsa.compare.tables import compare_json
from mscsa.cost.matched_control import build_on_meta
from mscsa.cost.model_info import count_model
from mscsa.data.datasets import build_dataset, class_names_of
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import choose_device
from mscsa.evaluation.image_counts import ImageCounts
from mscsa.evaluation.scores import CLASS_SCORES, SCORES, main_label, score_names
from mscsa.frozen.backbone import prepare
from mscsa.macs import count_parameters
from mscsa.names import parse_model_name
from mscsa.neck_table import MSCSA_NECK, NECKS
from mscsa.recipes.spec import Recipe, Task
from mscsa.report import write_json
from mscsa.run_files import COMPARISON
from mscsa.speed.interleaved import Comparison, compare_speed
from mscsa.speed.machine import describe_machine
from mscsa.speed.steps import StepOptions
from mscsa_runtime.machine import num_cores

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
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    block: int = 1,
    with_latency: bool = True,
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
        variants: Name -> fields of `MSCSAConfig`, or `budget`: train MSCSA with these in the place of the
            recipe's own, too. They may join later as well.
        block: Consecutive test images that are drawn together to say what holds on other images.
        with_latency: Measure the latency of all arms; where other work runs beside, it says nothing.
    Raises:
        UserError: If the recipe has no MSCSA, or a neck has no place in it, or a variant cannot be built, the
            folder is of another comparison, a number is too small or too large, or a run fails.
    """
    for name, number in (("seeds", num_seeds), ("jobs", jobs), ("block", block)):
        if number is not None and number < 1:
            raise UserError(f"{name}={number} given: give 1 or more")
    if recipe.run.patience is not None:
        raise UserError("run.patience would end the arms of a comparison at different steps: leave it out")
    device = choose_device(recipe.run.accelerator).type
    arms = arms_of(recipe, with_control=with_control, necks=necks, variants=variants or {})
    open_folder(out, arms.recipes)
    seeds = tuple(range(recipe.run.seed, recipe.run.seed + num_seeds))
    runs = {arm: [_run(out, arm, each, seed) for seed in seeds] for arm, each in arms.recipes.items()}
    in_turn = [run for of_seed in zip(*runs.values(), strict=True) for run in of_seed]
    if recipe.model.frozen and any(run.result is None for run in in_turn):
        prepare(recipe)  # once, by all cores, before the runs ask for it
    jobs = jobs or (1 if device == "cuda" else num_cores())
    logger.info("%d runs, %d at a time; folder %s", len(in_turn), min(jobs, len(in_turn)), out)
    train_all(in_turn, jobs=jobs, on_gpu=device == "cuda")
    result = _measure(out, arms, runs, block, device if with_latency else None)
    write_json(out / COMPARISON, compare_json(result))
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
        threads=recipe.run.threads,
        metric=SCORES[recipe.model.task].MAIN,
        metric_label=main_label(recipe.model.task),
    )


def _measure(
    out: Path,
    compared: Arms,
    runs: Mapping[str, Sequence[Run]],
    block: int,
    device: str | None,
) -> CompareResult:
    """Gather the runs' results and measure the cost of all models.

    Args:
        device: Where latency is measured; None measures none.
    """
    recipe = compared.recipes["mscsa"]
    task, size = recipe.model.task, recipe.data.input_size
    class_names = tuple(class_names_of(recipe.data))
    arms = {
        arm: _arm_result(arm, each, runs[arm], len(class_names)) for arm, each in compared.recipes.items()
    }
    counts = {arm: [run.images(SCORES[task].IMAGES) for run in each] for arm, each in runs.items()}
    _check_same_data(runs, counts)
    if task == "segmentation":
        _draw_examples(recipe, {arm: each[0] for arm, each in runs.items()}, out / "examples.png")
    # Folded, as `mscsa eval` and `mscsa predict` run them.
    options = StepOptions(device=device or "cpu", channels_last=recipe.run.channels_last, folded=True)
    return CompareResult(
        out=out,
        seeds=tuple(run.seed for run in runs["mscsa"]),
        metric=SCORES[task].MAIN,
        labels=SCORES[task].LABELS,
        input_size=size,
        num_images=len(counts["mscsa"][0].index),
        block=block,
        class_names=class_names,
        arms=arms,
        contrasts=_contrasts(arms, counts, block),
        control_note=compared.control_note,
        neck_notes=compared.neck_notes,
        variant_notes=compared.variant_notes,
        latency=_latency([each[0] for each in runs.values()], task, size, options) if device else (),
        machine=describe_machine(options),
    )


def _draw_examples(recipe: Recipe, runs: Mapping[str, Run], path: Path) -> None:
    """Draw what the first model of each arm says about some images; their weights may have been deleted."""
    gone = _missing(runs.values())
    if gone is not None:
        logger.info("no examples are drawn: %s is not there any more", gone)
        return
    models = {f"{label_of(arm)}, seed {run.seed}": load_trained(run.weights)[0] for arm, run in runs.items()}
    cfg: dict[str, Any] = dict(next(iter(models.values())).pretrained_cfg)  # type: ignore[arg-type]
    draw_examples(models, build_dataset("val", recipe.data, recipe.augment, cfg, recipe.run.seed), path)


def _arm_result(arm: str, recipe: Recipe, runs: Sequence[Run], num_classes: int) -> ArmResult:
    kind = SCORES[recipe.model.task]
    model = build_on_meta(recipe, num_classes)
    finished = [run.result or {} for run in runs]
    name = parse_model_name(recipe.model.name)
    shown = {"baseline": name.without_mscsa, "control": f"{name.without_mscsa}, wider head"}
    if arm in NECKS and arm != MSCSA_NECK:
        shown[arm] = f"{name.without_mscsa} + {NECKS[arm].title}"
    elif arm not in ARM_NAMES:
        shown[arm] = f"{name.with_mscsa}, {arm}"
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
        class_scores={
            name: tuple(tuple(result["scores"][CLASS_SCORES[name]]) for result in finished)
            for name in score_names(kind)
            if name in CLASS_SCORES
        },
    )


def _check_same_data(runs: Mapping[str, Sequence[Run]], counts: Mapping[str, Sequence[ImageCounts]]) -> None:
    """Refuse runs on other data: more of it would pass for the gain of an arm, and other images for pairs."""
    pairs = [pair for arm, each in counts.items() for pair in zip(runs[arm], each, strict=True)]
    kept = [(run, (run.result or {}).get("data")) for run, _ in pairs]
    for split, done in (("train", "trained"), ("val", "evaluated")):
        hashes = [(run, data and [data["class_names"], data[f"{split}_files"]]) for run, data in kept]
        _check_same(hashes, f"{done} on different images or labels")
    _check_same([(run, images.index) for run, images in pairs], "evaluated on different images")
    _check_same([(run, images.truth()) for run, images in pairs], "evaluated on different labels")


def _check_same(known: Sequence[tuple[Run, Any]], how: str) -> None:
    """Refuse runs of which something known differs; of runs of older versions it may be None.

    Args:
        how: What then is to be said of both.
    """
    given = [(run, value) for run, value in known if value is not None]
    for run, value in given[1:]:
        first, expected = given[0]
        if not np.array_equal(value, expected):
            raise UserError(
                f"the runs {first.label} and {run.label} were {how}: the data set has changed between them; "
                f"remove {run.folder} or {first.folder} and compare again"
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


def _missing(runs: Iterable[Run]) -> Path | None:
    """Give the first file of weights that was deleted since its run."""
    return next((run.weights for run in runs if not run.weights.exists()), None)


def _latency(
    runs: Sequence[Run], task: Task, size: tuple[int, int], options: StepOptions
) -> tuple[Comparison, ...]:
    gone = _missing(runs)
    if gone is not None:
        raise UserError(f"the latency of {gone} was to be measured, which is not there: give --no-latency")
    compared = compare_speed(
        [load_trained(run.weights)[0] for run in runs],
        size,
        batch_sizes=_LATENCY_BATCHES[task],
        modes=("inference",),
        options=options,
        rounds=15,
    )
    return tuple(compared)
