"""The paper's cost tables of dense tasks beside what our models cost."""

from __future__ import annotations

from typing import Any

from mscsa.tools.model_info import describe_model
from mscsa.tools.paper_figures import TABLE_3, SegmenterPair
from mscsa.tools.paper_table import MACS_NOTE, PaperTable, Rows
from mscsa.tools.report import Table

SEGMENTATION_SIZE = (512, 512)
"""Image size of Table 3, (H, W) in pixels."""


def segmenter_table() -> PaperTable:
    """Table 3: segmenters of ADE20K's 150 classes without and with MSCSA."""
    rows: Rows = [_compare_segmenters(row) for row in TABLE_3]
    table = Table(
        title="Table 3: segmenters of 150 classes, 512x512 px, GMACs",
        columns=(
            *("head", "backbone", "paper", "ours", "diff."),
            *("+MSCSA, paper", "ours", "diff.", "MSCSA alone"),
        ),
        rows=[
            (
                row["head"],
                row["backbone"],
                f"{row['paper_gmacs'][0]:g}",
                f"{row['gmacs'][0]:.3f}",
                f"{row['difference_percent'][0]:+.1f} %",
                f"{row['paper_gmacs'][1]:g}",
                f"{row['gmacs'][1]:.3f}",
                f"{row['difference_percent'][1]:+.1f} %",
                f"{row['mscsa_gmacs']:.4f}",
            )
            for row in rows
        ],
        num_text_columns=2,
        notes=(
            MACS_NOTE,
            "Paper: Table 3, two digits: 25 stands for 24.5 to 25.5. MSCSA alone: closed form, its fusion "
            "included under Semantic FPN.",
            "TopFormer: the printed figures count more than convolutions and products; 1.8 stands for 1.75 "
            "to 1.85, 0.55 for 0.545 to 0.555. Under its head MSCSA takes the place of the extractor.",
        ),
    )
    return PaperTable(table=table, rows=rows)


def _compare_segmenters(row: SegmenterPair) -> dict[str, Any]:
    info = describe_model(row.backbone, size=SEGMENTATION_SIZE, head=row.head)
    ours = (info.baseline_macs / 1e9, info.macs / 1e9)
    return {
        "head": row.head,
        "backbone": row.printed,
        "model": info.name,
        "paper_gmacs": row.gmacs,
        "gmacs": ours,
        "difference_percent": [100 * (o / p - 1) for o, p in zip(ours, row.gmacs, strict=True)],
        "mscsa_gmacs": info.mscsa_macs.total / 1e9,
        "head_gmacs": info.head_macs / 1e9,
    }
