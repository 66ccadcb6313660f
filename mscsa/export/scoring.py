"""Scores of exported models, by the same code as of the models themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.data.tolerance import tolerant
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.evaluate import Evaluation, build_validation, evaluate_model
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.export.artifact_model import ArtifactModel
from mscsa.recipes.spec import ClassificationData
from mscsa_runtime.artifact import Artifact
from mscsa_runtime.errors import ArtifactError


def info_of(artifact: Artifact) -> WeightsInfo:
    """Give what the checkpoint said of itself; a classifier's images have the size that it was exported for.

    Raises:
        ArtifactError: If the model was not exported from a file that training wrote, or has no score.
    """
    weights = artifact.metadata.provenance.get("weights")
    if weights is None or artifact.metadata.task == "pyramid":
        raise ArtifactError(f"{artifact.path} has no score: give a trained model's, with its head")
    info = WeightsInfo.from_metadata(weights, artifact.path)
    if not isinstance(info.data, ClassificationData):
        return info
    sizes = artifact.metadata.sizes
    if sizes.height != sizes.width:  # scores are of square images: which ones has to be said
        return info
    return replace(info, data=replace(info.data, image_size=sizes.height))


def evaluate_artifact(
    artifact: Artifact,
    overrides: Mapping[str, Any] | None = None,
    *,
    inference: SegmentationInference | DetectionInference | None = None,
    results: str | Path | None = None,
) -> Evaluation:
    """Measure an exported model on the validation set, or another, as `mscsa.evaluation.evaluate` does.

    Raises:
        UserError: If a field, an option or the data is not usable.
        ArtifactError: If the artifact has no task, or the images a size that it does not take.
    """
    info, sizes = info_of(artifact), artifact.metadata.sizes
    is_square = sizes.height == sizes.width or not isinstance(info.data, ClassificationData)
    if not is_square and "image_size" not in (overrides or {}):
        raise ArtifactError(
            f"{artifact.path} was made for {sizes.height}x{sizes.width}, and a classifier's score is of "
            "square images: give --size"
        )
    return evaluate_model(
        ArtifactModel(artifact),
        info,
        overrides,
        device=torch.device("cpu"),
        precision="32-true",
        inference=inference,
        results=results,
    )


def first_images(artifact: Artifact, overrides: Mapping[str, Any], count: int) -> list[Tensor]:
    """Read the first images that an exported model is scored on, (3, h, w) each.

    Args:
        artifact: Knows what it was trained on.
        overrides: Fields of the data that differ from that.
        count: How many at most.
    """
    info = info_of(artifact)
    data = replace(info.data, **overrides)
    dataset = tolerant(build_validation(info, data), "val", data.max_bad)
    samples = (dataset[i] for i in range(len(dataset)))
    return [sample[0] for sample in islice((each for each in samples if each is not None), count)]
