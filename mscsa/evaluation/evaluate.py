"""Evaluate a trained model on a data set, whatever its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mscsa.assembly.build import check_input_size
from mscsa.assembly.weights_file import load_trained
from mscsa.data.datasets import build_dataset
from mscsa.data.loading import build_eval_loader
from mscsa.errors import unknown_name
from mscsa.evaluation.running import choose_device, process_rank
from mscsa.evaluation.scores import Scores, measure
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.folding import fold_norms
from mscsa.progress import progress
from mscsa.recipes.spec import PARTS, DataSpec, Task


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
    inference: SegmentationInference | None = None,
    results: str | Path | None = None,
) -> Evaluation:
    """Measure a trained model on its validation set, or on another one of the same classes.

    In an initialised process group each process evaluates its share; all get the same result.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run.
        overrides: Fields of the task's data spec by name that differ from training (`root`,
            `eval_batch_size`, `workers`, ...).
        accelerator: `cpu`, `gpu`, or `auto`: the GPU if there is one.
        inference: How a segmenter is asked about an image; whole, once, if None.
        results: Write what a detector finds to this file, in COCO's format of results.
    Raises:
        UserError: If the file, a field, an option or the data is not usable.
    """
    device = choose_device(accelerator)
    model, info = load_trained(checkpoint)
    data = _override(info.data, overrides or {})
    task = info.model.task
    check_input_size(model, info.model, data.input_size)
    with_masks = task == "instance_segmentation"
    dataset = build_dataset(
        "val", data, PARTS[task][1](), info.input, 0, info.class_names, with_masks=with_masks
    )
    rank, world_size = process_rank()
    loader = build_eval_loader(dataset, data, rank=rank, world_size=world_size)
    # As in training, so that the result is the one that the run reported.
    precision = info.provenance.get("recipe", {}).get("run", {}).get("precision", "32-true")
    if not precision.endswith("-mixed"):  # a folded weight is rounded otherwise to half the digits
        model = fold_norms(model)
    with progress("evaluation", len(loader)) as advance:
        scores = measure(
            task,
            model.to(device),
            loader,
            device=device,
            precision=precision,
            stop=lambda: bool(advance()),  # type: ignore[func-returns-value]  # None: go on
            inference=inference,
            results=results,
        )
    assert scores is not None, "nothing was there to stop it"
    return Evaluation(task=task, class_names=info.class_names, scores=scores)


def _override(data: DataSpec, overrides: Mapping[str, Any]) -> DataSpec:
    known = [field.name for field in fields(data)]
    for name in overrides:
        if name not in known:
            raise unknown_name("data has no field", name, known)
    return replace(data, **overrides)
