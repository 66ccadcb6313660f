"""Add-on files hold all but the backbone, and fit only the backbone that they were made on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import freeze
from torch import nn

import mscsa
from mscsa.checkpoints import load_addon, read_state_dict, save_addon, save_weights
from mscsa.checkpoints.checksum import hash_tensors
from mscsa.checkpoints.parts import is_counter
from mscsa.segmentation import build_segmenter
from tests.detection.small import small
from tests.refusals import one_line_error
from tests.small_models import PVT, RESNET

FIELDS = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}

FORMS: dict[str, Callable[[], nn.Module]] = {
    "classifier": lambda: RESNET.build(num_classes=3),
    "pyramid": lambda: RESNET.build(features_only=True),
    "segmenter": lambda: build_segmenter(
        "semantic_fpn", "resnet10t", 3, fields=FIELDS, fpn_channels=16, head_channels=16
    ),
    "injected": lambda: build_segmenter("topformer_head", "resnet10t", 3, fields=FIELDS),
    "topformer": lambda: build_segmenter("topformer_head", "mscsa_topformer_tiny", 3),
    "detector": lambda: small("retinanet", "mscsa_resnet10t"),
}


def randomised(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    model.load_state_dict(
        {key: torch.rand(value.shape, generator=generator).to(value.dtype) for key, value in state.items()}
    )
    return model


def backbone_of(model: nn.Module) -> dict[str, torch.Tensor]:
    prefixes = model.weight_parts()  # type: ignore[operator]
    others = tuple(prefix for part, prefix in prefixes.items() if part != "backbone")
    prefix = prefixes["backbone"]
    inner = tuple(other for other in others if other.startswith(prefix))
    return {k: v for k, v in model.state_dict().items() if k.startswith(prefix) and not k.startswith(inner)}


@pytest.mark.parametrize("form", FORMS)
def test_an_addon_makes_the_model_again_on_the_same_backbone(tmp_path: Path, form: str) -> None:
    model, path = randomised(FORMS[form](), 1), tmp_path / "addon.safetensors"
    save_addon(model, path)
    backbone = backbone_of(model)
    state = model.state_dict()
    assert load_file(path).keys() == state.keys() - backbone.keys()
    other = randomised(FORMS[form](), 2)
    one_line_error(
        lambda: load_addon(other, path), "not an add-on for this model: the backbone's weights are others"
    )
    other.load_state_dict(backbone, strict=False)
    report = load_addon(other, path)
    assert set(report.matched) == state.keys() - backbone.keys() and not report.missing
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


@pytest.fixture(scope="module")
def addon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("addon") / "addon.safetensors"
    save_addon(RESNET.build(num_classes=3), path)
    return path


def test_it_says_what_it_belongs_to(addon: Path) -> None:
    values = {
        key: json.loads(text) for key, text in read_state_dict(addon).metadata.items() if key != "format"
    }
    assert values["kind"] == "mscsa add-on" and values["backbone"] == "resnet10t"
    assert values["config"]["num_heads"] == 2 and len(values["backbone_sha256"]) == 64
    assert values["form"] == "MSCSAModel of head, mscsa, norm" and values["version"] and values["tag"] != ""


def start(model: nn.Module) -> None:
    """Give the backbone the weights that the add-on was made on."""
    source = RESNET.build(num_classes=3).state_dict()
    model.load_state_dict({k: v for k, v in source.items() if k.startswith("backbone.")}, strict=False)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PVT.build(num_classes=3), "its backbone is resnet10t, the model's is pvt_v2_b0"),
        (
            lambda: RESNET.build(features_only=True),
            "it is a MSCSAModel of head, mscsa, norm, the model a .*fusion",
        ),
        (lambda: RESNET.build(num_classes=3, num_heads=4), "num_heads is 2 there and 4 in the model"),
        (lambda: RESNET.build(num_classes=3, pool_stride=16), "pool_stride is 32 there and 16 in the model"),
        (lambda: RESNET.build(num_classes=5), r"head.weight \(3, \d+\) instead of \(5, \d+\)"),
    ],
)
def test_another_model_is_refused_and_unchanged(
    addon: Path, build: Callable[[], nn.Module], message: str
) -> None:
    model = build()
    start(
        model
    ) if "resnet" in message or "RESNET" in message or "there" in message or "head" in message else None
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one_line_error(lambda: load_addon(model, addon), message)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_only_training_depends_on_may_differ(addon: Path) -> None:
    model = RESNET.build(num_classes=3, drop_path_rate=0.2)
    start(model)
    assert load_addon(model, addon).matched


@pytest.mark.parametrize("key", ["backbone.conv1.0.weight", "backbone.bn1.running_var"])
def test_one_changed_value_of_the_backbone_is_found(addon: Path, key: str) -> None:
    model = RESNET.build(num_classes=3)
    state = model.state_dict()
    value = state[key].view(-1)[0].clone()
    state[key].view(-1)[0] += 1
    message = one_line_error(lambda: load_addon(model, addon), "SHA-256 .* there, .* in the model")
    state[key].view(-1)[0] = value
    assert "load the weights that it was trained on" in message and load_addon(model, addon).matched


@pytest.mark.parametrize("frozen", [["backbone"], ["backbone", "mscsa", "norm"]])
def test_an_addon_of_frozen_norms_fits_norms_that_are_not(
    tmp_path: Path, addon: Path, frozen: list[str]
) -> None:
    """Frozen norms have no counters; in both directions."""
    model, path = RESNET.build(num_classes=3), tmp_path / "frozen.safetensors"
    state = {key: value.clone() for key, value in model.state_dict().items()}
    freeze(model, frozen)
    save_addon(model, path)
    assert not any(key.startswith("backbone.") and is_counter(key) for key in model.state_dict())
    report = load_addon(model, addon)  # written on norms with counters
    assert not report.missing and set(report.matched) == {
        key for key in model.state_dict() if not key.startswith("backbone.")
    }
    other = RESNET.build(num_classes=3)
    nn.init.ones_(other.norm.weight), nn.init.ones_(other.head.weight)
    state["backbone.bn1.num_batches_tracked"] += 7
    other.load_state_dict({key: value for key, value in state.items() if "backbone" in key}, strict=False)
    load_addon(other, path)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


def test_addons_of_before_counters_were_left_out_are_accepted(tmp_path: Path, addon: Path) -> None:
    model = RESNET.build(num_classes=3)
    backbone = {key.removeprefix("backbone."): value for key, value in backbone_of(model).items()}
    older = hash_tensors(sorted(backbone.items()), lambda name, x: f"{name} {x.dtype} {tuple(x.shape)}\n")
    state, metadata = read_state_dict(addon)
    assert json.loads(metadata["backbone_sha256"]) != older
    save_weights(state, tmp_path / "old.safetensors", {**metadata, "backbone_sha256": json.dumps(older)})
    assert load_addon(model, tmp_path / "old.safetensors").matched
    model.backbone.bn1.num_batches_tracked += 1
    one_line_error(lambda: load_addon(model, tmp_path / "old.safetensors"), "weights are others")


def test_what_is_no_addon_is_refused(tmp_path: Path, addon: Path) -> None:
    model = RESNET.build(num_classes=3)
    save_weights(model, tmp_path / "whole.safetensors")
    one_line_error(
        lambda: load_addon(model, tmp_path / "whole.safetensors"), "is not an add-on file: .*load_weights"
    )
    state, metadata = read_state_dict(addon)
    save_weights(
        {k: v for k, v in state.items() if k != "norm.weight"}, tmp_path / "cut.safetensors", metadata
    )
    one_line_error(
        lambda: load_addon(model, tmp_path / "cut.safetensors"), r"norm: 1 missing \(norm.weight\)"
    )


def test_a_model_without_mscsa_or_without_data_is_refused(tmp_path: Path) -> None:
    plain = small("retinanet", "resnet10t")
    one_line_error(lambda: save_addon(plain, tmp_path / "a.safetensors"), "has no MSCSA")
    with torch.device("meta"):
        model = RESNET.build(num_classes=3)
    one_line_error(lambda: save_addon(model, tmp_path / "a.safetensors"), "meta device")


def test_a_backbone_that_is_no_registered_model_goes_by_its_class(tmp_path: Path) -> None:
    model = RESNET.build(num_classes=3)
    del model.backbone.pretrained_cfg
    save_addon(model, tmp_path / "a.safetensors")
    assert read_state_dict(tmp_path / "a.safetensors").metadata["backbone"] == '"ResNet"'
    assert load_addon(model, tmp_path / "a.safetensors").matched


def test_a_compiled_backbone_is_the_same_backbone(tmp_path: Path) -> None:
    fields = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}
    model = mscsa.create_model("test_resnet", num_classes=3, **fields)
    plain = copy.deepcopy(model)
    model.backbone = torch.compile(model.backbone)
    mscsa.save_addon(model, tmp_path / "a.safetensors")
    assert not mscsa.load_addon(plain, tmp_path / "a.safetensors").missing
