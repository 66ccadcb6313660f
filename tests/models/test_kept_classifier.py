"""MSCSA beside a classifier that stays (`keep_classifier`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

import mscsa
from mscsa.backbones.timm_pyramid import build_backbone
from mscsa.errors import UserError
from tests.refusals import one_line_error
from tests.small_models import CASES, RESNET, Case, every_case

FIELDS: dict[str, Any] = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}


def build(case: Case = RESNET, **kwargs: Any) -> Any:
    return case.build(keep_classifier=True, **kwargs)


@every_case
def test_the_start_is_the_backbones_own_classifier(case: Case) -> None:
    plain = build_backbone(case.name, num_classes=5, **case.backbone_kwargs).eval()
    expected = plain(case.image())
    model = mscsa.add_to(plain, keep_classifier=True, num_heads=2, head_dim=8, squeeze_ratio=0.25)
    assert torch.equal(model(case.image()), expected)


def test_shipped_weights_classify_as_before() -> None:
    name = "tf_efficientnet_lite0"
    plain = build_backbone(name, pretrained=True).eval()
    model = mscsa.create_model(name, pretrained=True, keep_classifier=True, budget=0.1).eval()
    assert model.num_classes == 1000
    assert torch.equal(model(RESNET.image()), plain(RESNET.image()))


@every_case
def test_logits_are_those_of_both_classifiers(case: Case) -> None:
    model = build(case, num_classes=7).eval()
    torch.nn.init.normal_(model.head.weight)
    own, tokens = model.forward_features(case.image())
    assert tokens.shape[1] == model.num_features
    ours = model.head(tokens.mean((2, 3)))
    expected = model.backbone.forward_head(own) + ours
    assert ours.abs().max() > 0.1
    torch.testing.assert_close(model(case.image()), expected)
    torch.testing.assert_close(own, model.backbone.forward_features(case.image()))


def test_mscsa_learns_from_the_second_step_on() -> None:
    model = build(num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.tensor([0, 1])
    for is_first in (True, False):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(RESNET.image()), target).backward()
        assert model.head.weight.grad.abs().max() > 0
        weight = model.mscsa.blocks[0].csa1.qkv.weight
        assert bool(weight.grad.any()) is not is_first
        optimizer.step()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_features_of_both_and_new_classes(case: Case) -> None:
    model = build(case, num_classes=0).eval()
    features = model(case.image())
    assert features.shape == (2, model.head_hidden_size)
    plain = model.backbone.forward_head(model.backbone.forward_features(case.image()), pre_logits=True)
    torch.testing.assert_close(features[:, : plain.shape[1]], plain)
    model.reset_classifier(4)
    assert model.num_classes == model.backbone.num_classes == 4
    assert not model.head.weight.any()
    logits = model(case.image())
    assert logits.shape == (2, 4)
    assert torch.equal(model.forward_head(model.forward_features(case.image())), logits)
    pooled = model.forward_head(model.forward_features(case.image()), pre_logits=True)
    torch.testing.assert_close(pooled, features)


def test_intermediates() -> None:
    model = build().eval()
    (own, tokens), maps = model.forward_intermediates(RESNET.image(), indices=2)
    expected_own, expected_tokens = model.forward_features(RESNET.image())
    assert torch.equal(own, expected_own) and torch.equal(tokens, expected_tokens)
    alone = model.forward_intermediates(RESNET.image(), indices=2, intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(maps, alone, strict=True)) and len(maps) == 2


def test_weights_of_the_plain_model_fill_its_classifier() -> None:
    plain = timm.create_model("resnet10t", num_classes=5)
    model = build(num_classes=5)
    report = mscsa.load_weights(model, plain.state_dict())
    assert report.filled == {"backbone": 84, "head": 2}
    assert torch.equal(model.backbone.fc.weight, plain.fc.weight)
    assert not model.head.weight.any()


@pytest.mark.parametrize("pool", ["avg", "max", "catavgmax"])
def test_it_pools_as_it_did_after_a_way_over_the_hub(pool: str, tmp_path: Path) -> None:
    backbone = timm.create_model("test_efficientnet", num_classes=3, global_pool=pool)
    model = mscsa.add_to(backbone, keep_classifier=True, **FIELDS).eval()
    save_for_hf(model, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(images), again(images))


def test_features_that_are_not_pooled_are_refused() -> None:
    pruned = timm.create_model("resnet10t", num_classes=4)
    mscsa.add_to(pruned, **FIELDS)
    for backbone in (timm.create_model("resnet10t", num_classes=0, global_pool=""), pruned):
        message = "keep_classifier=True given: this ResNet does not pool its features"
        add = partial(mscsa.add_to, backbone, keep_classifier=True, num_classes=5, **FIELDS)
        one_line_error(add, message)


def test_rates_of_the_backbone_are_its_own() -> None:
    model = mscsa.create_model("tf_efficientnet_lite0", keep_classifier=True, drop_rate=0.3, budget=0.1)
    assert model.backbone.drop_rate == 0.3 == model.head_drop.p


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build(features_only=True), "a pyramid has no classifier"),
        (lambda: build().reset_classifier(3, ""), "pools as it does"),
        (lambda: build().prune_intermediate_layers(1), "is not pruned"),
        (lambda: mscsa.create_model("resnet10t", backbone_kwargs={"keep_classifier": True}), "itself"),
    ],
)
def test_what_it_is_not_for_is_one_line(call: Any, message: str) -> None:
    with pytest.raises((UserError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
