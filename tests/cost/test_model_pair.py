"""Pairs of models that differ in MSCSA alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from mscsa.attention import MSCSA
from mscsa.cost.model_pair import ModelPair, build_pair
from mscsa.errors import UserError
from mscsa.models.neck import NeckPyramid
from mscsa.models.pyramid import BackbonePyramid

SMALL: dict[str, Any] = {"budget": 0.5, "size": (64, 64), "fields": {"pool_stride": 8}}


def pair_of(name: str, **options: Any) -> ModelPair:
    with torch.device("meta"):
        return build_pair(name, **options)


def test_arms_differ_in_mscsa_alone() -> None:
    pair = build_pair("resnet18", dense=True)
    shared = {key.removeprefix("backbone.") for key in pair.model.state_dict() if key.startswith("backbone.")}
    assert shared == {key.removeprefix("backbone.") for key in pair.baseline.state_dict()}


@pytest.mark.parametrize("form", [{}, {"dense": True}, {"head": "semantic_fpn"}, {"head": "retinanet"}])
def test_a_name_with_a_tag_is_built_in_every_form(form: dict[str, Any]) -> None:
    pair = pair_of("mscsa_convnext_tiny.in12k_ft_in1k", **form)
    assert pair.baseline_name == "convnext_tiny.in12k_ft_in1k"
    assert pair.name == "mscsa_convnext_tiny.in12k_ft_in1k"
    assert (pair.is_dense, pair.head) == (bool(form), form.get("head"))
    # Table 7's configuration, as without the tag.
    (attention,) = (module for module in pair.model.modules() if isinstance(module, MSCSA))
    assert (attention.config.num_heads, attention.config.head_dim) == (12, 28)
    assert not any(isinstance(module, MSCSA) for module in pair.baseline.modules())


@pytest.mark.parametrize("name", ["coat_tiny", "mscsa_coat_tiny"])
def test_where_mscsa_replaces_a_part_the_baseline_has_it(name: str) -> None:
    pair = pair_of(name)
    assert (pair.baseline_name, pair.name) == ("coat_tiny", "mscsa_coat_tiny")
    has_part = [hasattr(backbone, "parallel_blocks") for backbone in (pair.baseline, pair.model.backbone)]
    assert has_part == [True, False]


@pytest.mark.parametrize("form", [{}, {"dense": True}, {"head": "semantic_fpn"}])
def test_both_arms_have_the_backbones_own_drop_path(form: dict[str, Any]) -> None:
    """Swin's default is 0.1, of which a comparison must not take one arm."""
    pair = pair_of("swin_tiny_patch4_window7_224", **form)
    assert drop_path(pair.baseline) == drop_path(pair.model) == pytest.approx(0.1)


def drop_path(model: nn.Module) -> float:
    return max(float(each.drop_prob or 0) for each in model.modules() if isinstance(each, DropPath))


def test_a_budget_and_fields_go_to_mscsa_alone() -> None:
    pair = pair_of("test_resnet", **SMALL)
    (attention,) = (module for module in pair.model.modules() if isinstance(module, MSCSA))
    assert attention.config.pool_stride == 8
    assert [arm.num_classes for arm in (pair.baseline, pair.model)] == [1000, 1000]


def test_unknown_head() -> None:
    with pytest.raises(UserError, match="no head is called 'yolo': give one of semantic_fpn, .*, mask_rcnn"):
        build_pair("resnet10t", head="yolo")


def test_a_head_has_the_pyramid_form_already() -> None:
    with pytest.raises(UserError, match="both dense and head given"):
        build_pair("resnet10t", head="semantic_fpn", dense=True)


def test_unknown_model() -> None:
    with pytest.raises(UserError, match="no model is called 'resnet10z': did you mean"):
        build_pair("mscsa_resnet10z")


def test_another_neck_has_a_pyramid_form_alone() -> None:
    pair = pair_of("mscsa_resnet10t", neck="fpn", neck_config={"channels": 8})
    assert (pair.name, pair.baseline_name) == ("resnet10t + FPN", "resnet10t")
    assert pair.is_dense and pair.head is None
    assert isinstance(pair.model, NeckPyramid) and isinstance(pair.baseline, BackbonePyramid)
    assert pair_of("resnet10t", neck="mscsa", dense=True).name == "mscsa_resnet10t"
    remedy = r"a model has one neck; .* by neck_config \(--neck-config\), or leave MSCSA's out$"
    with pytest.raises(UserError, match=rf"^the neck fpn given with MSCSA's fields \(--mscsa\): {remedy}"):
        pair_of("resnet10t", neck="fpn", fields={"depth": 2})
    with pytest.raises(UserError, match=r"^neck_config \(--neck-config\) given without another neck: name"):
        pair_of("resnet10t", neck="mscsa", neck_config={"depth": 2})
