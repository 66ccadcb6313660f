"""A row of ours beside the paper's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.cost.paper_table import beside_cells, beside_row, percent
from mscsa.paper import PairRow


def test_a_row_has_both_figures_and_their_difference() -> None:
    printed = PairRow(printed="Net", backbone="net", gmacs=(2.0, 4.0))
    info: Any = SimpleNamespace(name="mscsa_net", baseline_macs=2_100_000_000, macs=3_000_000_000)
    row = beside_row(printed, info)
    assert (row["backbone"], row["model"]) == ("Net", "mscsa_net")
    assert (row["paper_gmacs"], row["gmacs"]) == ((2.0, 4.0), (2.1, 3.0))
    assert row["difference_percent"] == pytest.approx([5, -25])
    assert beside_cells(row, "{:.2f}") == ["2", "2.10", "+5.0 %", "4", "3.00", "-25.0 %"]


def test_percent_has_a_sign() -> None:
    assert [percent(value) for value in (0.04, -3.0)] == ["+0.0 %", "-3.0 %"]
