"""The paper's tables, typed in from the paper a second time: what `mscsa.paper` is held to."""

from __future__ import annotations

import csv
from pathlib import Path

OUR_NAMES = {
    "topformer_t": "topformer_tiny",
    "topformer_b": "topformer_base",
    "shunted_t": "shunted_tiny",
    "swin_t": "swin_tiny_patch4_window7_224",
    "convnext_t": "convnext_tiny",
}
"""The tables' short names of backbones -> timm's, where they differ."""


def lines_of(number: int) -> list[dict[str, str]]:
    """Read one table; backbones have timm's names."""
    (path,) = Path(__file__).parent.glob(f"table{number}_*.csv")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    for row in rows:
        for column in row.keys() & {"backbone", "model"}:
            row[column] = OUR_NAMES.get(row[column], row[column])
    return rows
