"""One of the paper's tables beside ours: for people, and as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mscsa.report import Table

MACS_NOTE = "1 MAC = 2 FLOPs; what the paper prints as FLOPs are MACs."

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One of the paper's tables beside ours."""

    table: Table
    rows: Rows
    """The same as plain values."""
