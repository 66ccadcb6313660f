"""Trained models are exported, compared, and refused where they are not right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mscsa.assembly.weights_file import load_trained
from mscsa.errors import UserError
from mscsa.export import Exported, export_checkpoint
from mscsa.export import differences as differences_module
from mscsa.export.export import _new_folder
from mscsa.export.formats import FORMATS
from mscsa_runtime import Artifact
from tests.export.small_exports import MODELS, save


def test_a_classifier_is_right_at_three_sizes_and_two_batches(exported: Exported, checkpoint: Path) -> None:
    artifact = Artifact(exported.path)
    model, _ = load_trained(checkpoint)
    for batch, height, width in ((1, 64, 64), (3, 96, 160), (3, 224, 64)):
        images = np.random.default_rng(0).standard_normal((batch, 3, height, width)).astype(np.float32)
        with torch.no_grad():
            wanted = model(torch.from_numpy(images))
        np.testing.assert_allclose(artifact.run(images)["logits"], wanted, rtol=0, atol=1e-3)


def test_what_was_compared_is_told(exported: Exported) -> None:
    assert exported.metadata.sizes.is_dynamic and exported.metadata.opset is None
    assert exported.difference < 1e-5
    assert exported.difference_on_images is not None and exported.difference_on_images < 1e-5
    assert exported.scores is not None
    own, other = (each.scores for each in exported.scores)
    assert own.num_samples == 9 and getattr(own, "top1") == getattr(other, "top1")  # noqa: B009


def test_the_file_knows_what_the_checkpoint_knew(exported: Exported) -> None:
    metadata = Artifact(exported.path.parent).metadata
    assert metadata == exported.metadata
    assert metadata.class_names == tuple("0123456789") and metadata.task == "classification"
    assert metadata.provenance["recipe"] == "test" and "torch" in metadata.provenance["versions"]


def test_nothing_stays_of_an_export_that_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="wrong"), _new_folder(out, FORMATS["onnx"]) as folder:
        (folder / "model.onnx").write_text("half")
        raise UserError("wrong")
    assert not out.exists()
    with _new_folder(out, FORMATS["onnx"]) as folder:
        (folder / "model.onnx").write_text("whole")
    assert [path.name for path in out.iterdir()] == ["model.onnx"]


@pytest.mark.long
def test_a_wrong_artifact_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = differences_module._compared
    monkeypatch.setattr(differences_module, "_compared", lambda *of: 1.0 + compared(*of))
    with pytest.raises(
        UserError, match=r"part 'model' differs by 1 of the largest value from the model at 64x64"
    ):
        export_checkpoint(checkpoint, tmp_path / "out", format="torch_export", is_fixed=True)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_is_refused_before_anything_is_exported(
    checkpoint: Path, exported: Exported, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="holds such a model already"):
        export_checkpoint(checkpoint, exported.path.parent, format="torch_export")
    with pytest.raises(UserError, match="no format is called 'onx': did you mean onnx"):
        export_checkpoint(checkpoint, tmp_path, format="onx")
    with pytest.raises(UserError, match="has no pyramid whose maps could be exported"):
        export_checkpoint(checkpoint, tmp_path, maps=True)
    with pytest.raises(UserError, match="int8 needs a check"):
        export_checkpoint(checkpoint, tmp_path, int8=tmp_path)
    with pytest.raises(UserError, match="int8 is not there for torch_export"):
        export_checkpoint(checkpoint, tmp_path, format="torch_export", int8=tmp_path, check={})
    with pytest.raises(UserError, match="a pyramid has no score"):
        export_checkpoint(checkpoint, tmp_path, maps=True, check={})


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_every_head_in_every_format(name: str, format: str, tmp_path: Path) -> None:
    """`export_checkpoint` itself compares: batches 1 and 3, four sizes where sizes are dynamic."""
    size = (64, 64) if name == "classifier" else (64, 96)
    result = export_checkpoint(save(name, tmp_path), tmp_path / "out", format=format, size=size)
    assert result.difference < 1e-3
    is_detector = MODELS[name][0].task not in ("classification", "segmentation")
    assert not (is_detector and result.metadata.sizes.is_dynamic)


@pytest.mark.long
@pytest.mark.parametrize("name", ["semantic_fpn", "retinanet"])
def test_the_maps_under_a_head(name: str, tmp_path: Path) -> None:
    result = export_checkpoint(save(name, tmp_path), tmp_path / "out", size=(64, 96), maps=True)
    assert result.metadata.outputs == tuple(f"stride{stride}" for stride in result.metadata.strides)
    assert result.metadata.sizes.is_dynamic
