"""The paper's ablations of TopFormer-T+MSCSA: what each variant costs, beside the printed changes."""

from __future__ import annotations

from typing import Any

import torch

from mscsa.cost.classifier_tables import CLASSIFIER_SIZE
from mscsa.cost.model_info import count_mscsa
from mscsa.cost.model_pair import build_pair
from mscsa.cost.paper_table import MACS_NOTE, PaperTable, Rows
from mscsa.macs import count_macs
from mscsa.recipes.ablation import BACKBONE, VARIANTS, Variant
from mscsa.report import Table


def ablation_table(number: int) -> PaperTable:
    """Variants of TopFormer-T+MSCSA: Table 4 adds components, Table 5 changes the downsampling."""
    variants = [variant for variant in VARIANTS if variant.table == number]
    rows: Rows = [_count_variant(variant) for variant in variants]
    first = rows[0]
    for row in rows:
        row["increase_mmacs"] = row["mmacs"] - first["mmacs"]
        is_printed = row["paper_mmacs"] is not None
        row["paper_increase_mmacs"] = row["paper_mmacs"] - first["paper_mmacs"] if is_printed else None
    titles = {4: "components added one after the other", 5: "how the coarser key/value maps are made"}
    table = Table(
        title=f"Table {number}: TopFormer-T+MSCSA, {titles[number]}, 224x224 px, MMACs",
        columns=(
            *("variant", "head dim", "MLP ratio", "paper", "ours", "MSCSA alone"),
            *("change, paper", "change, ours", "top-1, paper"),
        ),
        rows=[
            (
                row["printed"],
                str(row["head_dim"]),
                f"{row['mlp_ratio']:g}",
                "unreadable" if row["paper_mmacs"] is None else f"{row['paper_mmacs']:g}",
                f"{row['mmacs']:.2f}",
                f"{row['mscsa_mmacs']:.2f}",
                "" if row["paper_increase_mmacs"] is None else f"{row['paper_increase_mmacs']:+g}",
                f"{row['increase_mmacs']:+.2f}",
                f"{row['top1']} %",
            )
            for row in rows
        ],
        notes=(
            MACS_NOTE,
            "The paper's totals count norms and more: compare the changes. Head widths and ratios of Table 4 "
            "are inferred from them; the rows are not toggles of one configuration (Sec. 4.3).",
            f"Recipes: ablation/{BACKBONE}.NAME, NAME one of {', '.join(v.row.name for v in variants)}.",
        ),
    )
    return PaperTable(table=table, rows=rows)


def _count_variant(variant: Variant) -> dict[str, Any]:
    with torch.device("meta"):
        model = build_pair(BACKBONE, fields=variant.fields).model
    config, macs = count_mscsa(model, CLASSIFIER_SIZE)
    return {
        "variant": variant.row.name,
        "printed": variant.row.printed,
        "head_dim": config.head_dim,
        "mlp_ratio": config.mlp_ratio,
        "paper_mmacs": variant.row.mmacs,
        "mmacs": count_macs(model, CLASSIFIER_SIZE) / 1e6,
        "mscsa_mmacs": macs.total / 1e6,
        "top1": variant.row.top1,
    }
