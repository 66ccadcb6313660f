"""The parts of a model are found in a file, wherever they are."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from mscsa.checkpoints.parts import HasParts, flattened, foreign_keys, locate, longest, parts_of, unwrapped
from mscsa.heads import HEADS
from mscsa.models.build import build_pyramid
from mscsa.segmentation import build_segmenter
from tests.detection.small import small
from tests.small_models import RESNET

DETECTORS = [name for name, head in HEADS.items() if head.task != "segmentation"]
SEGMENTERS = [name for name, head in HEADS.items() if head.task == "segmentation"]


def models() -> dict[str, nn.Module]:
    built: dict[str, nn.Module] = {
        "classifier": RESNET.build(num_classes=3),
        "pyramid": RESNET.build(features_only=True),
        "plain pyramid": build_pyramid("resnet10t"),
    }
    built |= {name: small(name, "mscsa_resnet10t") for name in DETECTORS}
    for name in SEGMENTERS:
        for backbone in ("resnet10t", "mscsa_resnet10t", "topformer_tiny", "mscsa_topformer_tiny"):
            built[f"{name} {backbone}"] = build_segmenter(name, backbone, 3)
    return built


def test_every_key_has_a_part_and_the_backbone_is_a_module() -> None:
    for name, model in models().items():
        assert isinstance(model, HasParts), name
        parts = parts_of(model)
        assert set(parts.part_of) == set(model.state_dict()), name
        assert set(parts.prefixes) == set(parts.part_of.values()), name
        assert all(longest(parts.prefixes, key) is not None for key in parts.own), name
        assert model.get_submodule(parts.prefixes["backbone"].rstrip(".")) is not None


def test_of_a_model_that_names_no_parts_the_classifier_is_the_head() -> None:
    parts = parts_of(timm.create_model("topformer_tiny"))
    assert parts.keys("head") == [key for key in parts.own if key.startswith("head.")]
    assert {"head.bn.running_mean", "head.l.weight"} <= parts.classifier  # buffers too
    assert set(parts.part_of.values()) == {"backbone", "head"}


def test_shared_parameters_are_known() -> None:
    first = nn.Linear(2, 2)
    tied = parts_of(nn.Sequential(first, nn.ReLU(), first)).tied
    assert tied["0.weight"] == {"0.weight", "2.weight"} and "1" not in tied


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "encoder.model.", "student.backbone."])
def test_a_backbone_is_found_behind_any_prefix(prefix: str) -> None:
    parts = parts_of(RESNET.build())
    state = {prefix + key: value for key, value in timm.create_model("resnet10t").state_dict().items()}
    assert locate(parts, state) == {"backbone": prefix}


def test_of_two_equal_models_in_a_file_the_averaged_one_is_taken() -> None:
    parts, state = parts_of(RESNET.build()), timm.create_model("resnet10t").state_dict()
    for raw, averaged in (("model.", "model_ema.module."), ("student.", "teacher."), ("a.", "ema_model.")):
        both = {raw + key: value for key, value in state.items()}
        both |= {averaged + key: value for key, value in state.items()}
        assert locate(parts, both) == {"backbone": averaged}


def test_parts_lie_beside_each_other() -> None:
    detector, pyramid = small("mask_rcnn", "mscsa_resnet10t"), build_pyramid("mscsa_resnet10t")
    found = locate(parts_of(detector), {f"x.{key}": value for key, value in pyramid.state_dict().items()})
    assert found == {"backbone": "x.backbone.", "mscsa": "x.mscsa.", "fusion": "x.fusion."}
    found = locate(parts_of(pyramid), detector.state_dict())
    assert found == {part: f"net.backbone.body.{part}." for part in ("backbone", "mscsa", "fusion")}


def test_a_head_is_no_ones_but_the_same_models() -> None:
    """A plain classifier's `head` must not become that of MSCSA, which reads other features."""
    model = RESNET.build(num_classes=3)
    plain = {key.removeprefix("backbone."): value for key, value in model.state_dict().items()}
    plain = {key: value for key, value in plain.items() if not key.startswith("mscsa.")}
    assert "head.weight" in plain and "norm.weight" in plain
    assert locate(parts_of(model), plain) == {"backbone": ""}


NAMES = [
    "stem.weight",
    "layer1.0.conv.weight",
    "layer1.1.conv.weight",
    "layer2.0.conv.weight",
    "layer2.1.a.weight",
]


@pytest.mark.parametrize(
    ("key", "is_foreign"),
    [
        ("fc.weight", False),
        ("norm.weight", False),
        ("layer3.0.conv.weight", False),  # a stage after the last
        ("layer1.2.conv.weight", True),  # a deeper stage
        ("layer1.0.se.weight", True),  # more in a block
        ("stem.bias", True),
        ("layer1.0.attn_mask", False),
    ],
)
def test_what_shows_another_architecture(key: str, is_foreign: bool) -> None:
    assert foreign_keys(NAMES, {key: torch.zeros(1)}) == ([key] if is_foreign else [])
    indices: dict[str, Tensor] = {"layer1.0.index": torch.zeros(1, dtype=torch.int64)}
    assert not foreign_keys(NAMES, indices)


def test_flattened_names_are_those_of_timm() -> None:
    model = timm.create_model("test_convnext")
    names = {flattened(key) for key in model.state_dict()}
    pyramid = timm.create_model("test_convnext", features_only=True).state_dict()
    assert any(key.startswith("stages_0.") for key in pyramid) and pyramid.keys() <= names


def test_models_within_what_training_wraps_them_in() -> None:
    model = RESNET.build()
    assert unwrapped(torch.compile(nn.DataParallel(model))) is model
    assert unwrapped(nn.DataParallel(torch.compile(model))) is model  # type: ignore[arg-type]
