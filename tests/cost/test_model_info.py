"""What a model is made of: the parts add up to the whole, and to the figures worked out by hand."""

from __future__ import annotations

import json

import pytest
import torch

from mscsa.cost.model_info import cost_tables, count_model, describe_model, info_json, info_tables
from mscsa.cost.model_pair import build_pair, parse_size
from mscsa.errors import UserError
from mscsa.macs import count_parameters
from mscsa.report import plain_text


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


def test_tables_show_units_and_the_true_percentage() -> None:
    info = describe_model("pvt_v2_b1")
    text = "".join(plain_text(table) for table in info_tables(info))
    assert "+10.4 %" in text
    assert "1 MAC = 2 FLOPs" in text
    assert "parameters (M)" in text and "GMACs" in text and "GFLOPs" in text
    assert [table.title for table in cost_tables(info)] == [table.title for table in info_tables(info)][2:]


@pytest.mark.parametrize("dense", [False, True])
def test_parts_in_the_table_add_up_to_the_whole(dense: bool) -> None:
    table = cost_tables(describe_model("resnet18", dense=dense))[0]
    *parts, whole = table.rows
    assert whole[0] == "whole model"
    for column in (1, 2):
        figures = [float(row[column]) for row in parts if row[column] != "-"]
        assert sum(figures) == pytest.approx(float(whole[column]), abs=0.0006 * len(parts))
    assert any(row[0] == "classifier" for row in parts) is not dense
    assert any("fusion" in row[0] for row in parts) is dense


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


def test_unknown_head() -> None:
    with pytest.raises(UserError, match="no head is called 'yolo': give one of semantic_fpn, .*, mask_rcnn"):
        build_pair("resnet10t", head="yolo")


def test_json_holds_plain_values() -> None:
    content = json.loads(json.dumps(info_json(describe_model("resnet18"))))
    assert content["mscsa_macs"]["total"] == sum(
        value for name, value in content["mscsa_macs"].items() if name != "total"
    )
    assert content["config"]["head_dim"] == 24


def test_arms_differ_in_mscsa_alone() -> None:
    pair = build_pair("resnet18", dense=True)
    shared = {key.removeprefix("backbone.") for key in pair.model.state_dict() if key.startswith("backbone.")}
    assert shared == {key.removeprefix("backbone.") for key in pair.baseline.state_dict()}


def test_sizes() -> None:
    assert parse_size("224") == (224, 224)
    assert parse_size("800x1280") == (800, 1280)
    for text in ("", "0", "axb", "1x2x3", "-5"):
        with pytest.raises(UserError, match="is not a size"):
            parse_size(text)
