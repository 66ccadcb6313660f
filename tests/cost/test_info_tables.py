"""What a model costs, laid out."""

from __future__ import annotations

import json

import pytest

from mscsa.cost.info_tables import cost_tables, info_json, info_tables
from mscsa.cost.model_info import describe_model
from mscsa.report import plain_text


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


def test_json_holds_plain_values() -> None:
    content = json.loads(json.dumps(info_json(describe_model("resnet18"))))
    assert content["mscsa_macs"]["total"] == sum(
        value for name, value in content["mscsa_macs"].items() if name != "total"
    )
    assert content["config"]["head_dim"] == 24
