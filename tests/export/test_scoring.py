"""Exported models are scored on a data set."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.evaluation.evaluate import evaluate
from mscsa.export import Exported, evaluate_artifact, export_checkpoint
from mscsa.export.scoring import first_images, info_of
from mscsa.recipes.spec import SegmentationData
from mscsa_runtime import Artifact, ArtifactError
from mscsa_runtime.metadata import Sizes
from tests.evaluation.sided import DOORS
from tests.evaluation.sided import info_of as sided_info


@pytest.mark.slow
def test_fewer_images_and_another_size(exported: Exported) -> None:
    artifact = Artifact(exported.path)
    result = evaluate_artifact(artifact, {"num_val": 4, "image_size": 96})
    assert result.scores.num_samples == 4 and info_of(artifact).model.task == "classification"
    assert [tuple(each.shape) for each in first_images(artifact, {}, 2)] == [(3, 64, 64)] * 2
    with pytest.raises(ArtifactError, match="64x64|sides of 64 px and more"):
        evaluate_artifact(artifact, {"image_size": 50})


def test_a_classifier_is_scored_at_the_size_that_it_was_exported_for(
    checkpoint: Path, tmp_path: Path
) -> None:
    """`--size` of another side than in training: model and file are compared, and later scored, at it."""
    exported = export_checkpoint(
        checkpoint,
        tmp_path / "out",
        format="torch_export",
        size=(96, 96),
        is_fixed=True,
        check={"num_val": 4},
    )
    artifact = Artifact(exported.path)
    assert [tuple(each.shape) for each in first_images(artifact, {}, 1)] == [(3, 96, 96)]
    assert exported.scores is not None
    own, of_file = (each.scores for each in exported.scores)
    assert own == of_file == evaluate_artifact(artifact, {"num_val": 4}).scores
    assert own == evaluate(checkpoint, {"num_val": 4, "image_size": 96}, accelerator="cpu").scores


def test_a_classifier_of_no_square_has_a_score_at_a_size_that_is_given(
    exported: Exported, checkpoint: Path
) -> None:
    artifact: Any = SimpleNamespace(path="model.onnx", metadata=copy.copy(Artifact(exported.path).metadata))
    object.__setattr__(artifact.metadata, "sizes", Sizes(height=64, width=96))
    with pytest.raises(
        ArtifactError, match="model.onnx was made for 64x96, and .* square images: give --size"
    ):
        evaluate_artifact(artifact, {"num_val": 4})
    artifact.run = Artifact(exported.path).run
    assert evaluate_artifact(artifact, {"num_val": 4, "image_size": 64}).scores.num_samples == 4
    with pytest.raises(
        UserError, match="size 64x96 given with a check, and a classifier's score is of square"
    ):
        export_checkpoint(checkpoint, exported.path.parent / "other", size=(64, 96), check={})


def test_an_exported_model_swaps_the_classes_that_its_checkpoint_did() -> None:
    info = sided_info(SegmentationData(kind="masks"), DOORS)
    metadata = SimpleNamespace(task="segmentation", provenance={"weights": info.to_metadata()})
    artifact: Any = SimpleNamespace(metadata=metadata, path="model.onnx")
    assert info_of(artifact).flip_pairs == DOORS
