"""Evaluate a trained model on a data set, whatever its task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mscsa.assembly.build import check_input_size
from mscsa.assembly.weights_file import WeightsInfo, load_trained
from mscsa.data.contract import TaskDataset, with_transform
from mscsa.data.datasets import build_dataset
from mscsa.data.loading import build_eval_loader
from mscsa.data.tolerance import TolerantDataset, bad_of_all, tolerant, too_many
from mscsa.data.transforms.detection import untouched
from mscsa.errors import UserError, unknown_name
from mscsa.evaluation.detection_inference import DetectionInference, InViews
from mscsa.evaluation.running import choose_device, matmul_precision, process_rank
from mscsa.evaluation.scores import Scores, measure
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.swapping import with_swapped_classes
from mscsa.folding import fold_norms
from mscsa.progress import progress
from mscsa.recipes.spec import PARTS, DataSpec, DetectionData, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a trained model came to on a data set."""

    task: Task
    class_names: tuple[str, ...]
    """Of the model's outputs, for scores by class."""
    scores: Scores


def evaluate(
    checkpoint: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    accelerator: str = "auto",
    inference: SegmentationInference | DetectionInference | None = None,
    results: str | Path | None = None,
) -> Evaluation:
    """Measure a trained model on its validation set, or on another one of the same classes.

    In an initialised process group each process evaluates its share; all get the same result.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        overrides: Fields of the task's data spec by name that differ from training (`root`,
            `eval_batch_size`, `workers`, ...).
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
        inference: How a segmenter or detector is asked about an image; whole, once, if None.
        results: Write what a detector finds to this file, in COCO's format of results.
    Raises:
        UserError: If the file, a field, an option or the data is not usable.
    """
    device = choose_device(accelerator)
    model, info = load_trained(checkpoint)
    check_input_size(model, info.model, _override(info.data, overrides or {}).input_size)
    # As in training, so that the result is the one that the run reported.
    precision = info.provenance.get("recipe", {}).get("run", {}).get("precision", "32-true")
    if not precision.endswith("-mixed"):  # a folded weight is rounded otherwise to half the digits
        model = fold_norms(model)
    return evaluate_model(
        model.to(device),
        info,
        overrides,
        device=device,
        precision=precision,
        inference=inference,
        results=results,
    )


def evaluate_model(
    model: nn.Module,
    info: WeightsInfo,
    overrides: Mapping[str, Any] | None,
    *,
    device: torch.device,
    precision: str,
    inference: SegmentationInference | DetectionInference | None = None,
    results: str | Path | None = None,
) -> Evaluation:
    """Measure a model in eval mode, whatever does its work, as `evaluate` does.

    Args:
        model: Under the contract of its task.
        info: What it was trained on and how images are prepared.
        overrides: As of `evaluate`, like the last two.
        device: Where it is.
        precision: Lightning's name of the arithmetic.
    Raises:
        UserError: If a field, an option or the data is not usable.
    """
    task = info.model.task
    data = _override(info.data, overrides or {})
    dataset: Any = build_validation(info, data)
    pairs = info.class_names, info.flip_pairs, getattr(dataset, "flip_pairs", ())
    how: SegmentationInference | InViews | None
    if isinstance(inference, DetectionInference):
        if not isinstance(data, DetectionData):
            raise UserError(f"inference={inference} is for detection, the model for {task}: leave it out")
        how = InViews(with_swapped_classes(inference, *pairs), dataset.transform)
        dataset = with_transform(dataset, untouched)
    else:
        how = None if inference is None else with_swapped_classes(inference, *pairs)
    dataset = tolerant(dataset, "val", data.max_bad)
    rank, world_size = process_rank()
    loader = build_eval_loader(dataset, data, rank=rank, world_size=world_size)
    run = info.provenance.get("recipe", {}).get("run", {})
    with (
        matmul_precision(run.get("matmul_precision")),
        progress("evaluation", len(loader)) as advance,
    ):
        scores = measure(
            task,
            model,
            loader,
            device=device,
            precision=precision,
            stop=lambda: bool(advance()),  # None: go on
            inference=how,
            results=results,
            with_detail=True,
        )
    assert scores is not None, "nothing was there to stop it"
    if isinstance(dataset, TolerantDataset):
        left_out = list(bad_of_all(dataset, world_size).values())
        if len(left_out) > data.max_bad:
            raise UserError(too_many(len(left_out), data.max_bad, left_out[-1]))
        for why in left_out if rank == 0 else ():
            logger.warning("%s; it is left out of the scores", why)
    return Evaluation(task=task, class_names=info.class_names, scores=scores)


def build_validation(info: WeightsInfo, data: DataSpec) -> TaskDataset:
    """Build the validation set of a trained model.

    Args:
        info: Of the model: its classes and how it takes images.
        data: Where the images are.
    Raises:
        UserError: If the data is not usable.
    """
    if not data.places and not data.is_rendered:
        raise UserError(
            "the model's file does not say where its data is, and there is no run's config.yaml beside it: "
            "give --root PATH, the folder of the data set"
        )
    task = info.model.task
    with_masks = task == "instance_segmentation"
    return build_dataset(
        "val", data, PARTS[task][1](), info.input, 0, info.class_names, with_masks=with_masks
    )


def _override(data: DataSpec, overrides: Mapping[str, Any]) -> DataSpec:
    known = [field.name for field in fields(data)]
    for name in overrides:
        if name not in known:
            raise unknown_name("data has no field", name, known)
    return replace(data, **overrides)
