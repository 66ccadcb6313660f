"""Weights of equal shapes and another configuration are another model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mscsa
from mscsa.checkpoints.configurations import ENTRY, configurations, other_fields, with_configurations
from mscsa.models.build import build_pyramid
from tests.refusals import one_line_error

FIELDS: dict[str, Any] = {"num_heads": 4, "head_dim": 8, "squeeze_ratio": 0.25}


def classifier(**fields: Any) -> torch.nn.Module:
    return mscsa.create_model("mscsa_test_resnet", num_classes=3, **{**FIELDS, **fields})


def test_only_parts_with_a_configuration_say_one() -> None:
    said = configurations(classifier())
    assert said.keys() == {"mscsa"}
    assert said["mscsa"].items() >= {"kind": "MSCSAConfig", "num_heads": 4, "head_dim": 8}.items()
    assert configurations(torch.nn.Linear(3, 2)) == configurations(build_pyramid("test_resnet")) == {}
    assert with_configurations(torch.nn.Linear(3, 2), {"a": "b"}) == {"a": "b"}
    assert json.loads(with_configurations(classifier(), {"a": "b"})[ENTRY]) == said


@pytest.mark.parametrize("policy", ["exact", "new_head", "backbone"])
def test_equal_shapes_of_another_configuration_are_refused(tmp_path: Path, policy: Any) -> None:
    path = tmp_path / "w.safetensors"
    mscsa.save_weights(classifier(), path)
    other = classifier(num_heads=8, head_dim=4, downsampling="cascaded_dwconv")
    before = {key: value.clone() for key, value in other.state_dict().items()}
    text = (
        "mscsa: num_heads is 4 in the file, 8 in the model; mscsa: head_dim is 8 in the file, 4 in the model"
    )
    one_line_error(lambda: mscsa.load_weights(other, path, policy=policy), text)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in before.items())
    # At another size, in training; and what says the same widths.
    same = classifier(pool_stride=16, init="fan_in", drop_path_rate=0.1, mlp_ratio=2.0001)
    assert not mscsa.load_weights(same, path, policy=policy).missing


def test_what_the_gate_is_matters_where_a_fusion_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    other = build_pyramid("mscsa_test_resnet", fields={**FIELDS, "gate_scale": 1.0})
    mscsa.save_weights(classifier(), path)
    assert not other_fields(other, with_configurations(classifier(), {}), {"backbone", "mscsa"})
    mscsa.load_weights(other, path)
    described = {"features_only": True, "pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    assert mscsa.create_model("mscsa_test_resnet", **FIELDS, gate_scale=1.0, **described).is_pyramid
    mscsa.save_weights(build_pyramid("mscsa_test_resnet", fields=FIELDS), path)
    text = "mscsa: gate_scale is 2.0 in the file, 1.0 in"
    one_line_error(lambda: mscsa.load_weights(other, path), text)
    one_line_error(
        lambda: mscsa.create_model("mscsa_test_resnet", **FIELDS, gate_scale=1.0, **described), text
    )


def test_other_necks_say_theirs(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    small = {"channels": 16, "depth": 1, "num_heads": 2, "head_dim": 8}
    mscsa.save_weights(build_pyramid("test_resnet", neck="topformer", neck_config=small), path)
    other = build_pyramid(
        "test_resnet", neck="topformer", neck_config={**small, "num_heads": 4, "head_dim": 4}
    )
    one_line_error(
        lambda: mscsa.load_weights(other, path), "neck: num_heads is 2 in the file, 4 in the model"
    )


def test_files_that_do_not_say_and_parts_that_are_not_filled_pass(tmp_path: Path) -> None:
    model, other = classifier(), classifier(num_heads=8, head_dim=4)
    assert other_fields(other, with_configurations(model, {}), {"backbone"}) == []
    for said in ("no JSON", "[1]", '{"mscsa": 1}', '{"neck": {}}'):
        assert other_fields(other, {ENTRY: said}, {"mscsa"}) == []
    assert other_fields(other, {}, {"mscsa"}) == []
    mscsa.save_weights(model.state_dict(), tmp_path / "w.safetensors")
    assert not mscsa.load_weights(other, tmp_path / "w.safetensors").missing


def test_weights_that_a_description_names_are_asked_too(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    mscsa.save_weights(classifier(), path)
    given = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}, "num_classes": 3}
    one_line_error(
        lambda: mscsa.create_model("mscsa_test_resnet", **{**FIELDS, "num_heads": 8, "head_dim": 4}, **given),
        "mscsa: num_heads is 4 in the file, 8 in the model",
    )
    assert mscsa.create_model("mscsa_test_resnet", **FIELDS, **given).mscsa.config.num_heads == 4
