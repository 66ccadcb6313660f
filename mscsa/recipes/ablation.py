"""The paper's ablations on TopFormer-T+MSCSA (Tables 4 and 5), on ImageNet-1k and on small scenes.

Table 4 is not a set of toggles: what Intra-FFN saves is spent on the expansion ratio (Sec. 4.3), so each
row has a head width and a ratio of its own, inferred from the printed costs (docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mscsa.paper import TABLE_4, TABLE_5, AblationRow
from mscsa.recipes.imagenet import IMAGENET
from mscsa.recipes.small import scenes_recipe
from mscsa.recipes.spec import Recipe

BACKBONE = "mscsa_topformer_tiny"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of Table 4 or 5, and the model that it is of."""

    table: int
    row: AblationRow
    fields: dict[str, Any]
    """`MSCSAConfig` fields that differ from TopFormer-T+MSCSA."""


_NOTHING: dict[str, Any] = {"parallel_conv": False, "intra_ffn": False, "downsampling": "none"}

_FIELDS: dict[str, dict[str, Any]] = {
    "all_removed": _NOTHING | {"head_dim": 16, "mlp_ratio": 2.0},
    "pcp": _NOTHING | {"parallel_conv": True, "head_dim": 16, "mlp_ratio": 2.0},
    "pcp_intra": {"downsampling": "none", "head_dim": 16, "mlp_ratio": 3.0},
    "pcp_intra_msp": {},
    "parallel_dwconv": {},
    "parallel_avgpool": {"downsampling": "parallel_avgpool"},
    "cascaded_dwconv": {"downsampling": "cascaded_dwconv"},
    "single_dwconv": {"downsampling": "single_dwconv"},
}

VARIANTS: tuple[Variant, ...] = tuple(
    Variant(table=number, row=row, fields=_FIELDS[row.name])
    for number, rows in ((4, TABLE_4), (5, TABLE_5))
    for row in rows
)
"""Rows of Tables 4 and 5, in the paper's order; each changes fields of TopFormer-T+MSCSA."""


def _imagenet(variant: Variant) -> Recipe:
    whole = next(recipe for recipe in IMAGENET if recipe.name == f"imagenet/{BACKBONE}")
    row = variant.row
    cost = "cost unreadable in the source" if row.mmacs is None else f"{row.mmacs} MMACs (paper)"
    return replace(
        whole,
        name=f"ablation/{BACKBONE}.{row.name}",
        paper=f'Table {variant.table}, "{row.printed}"; settings of App. C.1',
        expected=f"{row.top1} % top-1 on ImageNet-1k (paper, Table {variant.table}); not measured here",
        cost=f"{cost} at 224 px, {whole.run.epochs} epochs, batch {whole.data.batch_size}",
        model=replace(whole.model, mscsa=variant.fields),
    )


def _scenes(variant: Variant) -> Recipe:
    small = scenes_recipe(BACKBONE)
    return replace(
        small,
        name=f"scenes/{BACKBONE}.{variant.row.name}",
        paper=f'Table {variant.table}, "{variant.row.printed}", in small: {small.paper}',
        model=replace(small.model, mscsa={**(small.model.mscsa or {}), **variant.fields}),
    )


ABLATION: tuple[Recipe, ...] = tuple(build(variant) for build in (_imagenet, _scenes) for variant in VARIANTS)
