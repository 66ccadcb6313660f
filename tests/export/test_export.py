"""Trained models are exported, compared, and refused where they are not right."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.export import Exported, export_checkpoint
from mscsa.export import differences as differences_module
from mscsa.export import export as module
from mscsa.export.export import _new_folder
from mscsa.export.formats import FORMATS
from mscsa.export.graphs import build_graphs
from mscsa.export.time_limit import OutOfTime
from mscsa_runtime import Artifact, Metadata
from tests.export.compared import check_that_it_is_the_model
from tests.export.small_exports import HEADS, MODELS, save
from tests.runtime.small_files import METADATA
from tests.segmentation.small import small


@pytest.mark.slow
def test_a_classifier_is_right_at_three_sizes_and_two_batches(exported: Exported, checkpoint: Path) -> None:
    assert exported.metadata.sizes.is_dynamic
    check_that_it_is_the_model(checkpoint, exported.path)


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
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(UserError, match=f"tolerance={tolerance:g} given: give a finite number"):
            export_checkpoint(checkpoint, tmp_path, tolerance=tolerance, format="torch_export", maps=True)
    with pytest.raises(UserError, match="max_loss=-1 given: give a finite number of 0 or more"):
        export_checkpoint(checkpoint, tmp_path, max_loss=-1, maps=True)
    with pytest.raises(UserError, match="has no pyramid whose maps could be exported"):
        export_checkpoint(checkpoint, tmp_path, maps=True)
    with pytest.raises(UserError, match="int8 needs a check"):
        export_checkpoint(checkpoint, tmp_path, int8=tmp_path)
    with pytest.raises(UserError, match="int8 is not there for torch_export"):
        export_checkpoint(checkpoint, tmp_path, format="torch_export", int8=tmp_path, check={})
    with pytest.raises(UserError, match="a pyramid has no score"):
        export_checkpoint(checkpoint, tmp_path, maps=True, check={})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("wrong at 96x64"), "others are not right: wrong at 96x64"),
        (
            OutOfTime(),
            "torch had no program for others after 300 s of CPU time "
            "(--fixed leaves them out from the start)",
        ),
    ],
)
def test_sizes_are_fixed_where_others_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    error: BaseException,
    reason: str,
) -> None:
    tried = []

    def written(_: object, metadata: Metadata, *rest: Any) -> Exported:
        tried.append((metadata.sizes.is_dynamic, rest[2]))
        if metadata.sizes.is_dynamic:
            raise error
        return Exported(path=tmp_path, metadata=metadata, difference=0.0)

    monkeypatch.setattr(module, "_write_files", written)
    model = small("semantic_fpn", "test_resnet").eval()
    caplog.set_level(logging.INFO)
    arguments = METADATA, FORMATS["onnx"], tmp_path
    found = module._write(build_graphs(model, (64, 96)), *arguments, (64, 96), False, 1e-3)
    assert tried == [(True, [(64, 96), (96, 64), (64, 160), (96, 192)]), (False, [(64, 96)])]
    assert not found.metadata.sizes.is_dynamic
    assert caplog.messages == [f"the size is fixed to 64x96, since {reason}"]


ALL = [(name, format) for name in HEADS for format in FORMATS]
ALL += [(name, "onnx") for name in MODELS if name not in HEADS]
SOONER = [("semantic_fpn", "onnx"), ("retinanet", "openvino")]
"""What runs with the slow tests, and not with the long ones alone."""


@pytest.mark.parametrize(
    ("name", "format"),
    [pytest.param(*case, marks=pytest.mark.slow if case in SOONER else pytest.mark.long) for case in ALL],
)
def test_what_people_get_of_the_file_is_what_they_get_of_the_model(
    name: str, format: str, tmp_path: Path
) -> None:
    checkpoint = save(name, tmp_path)
    result = export_checkpoint(checkpoint, tmp_path / "out", format=format, size=(64, 96))
    check_that_it_is_the_model(checkpoint, result.path)
    is_detector = MODELS[name][0].task not in ("classification", "segmentation")
    assert not (is_detector and result.metadata.sizes.is_dynamic)


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_the_maps_under_a_head(format: str, tmp_path: Path) -> None:
    checkpoint = save("retinanet", tmp_path)
    result = export_checkpoint(checkpoint, tmp_path / "out", format=format, size=(64, 96), maps=True)
    assert result.metadata.strides == (8, 16, 32) and result.metadata.sizes.is_dynamic
    check_that_it_is_the_model(checkpoint, result.path)
