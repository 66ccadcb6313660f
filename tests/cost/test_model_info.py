"""What a model is made of: the parts add up to the whole, and to the figures worked out by hand."""

from __future__ import annotations

import pytest
import torch

from mscsa.cost.info_tables import cost_tables
from mscsa.cost.model_info import count_model, describe_model
from mscsa.cost.model_pair import build_pair
from mscsa.macs import count_parameters
from mscsa.neck_table import NECKS, OTHER_NECKS


def test_parts_of_pvt_v2_b1() -> None:
    info = describe_model("mscsa_pvt_v2_b1")
    assert [(s.stride, s.channels, s.size, s.token_channels) for s in info.stages] == [
        (4, 64, (56, 56), 40),
        (8, 128, (28, 28), 80),
        (16, 320, (14, 14), 200),
        (32, 512, (7, 7), 320),
    ]
    assert info.token_size == (7, 7)
    assert info.macs - info.baseline_macs == pytest.approx(0.218e9, rel=0.02)
    assert info.mscsa_macs.total == pytest.approx(0.218e9, rel=0.01)
    assert info.head_macs == 640 * 1000
    assert info.head_parameters == 640 * 1000 + 1000 + 2 * 640


def test_measured_and_closed_form_agree() -> None:
    """The backbone that is left when MSCSA is taken away costs what the backbone costs without its head."""
    info = describe_model("mscsa_resnet18")
    rest = info.macs - info.mscsa_macs.total - info.head_macs
    assert rest == info.baseline_macs - 512 * 1000
    rest_parameters = info.parameters - sum(info.mscsa_parameters.values()) - info.head_parameters
    assert rest_parameters == info.baseline_parameters - 512 * 1000 - 1000


def test_pyramid_form_adds_the_fusion_alone() -> None:
    info = describe_model("swin_tiny_patch4_window7_224", dense=True, size=(800, 1280))
    assert info.head_macs == 0
    assert info.macs - info.baseline_macs == info.mscsa_macs.total
    assert info.mscsa_macs.total == pytest.approx(16.24e9, rel=0.001)
    assert info.parameters - info.baseline_parameters == sum(info.mscsa_parameters.values())
    assert all(stage.is_fused for stage in info.stages)


def test_budget_and_fields_choose_the_configuration() -> None:
    info = describe_model("resnet10t", budget=0.25, size=(64, 64), fields={"pool_stride": 8})
    assert info.config.pool_stride == 8
    assert info.token_size == (8, 8)
    assert 0.225 <= info.mscsa_macs.total / info.baseline_macs <= 0.25


def test_name_with_and_without_prefix_is_the_same_pair() -> None:
    assert describe_model("mscsa_resnet18") == describe_model("resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mask_rcnn", "cascade_mask_rcnn", "retinanet", "deformable_detr"])
def test_parts_of_a_detector(head: str) -> None:
    info = describe_model("resnet10t", head=head, size=(100, 150))
    starts_at_4 = "mask_rcnn" in head
    assert [stage.is_fused for stage in info.stages] == [starts_at_4, True, True, True]
    assert [stage.size for stage in info.stages] == [(32, 40), (16, 20), (8, 10), (4, 5)]  # of 128x160 px
    assert info.macs - info.mscsa_macs.total == info.baseline_macs
    assert info.parameters - sum(info.mscsa_parameters.values()) == info.baseline_parameters
    with torch.device("meta"):
        backbone = build_pair("resnet10t", dense=True).baseline
    # All that is neither MSCSA nor FPN and heads.
    assert info.baseline_macs - info.head_macs == count_model(backbone, (128, 160))
    assert info.baseline_parameters - info.head_parameters == count_parameters(backbone)
    table = cost_tables(info)[0]
    assert sum(float(row[2]) for row in table.rows[:-1]) == pytest.approx(float(table.rows[-1][2]), abs=0.001)
    assert f"under {head}" in table.title
    assert bool(table.notes) is starts_at_4
    assert any(row[0].startswith(head) for row in table.rows)


def test_parts_of_a_segmenter_at_an_odd_size() -> None:
    info = describe_model("resnet10t", head="semantic_fpn", size=(100, 150))
    assert info.baseline_macs - info.head_macs == count_model(
        build_pair("resnet10t", dense=True).baseline, (128, 160)
    )


@pytest.mark.parametrize("neck", OTHER_NECKS)
def test_parts_of_another_neck(neck: str) -> None:
    """What is left when neck and head are taken away is the bare backbone."""
    info = describe_model(
        "resnet10t", neck=neck, neck_config={"channels": 24}, head="retinanet", size=(100, 150)
    )
    assert (info.neck, info.name) == (neck, f"resnet10t + {NECKS[neck].title}")
    assert [stage.is_fused for stage in info.stages] == [False, True, True, True]
    assert [stage.size for stage in info.stages] == [(32, 40), (16, 20), (8, 10), (4, 5)]  # of 128x160 px
    assert (info.token_size, info.mscsa_macs.total, info.mscsa_parameters) == (None, 0, {})
    with torch.device("meta"):
        backbone = build_pair("resnet10t", dense=True).baseline
    assert info.macs - info.neck_macs - info.head_macs == count_model(backbone, (128, 160))
    assert info.parameters - info.neck_parameters - info.head_parameters == count_parameters(backbone)
    rows = [row[0] for row in cost_tables(info)[0].rows]
    assert rows == ["backbone", f"neck: {NECKS[neck].title}", "retinanet", "whole model"]
