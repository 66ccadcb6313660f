"""What a file of weights says about itself, and a model rebuilt from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mscsa.assembly import WeightsInfo, build_model, load_trained, read_info, resolved_spec
from mscsa.assembly.weights_file import weights_at
from mscsa.checkpoints import read_state_dict, save_weights
from mscsa.errors import UserError
from mscsa.recipes.spec import (
    GIVEN_PLACES,
    ClassificationData,
    DetectionData,
    ModelSpec,
    SegmentationData,
)

CLASSIFIER = WeightsInfo(
    model=ModelSpec(name="test_resnet"),
    data=ClassificationData(kind="scenes", image_size=32),
    class_names=("cat", "d\u00f6g", "fish"),
    input={"mean": [0.5, 0.5, 0.5], "crop_pct": 0.9},
    provenance={"recipe": {"name": "test"}, "step": 7},
)
DETECTOR = replace(
    CLASSIFIER,
    model=ModelSpec(name="test_resnet", head="retinanet", head_kwargs={"fpn_channels": 16}),
    data=DetectionData(kind="coco", root="/data", short_side=96, long_side=128),
    category_ids=(3, 1, 90),
    flip_pairs=(("cat", "fish"),),
)
SEGMENTER = replace(
    CLASSIFIER,
    model=ModelSpec(name="test_resnet", head="semantic_fpn", head_kwargs={"fpn_channels": 16}),
    data=SegmentationData(kind="masks", short_side=64, long_side=256),
)
ALL = {"classifier": CLASSIFIER, "detector": DETECTOR, "segmenter": SEGMENTER}


@pytest.mark.parametrize("kind", ALL)
def test_metadata_are_read_as_they_were_written(kind: str) -> None:
    metadata = ALL[kind].to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    again = WeightsInfo.from_metadata(metadata, "file")
    expected = ALL[kind]
    assert (again.model, again.class_names, again.category_ids, again.flip_pairs) == (
        expected.model,
        expected.class_names,
        expected.category_ids,
        expected.flip_pairs,
    )
    assert (again.data, again.input, again.provenance) == (expected.data, expected.input, expected.provenance)


def test_a_file_of_before_flip_pairs_has_those_of_its_recipe_or_none() -> None:
    for augment, expected in (
        ({}, ()),
        ({"flip_pairs": []}, ()),
        ({"flip_pairs": [["cat", "fish"]]}, (("cat", "fish"),)),
    ):
        info = replace(DETECTOR, flip_pairs=(), provenance={"recipe": {"augment": augment}})
        metadata = info.to_metadata()
        del metadata["flip_pairs"]
        assert WeightsInfo.from_metadata(metadata, "file") == replace(info, flip_pairs=expected)


def test_the_folder_of_the_data_is_that_of_the_run_it_lies_in(tmp_path: Path) -> None:
    """Weights that are given away name no folder of the machine they were trained on."""
    model = build_model(CLASSIFIER.model, 3)
    info = replace(CLASSIFIER, data=replace(CLASSIFIER.data, kind="folder"))
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for place in (run / "best.safetensors", run / "kept" / "step_5.safetensors", elsewhere / "a.safetensors"):
        save_weights(model, place, info.to_metadata())
    (run / "config.yaml").write_text("data: {root: /data/birds}\n")
    for path in (run, run / "best.safetensors", run / "kept" / "step_5.safetensors"):
        assert read_info(path).data.root == load_trained(path)[1].data.root == "/data/birds"
    assert read_info(elsewhere / "a.safetensors").data.root is None
    for spoilt in ("data: {}", "data: [", "- a", "data: {root: null}"):
        (run / "config.yaml").write_text(spoilt)
        assert read_info(run).data.root is None


def test_places_that_are_given_one_by_one_are_those_of_the_run_too(tmp_path: Path) -> None:
    data = DetectionData(kind="coco", short_side=96, long_side=128)
    places = {name: f"/data/{name}" for name in GIVEN_PLACES}
    file, info = tmp_path / "a.safetensors", replace(DETECTOR, data=data)
    save_weights(torch.nn.Linear(1, 1), file, info.to_metadata())
    assert read_info(file).data.places == {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"root": None, **places}}))
    assert read_info(file).data == replace(data, **places)


def test_a_file_makes_nobody_load_others() -> None:
    spec = replace(CLASSIFIER.model, pretrained=True, checkpoint="/elsewhere.pth", freeze=("conv1",))
    read = WeightsInfo.from_metadata(replace(CLASSIFIER, model=spec).to_metadata(), "file").model
    assert (read.pretrained, read.checkpoint, read.freeze) == (False, None, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": None}, "x.safetensors does not say how it was made .no class_names in its metadata"),
        ({"data": "{"}, "its metadata cannot be read .*damaged or of a later version"),
        ({"model": "[1]"}, "its metadata cannot be read .*later version"),
        ({"model": "null"}, "its metadata cannot be read .*later version"),
        ({"model": '{"name": "test_resnet", "flavour": 1}'}, "flavour.*later version"),
        ({"model": '{"name": "test_resnet", "head": "unet"}'}, "no head is called 'unet'.*later version"),
    ],
)
def test_metadata_that_cannot_be_read_is_one_line(change: dict[str, Any], message: str) -> None:
    metadata = {key: value for key, value in {**CLASSIFIER.to_metadata(), **change}.items() if value}
    with pytest.raises(UserError, match=message) as caught:
        WeightsInfo.from_metadata(metadata, "x.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("classifier", {"root": None, "size": None}, {}),
        ("classifier", {"root": None, "size": 48}, {"image_size": 48}),
        ("classifier", {"root": "/x", "size": None}, {"root": "/x", "kind": "folder"}),  # it was on scenes
        ("detector", {"root": "/x", "size": None, "workers": 0}, {"root": "/x", "workers": 0}),
        ("detector", {"root": None, "size": 192}, {"short_side": 192, "long_side": 256}),
        ("segmenter", {"root": None, "size": 32}, {"short_side": 32, "long_side": 128}),
    ],
)
def test_what_differs_from_the_training_data(
    kind: str, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert ALL[kind].overrides(**given) == expected


def written(info: WeightsInfo, path: Path) -> torch.nn.Module:
    """Save an untrained model as training does."""
    torch.manual_seed(0)
    model = build_model(info.model, len(info.class_names))
    save_weights(model, path, replace(info, model=resolved_spec(info.model, model)).to_metadata())
    return model


@pytest.mark.parametrize("kind", ALL)
def test_a_model_is_rebuilt_with_its_weights(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    model = written(ALL[kind], path)
    again, info = load_trained(path, ALL[kind].model.task)
    assert read_info(path) == info and not again.training
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())


def test_a_model_of_another_task_or_of_missing_weights_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    model = written(SEGMENTER, path)
    with pytest.raises(UserError, match="holds a model for segmentation: give one for detection or instance"):
        load_trained(path, "detection", "instance_segmentation")
    metadata = SEGMENTER.to_metadata()
    save_weights(model.get_submodule("backbone"), path, metadata)
    with pytest.raises(UserError, match="does not fit the model it describes") as caught:
        load_trained(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_changed_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    weights, metadata = written(CLASSIFIER, path).state_dict(), read_state_dict(path)[1]
    without = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    cases = [
        (without, metadata, "does not fit the model it describes"),
        (weights, {**metadata, "class_names": '["a", "b"]'}, "does not fit the model it describes"),
        (weights, {}, "does not say how it was made"),
    ]
    for entries, said, message in cases:
        save_weights(entries, path, said)
        with pytest.raises(UserError, match=message) as caught:
            load_trained(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is not there"):
        load_trained(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("init", "scale"), [("default", 1.0), ("identity", 2.0)])
def test_a_file_of_before_the_gate_had_a_scale_keeps_its_gates(init: str, scale: float) -> None:
    """Its start means nothing any more; what its gates multiply by does."""
    spec = replace(SEGMENTER.model, mscsa={"num_heads": 2, "init": init})
    read = WeightsInfo.from_metadata(replace(SEGMENTER, model=spec).to_metadata(), "file").model
    assert read.mscsa == {"num_heads": 2, "gate_scale": scale}
    built = build_model(read, 3)
    gates = [module.gate_scale for module in built.modules() if hasattr(module, "gate_scale")]
    assert gates and set(gates) == {scale}


def test_a_file_of_now_keeps_its_configuration() -> None:
    mscsa = {"num_heads": 2, "init": "fan_in", "gate_scale": 1.5}
    spec = replace(SEGMENTER.model, mscsa=mscsa)
    assert (
        WeightsInfo.from_metadata(replace(SEGMENTER, model=spec).to_metadata(), "file").model.mscsa == mscsa
    )


def test_the_folder_of_a_run_stands_for_its_best_weights(tmp_path: Path) -> None:
    assert weights_at(tmp_path / "x.safetensors") == tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="has no best.safetensors yet: give the folder of a run"):
        weights_at(tmp_path)
    (tmp_path / "best.safetensors").touch()
    assert weights_at(tmp_path) == tmp_path / "best.safetensors"
