"""Models of the page are those of `mscsa predict`, with what there is to say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.assembly.weights_file import load_trained
from mscsa.demo.models import imagenet_names, load_model, load_shipped
from mscsa.errors import UserError
from mscsa.evaluation.classify import LoadedClassifier
from mscsa.macs import count_macs, count_parameters
from tests.demo.shown import save_pair


def test_counts_are_of_the_model_before_its_norms_are_folded(classifiers: tuple[Path, Path]) -> None:
    shown = load_model(classifiers[0], accelerator="cpu")
    model, info = load_trained(classifiers[0])
    assert shown.parameters == count_parameters(model)
    assert shown.macs((32, 32)) == count_macs(model, (32, 32))
    assert shown.macs((64, 32)) > 1.5 * shown.macs((32, 32))
    assert (shown.task, shown.input_size, shown.info) == ("classification", (32, 32), info)
    assert shown.title == "test_resnet with MSCSA"
    assert load_model(classifiers[1], accelerator="cpu").title == "test_resnet without MSCSA"


def test_heads_are_named(tmp_path: Path) -> None:
    path, _ = save_pair("segmentation", tmp_path)
    assert load_model(path.parent, accelerator="cpu").title == "test_resnet with MSCSA under semantic_fpn"


def test_what_is_no_trained_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="is an exported model"):
        load_model(tmp_path, accelerator="cpu")
    with pytest.raises(UserError, match="no best.safetensors"):
        load_model(tmp_path.parent, accelerator="cpu")


def test_without_a_run_there_is_the_shipped_classifier() -> None:
    shown = load_shipped(accelerator="cpu")
    assert isinstance(shown.loaded, LoadedClassifier)
    assert (shown.info, shown.file, shown.spec.neck_name) == (None, None, None)
    assert (shown.input_size, len(shown.loaded.class_names)) == ((224, 224), 1000)
    assert 4.6e6 < shown.parameters < 4.7e6  # timm says 4.65 M


def test_names_of_imagenet_are_told_apart() -> None:
    names = imagenet_names()
    assert names[1] == "goldfish, Carassius auratus"
    assert {names[134], names[517]} == {"crane (n02012849)", "crane (n03126707)"}
    assert len(set(names)) == 1000
