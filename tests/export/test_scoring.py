"""Exported models are scored on a data set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.export import Exported, evaluate_artifact
from mscsa.export.scoring import first_images, info_of
from mscsa.recipes.spec import SegmentationData
from mscsa_runtime import Artifact, ArtifactError
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


def test_an_exported_model_swaps_the_classes_that_its_checkpoint_did() -> None:
    info = sided_info(SegmentationData(kind="masks"), DOORS)
    metadata = SimpleNamespace(task="segmentation", provenance={"weights": info.to_metadata()})
    artifact: Any = SimpleNamespace(metadata=metadata, path="model.onnx")
    assert info_of(artifact).flip_pairs == DOORS
