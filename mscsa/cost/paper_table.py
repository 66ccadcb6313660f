"""One of the paper's tables beside ours: for people, and as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mscsa.cost.model_info import ModelInfo
from mscsa.paper import PairRow
from mscsa.report import Table

MACS_NOTE = "1 MAC = 2 FLOPs; what the paper prints as FLOPs are MACs."

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One of the paper's tables beside ours."""

    table: Table
    rows: Rows
    """The same as plain values."""


def beside_row(row: PairRow, info: ModelInfo) -> dict[str, Any]:
    """Set our GMACs of a backbone without and with MSCSA beside the printed ones, as plain values."""
    ours = (info.baseline_macs / 1e9, info.macs / 1e9)
    return {
        "backbone": row.printed,
        "model": info.name,
        "paper_gmacs": row.gmacs,
        "gmacs": ours,
        "difference_percent": [100 * (o / p - 1) for o, p in zip(ours, row.gmacs, strict=True)],
    }


def beside_cells(row: dict[str, Any], figure: str) -> list[str]:
    """Lay out a `beside_row`: paper, ours and the difference, without and with MSCSA.

    Args:
        row: What `beside_row` gave.
        figure: How ours are formatted, such as "{:.1f}".
    """
    cells = []
    for paper, ours, difference in zip(
        row["paper_gmacs"], row["gmacs"], row["difference_percent"], strict=True
    ):
        cells += [f"{paper:g}", figure.format(ours), percent(difference)]
    return cells


def percent(value: float) -> str:
    """Format a difference in %, as "+10.4 %"."""
    return f"{value:+.1f} %"
