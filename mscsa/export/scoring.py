"""Scores of exported models, by the same code as of the models themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.evaluate import Evaluation, build_validation, evaluate_model
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.export.artifact_model import ArtifactModel
from mscsa_runtime.artifact import Artifact
from mscsa_runtime.errors import ArtifactError


def info_of(artifact: Artifact) -> WeightsInfo:
    """Give what the checkpoint said of itself.

    Raises:
        ArtifactError: If the model was not exported from a file that training wrote.
    """
    weights = artifact.metadata.provenance.get("weights")
    if weights is None or artifact.metadata.task == "pyramid":
        raise ArtifactError(f"{artifact.path} has no score: give a trained model's, with its head")
    return WeightsInfo.from_metadata(weights, artifact.path)


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
    return evaluate_model(
        ArtifactModel(artifact),
        info_of(artifact),
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
    dataset = build_validation(info, replace(info.data, **overrides))
    return [dataset[i][0] for i in range(min(count, len(dataset)))]
