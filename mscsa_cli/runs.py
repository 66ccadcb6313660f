"""Commands that train, measure and use models."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscsa_cli.artifacts import classify_images, no_pictures, open_artifact
from mscsa_cli.parsing import Asking, Device, fail

if TYPE_CHECKING:
    from mscsa.recipes.spec import Recipe, Task
    from mscsa.training import RunResult


def compare(
    recipe: Recipe,
    *,
    out: str,
    seeds: int = 6,
    jobs: int | None = None,
    control: bool = True,
    necks: str | None = None,
    variants: dict[str, dict[str, Any]] | None = None,
    block: int = 1,
    latency: bool = True,
) -> None:
    """Train a recipe with and without MSCSA from the same seeds, and report the difference.

    Example:
        mscsa compare frozen_collages/mscsa_tf_efficientnet_lite0 --out runs/quickstart

    Args:
        recipe: Name of a recipe with MSCSA (`mscsa list --recipes`); its baseline is derived.
        out: Folder of the comparison; the same command again goes on where it stopped.
        seeds: Number of seeds, from run.seed on; fewer than 6 cannot reach a verdict.
        jobs: Runs at a time; one per CPU core, or one on a GPU, if not given.
        control: Compare with a baseline whose wider head costs what MSCSA costs, too, where the task has one.
        necks: Compare with these necks in the place of MSCSA, at its cost, too; fpn,pafpn,bifpn,topformer are
            all (`mscsa list --necks`).
        variants: Compare with MSCSA built otherwise, too: name and `MSCSAConfig` fields, or `budget`, as in
            '{no_pcp: {parallel_conv: false}}'.
        block: Consecutive test images that are drawn together in the bootstrap over images, for videos.
        latency: Measure the latency of all arms at the end; leave it out where other work runs beside.
    """
    from mscsa.compare.compare import compare_recipe
    from mscsa.compare.tables import comparison_tables
    from mscsa.report import show
    from mscsa.signals import Interrupted, ended_by_sigterm

    try:
        with ended_by_sigterm("the same command goes on"):
            result = compare_recipe(
                recipe,
                Path(out),
                num_seeds=seeds,
                jobs=jobs,
                with_control=control,
                necks=[] if necks is None else [name.strip() for name in necks.split(",")],
                variants=variants,
                block=block,
                with_latency=latency,
            )
    except Interrupted as error:
        print(error, file=sys.stderr)
        raise
    show(*comparison_tables(result))


def train(recipe: Recipe, *, out: str | None = None, resume: str | bool = False, extend: bool = False) -> int:
    """Train, evaluate and save one model as a recipe says.

    Example:
        mscsa train scenes/resnet10t --run.epochs 2 --out runs/first

    Args:
        recipe: Name of a recipe (`mscsa list --recipes`); with --resume RUN that of the run.
        out: Folder of the run; runs/RECIPE if not given, or runs/RECIPE-2 and so on where that is taken.
        resume: Go on with the run in that folder, with the settings it was started with; runs/RECIPE, or
            --out, if no folder is named.
        extend: With --resume and a greater --run.epochs or --run.steps: make a run longer whose learning rate
            falls over its whole length; from there on it is that of a run of the new length.
    """
    from mscsa.run_files import LAST
    from mscsa.training import Interrupted, NonFiniteError, ProcessLost
    from mscsa.training import train as run_training
    from mscsa.training.processes import OneProcessError, await_end, local_rank, rank
    from mscsa.training.run_folder import next_free

    folder = run_folder(recipe.name, out, resume)
    is_first = rank() == 0
    if is_first and out is None and not resume:
        folder = next_free(folder)
    try:
        result = run_training(recipe, folder, resume=bool(resume), extend=extend)
    except Interrupted as error:
        if is_first:
            hint = f"; go on with: mscsa train --resume {folder}" if (folder / LAST).exists() else ""
            print(f"{error}{hint}", file=sys.stderr)
        raise
    except NonFiniteError as error:
        return fail(str(error), 1) if is_first else 1
    except ProcessLost as error:
        await_end()
        return fail(str(error), 1) if is_first else 1
    except ValueError as error:
        if local_rank() > 0 and not isinstance(error, OneProcessError):
            return 2  # the first process of this machine finds the same, and says it
        raise
    if is_first:
        _show_end(folder, result, recipe.model.task)
    return 0


def _show_end(folder: Path, result: RunResult, task: Task) -> None:
    """Draw the curves, and say what the run came to."""
    from mscsa.evaluation.scores import main_label
    from mscsa.pictures.curves import draw_curves
    from mscsa.run_files import METRICS
    from mscsa.training.metrics_log import read_metrics
    from mscsa.training.run_folder import CURVES, LOG
    from mscsa.training.run_log import add_lines
    from mscsa.training.summary import closing_lines

    rows = read_metrics(folder / METRICS)
    draw_curves(rows, folder / CURVES, score=f"val_{result.metric}", label=main_label(task))
    lines = closing_lines(folder, result, task)
    print(*lines, sep="\n")
    add_lines(folder / LOG, lines)


def evaluate(
    checkpoint: str,
    *,
    root: str | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    asking: Asking,
    results: str | None = None,
    device: Device = "auto",
    out: str | None = None,
    json: str | None = None,
) -> None:
    """Measure a trained model on its validation set, or on other images of the same classes.

    Example:
        mscsa eval runs/first

    Args:
        checkpoint: Folder of a run, which stands for its best.safetensors; a file of weights in one; or what
            `mscsa export` wrote.
        root: Folder of another data set of the same layout; the one it was trained on if not given.
        size: Side of the square input of a classifier, shorter side for other tasks, in pixels; as in
            training if not given.
        batch_size: Images per step; as in training if not given.
        workers: Loader processes; as in training if not given.
        asking: How a segmenter or detector is asked about an image.
        results: Detection: write all that is found to this file, in COCO's format of results; masks to
            NAME_masks.json beside it.
        device: Where to run; auto takes the GPU if there is one.
        out: Folder for pictures of what is taken for what, and of a detector's precision by recall.
        json: Write the result to this file, too, with all that the tables and pictures are made of.
    """
    from mscsa.assembly import read_info
    from mscsa.evaluation import evaluate as measure
    from mscsa.export import evaluate_artifact
    from mscsa.export.scoring import info_of
    from mscsa.report import show
    from mscsa_cli.detail_tables import detail_tables
    from mscsa_cli.evaluation_options import evaluation_options
    from mscsa_cli.predictions import detail_folder, write_evaluation
    from mscsa_cli.result_tables import scores_table

    artifact = open_artifact(checkpoint, device)
    info = read_info(checkpoint) if artifact is None else info_of(artifact)
    options = evaluation_options(info, asking, results=results)
    others = [file for file in (checkpoint, json, results) if file is not None]
    folder = None if out is None else detail_folder(Path(out), info.model.task, others)
    overrides = info.overrides(root=root, size=size, eval_batch_size=batch_size, workers=workers)
    if artifact is None:
        result = measure(checkpoint, overrides, accelerator=device, **options)
    else:
        result = evaluate_artifact(artifact, overrides, **options)
    write_evaluation(result, checkpoint, json=json, folder=folder)
    show(scores_table(checkpoint, result), *detail_tables(result))


def predict(
    images: list[str],
    *,
    checkpoint: str,
    out: str | None = None,
    top_k: int = 5,
    batch_size: int = 32,
    threshold: float = 0.5,
    asking: Asking,
    device: Device = "auto",
    json: str | None = None,
) -> int:
    """Predict images and videos with a trained model: classes, for each pixel a class, or objects.

    Example:
        mscsa predict cat.jpg dog.png --checkpoint runs/first

    Args:
        images: Image files, videos, folders of images, or patterns such as 'shots/**/*.png'.
        checkpoint: Folder of a run, which stands for its best.safetensors; a file of weights in one; or what
            `mscsa export` wrote.
        out: Folder for the pictures, needed by all but classifiers: of a segmenter the label map (NAME.png)
            and the overlay (NAME_overlay.png), of a detector the objects drawn on the image (NAME.png). Of a
            video they are drawn on its frames (NAME.mp4), with a line of JSON for each (NAME.jsonl).
        top_k: Classifier: number of classes to name per image.
        batch_size: Classifier: images per step.
        threshold: Detector: least score of an object that is drawn, 0 to 1; --json has all.
        asking: How a segmenter or detector is asked about an image.
        device: Where to run; auto takes the GPU if there is one.
        json: Write the result to this file, too.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold {threshold:g} given: give a score in 0..1")
    artifact = open_artifact(checkpoint, device)
    if artifact is not None and artifact.metadata.task == "classification":
        if out is not None:
            raise ValueError(no_pictures(out))
        return classify_images(artifact, images, top_k=top_k, batch_size=batch_size, json=json)

    from mscsa.report import write_json
    from mscsa_cli.predictions import predict_images
    from mscsa_cli.result_tables import show_with_errors

    found, tables = predict_images(
        checkpoint if artifact is None else artifact,
        images,
        out,
        top_k=top_k,
        batch_size=batch_size,
        threshold=threshold,
        asking=asking,
        device=device,
        others=[json] if json else [],
    )
    if json:
        write_json(json, [asdict(each) for each in found])
    return show_with_errors(tables, [each.error for each in found])


def run_folder(recipe_name: str, out: str | None, resume: str | bool = False) -> Path:
    """Choose the folder of a training run."""
    if isinstance(resume, str):
        if out is not None:
            raise ValueError(f"--resume {resume} and --out {out} both name a folder; leave --out out")
        return Path(resume)
    return Path(out) if out is not None else Path("runs") / recipe_name
