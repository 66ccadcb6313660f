"""The paper's ablations on TopFormer-T+MSCSA (Tables 4 and 5), on ImageNet-1k and on small scenes.

Table 4 is not a set of toggles: what Intra-FFN saves is spent on the expansion ratio (Sec. 4.3), so each
row has a head width and a ratio of its own, inferred from the printed costs (docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mscsa.recipes.imagenet import IMAGENET
from mscsa.recipes.small import scenes_recipe
from mscsa.recipes.spec import Recipe

BACKBONE = "mscsa_topformer_tiny"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of Table 4 or 5."""

    name: str
    table: int
    printed: str
    """As the paper prints it."""
    mmacs: float | None
    """Printed cost of the whole model in MMACs; None where the source is unreadable."""
    top1: float
    """Printed top-1 on ImageNet-1k in %."""
    fields: dict[str, Any]
    """`MSCSAConfig` fields that differ from TopFormer-T+MSCSA."""


_NOTHING: dict[str, Any] = {"parallel_conv": False, "intra_ffn": False, "downsampling": "none"}

VARIANTS: tuple[Variant, ...] = (
    Variant(
        name="all_removed",
        table=4,
        printed="All opt. removed",
        mmacs=129,
        top1=65.1,
        fields=_NOTHING | {"head_dim": 16, "mlp_ratio": 2.0},
    ),
    Variant(
        name="pcp",
        table=4,
        printed="+ w. PCP",
        mmacs=129,
        top1=65.7,
        fields=_NOTHING | {"parallel_conv": True, "head_dim": 16, "mlp_ratio": 2.0},
    ),
    Variant(
        name="pcp_intra",
        table=4,
        printed="++ w. Intra-FFN",
        mmacs=130,
        top1=66.0,
        fields={"downsampling": "none", "head_dim": 16, "mlp_ratio": 3.0},
    ),
    Variant(name="pcp_intra_msp", table=4, printed="+++ w. MSP", mmacs=132, top1=67.1, fields={}),
    Variant(name="parallel_dwconv", table=5, printed="TopFormer-T+MSCSA", mmacs=132, top1=67.1, fields={}),
    Variant(
        name="parallel_avgpool",
        table=5,
        printed="-/+ AvgPool",
        mmacs=None,
        top1=66.7,
        fields={"downsampling": "parallel_avgpool"},
    ),
    Variant(
        name="cascaded_dwconv",
        table=5,
        printed="-/+ Cas. Conv",
        mmacs=None,
        top1=66.9,
        fields={"downsampling": "cascaded_dwconv"},
    ),
    Variant(
        name="single_dwconv",
        table=5,
        printed="-/+ Sin. Conv",
        mmacs=None,
        top1=66.4,
        fields={"downsampling": "single_dwconv"},
    ),
)
"""Rows of Tables 4 and 5, in the paper's order; each changes fields of TopFormer-T+MSCSA."""


def _imagenet(variant: Variant) -> Recipe:
    whole = next(recipe for recipe in IMAGENET if recipe.name == f"imagenet/{BACKBONE}")
    cost = "cost unreadable in the source" if variant.mmacs is None else f"{variant.mmacs} MMACs (paper)"
    return replace(
        whole,
        name=f"ablation/{BACKBONE}.{variant.name}",
        paper=f'Table {variant.table}, "{variant.printed}"; settings of App. C.1',
        expected=f"{variant.top1} % top-1 on ImageNet-1k (paper, Table {variant.table}); not measured here",
        cost=f"{cost} at 224 px, {whole.run.epochs} epochs, batch {whole.data.batch_size}",
        model=replace(whole.model, mscsa=variant.fields),
    )


def _scenes(variant: Variant) -> Recipe:
    small = scenes_recipe(BACKBONE)
    return replace(
        small,
        name=f"scenes/{BACKBONE}.{variant.name}",
        paper=f'Table {variant.table}, "{variant.printed}", in small: {small.paper}',
        model=replace(small.model, mscsa={**(small.model.mscsa or {}), **variant.fields}),
    )


ABLATION: tuple[Recipe, ...] = tuple(build(variant) for build in (_imagenet, _scenes) for variant in VARIANTS)
