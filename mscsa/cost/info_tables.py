"""What a model costs, laid out for people and as plain values."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from mscsa.cost.model_info import ModelInfo
from mscsa.neck_table import MSCSA_NECK, NECKS
from mscsa.report import Table, percent_more

PART_NAMES = {
    "squeeze": "squeeze, 1x1 convolutions",
    "csa": "CSA, convolutions",
    "attention": "CSA, attention products",
    "ffn": "FFN",
    "intra_ffn": "Intra-FFN",
    "fusion": "fusion, 1x1 convolutions",
}
"""Fields of `Macs` in words."""


def info_tables(info: ModelInfo) -> list[Table]:
    """Lay out a model: its stages, the neck's configuration, and the cost of each part."""
    return [_stages_table(info), _config_table(info), *cost_tables(info)]


def cost_tables(info: ModelInfo) -> list[Table]:
    """Lay out the cost of each part of a model, and of the whole against its backbone."""
    rows = [_cost_row("backbone", _rest(info), info)]
    for field in fields(info.mscsa_macs):
        macs = getattr(info.mscsa_macs, field.name)
        if macs:
            cost = (macs, info.mscsa_parameters.get(field.name, 0))
            rows.append(_cost_row(f"MSCSA: {PART_NAMES[field.name]}", cost, info))
    if info.neck != MSCSA_NECK:
        rows.append(_cost_row(f"neck: {_title(info)}", (info.neck_macs, info.neck_parameters), info))
    if info.head_macs:
        rows.append(_cost_row(info.head or "classifier", (info.head_macs, info.head_parameters), info))
    rows.append(_cost_row("whole model", (info.macs, info.parameters), info))
    height, width = info.input_size
    parts = Table(
        title=f"Parts of {info.name}{_form(info)}, one image of {height}x{width} px",
        columns=("part", "parameters (M)", "GMACs", "share of MACs"),
        rows=rows,
        notes=(info.counted_as,) if info.counted_as else (),
    )
    return [parts, _against_backbone(info)]


def info_json(info: ModelInfo) -> dict[str, Any]:
    """Give `info` as plain values; MACs as counts, not in billions."""
    return {
        **asdict(info),
        "mscsa_macs": {**asdict(info.mscsa_macs), "total": info.mscsa_macs.total},
        "macs_difference_percent": 100 * (info.macs / info.baseline_macs - 1),
        "parameters_difference_percent": 100 * (info.parameters / info.baseline_parameters - 1),
    }


def _stages_table(info: ModelInfo) -> Table:
    rows = [
        (
            str(i + 1),
            f"1/{stage.stride}",
            f"{stage.size[0]}x{stage.size[1]}",
            str(stage.channels),
            *((str(stage.token_channels),) if info.token_size else ()),
            *(("yes" if stage.is_fused else "no",) if info.is_dense else ()),
        )
        for i, stage in enumerate(info.stages)
    ]
    (height, width), given_back = info.input_size, "fused" if info.token_size else "given back"
    return Table(
        title=f"Stages that {_title(info)} reads in {info.baseline_name}, image of {height}x{width} px",
        columns=(
            *("stage", "stride", "map", "channels"),
            *(("in token map",) if info.token_size else ()),
            *((given_back,) if info.is_dense else ()),
        ),
        rows=rows,
        notes=(_maps_note(info),),
    )


def _maps_note(info: ModelInfo) -> str:
    """Say what becomes of the stages."""
    if info.token_size is None:
        return f"Each map comes out with {info.config.channels} channels."
    tokens = sum(stage.token_channels for stage in info.stages)
    rows, columns = info.token_size
    return (
        f"Token map: {rows}x{columns} tokens of {tokens} channels (1 token per {info.config.pool_stride} px)."
    )


def _title(info: ModelInfo) -> str:
    return NECKS[info.neck].title


def _config_table(info: ModelInfo) -> Table:
    values = asdict(info.config)
    package = "mscsa" if info.neck == MSCSA_NECK else "mscsa.necks"
    return Table(
        title=f"Configuration of {_title(info)} ({package}.{type(info.config).__name__})",
        columns=("field", "value"),
        rows=[
            (name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in values.items()
        ],
        num_text_columns=2,
    )


def _against_backbone(info: ModelInfo) -> Table:
    baseline_gmacs, gmacs = info.baseline_macs / 1e9, info.macs / 1e9
    baseline_mparams, mparams = info.baseline_parameters / 1e6, info.parameters / 1e6
    return Table(
        title=f"{info.name} against its backbone{_form(info)}",
        columns=("", "parameters (M)", "GMACs", "GFLOPs"),
        rows=[
            (
                info.baseline_name,
                f"{baseline_mparams:.2f}",
                f"{baseline_gmacs:.3f}",
                f"{2 * baseline_gmacs:.3f}",
            ),
            (info.name, f"{mparams:.2f}", f"{gmacs:.3f}", f"{2 * gmacs:.3f}"),
            (
                "difference",
                f"{mparams - baseline_mparams:+.2f}",
                f"{gmacs - baseline_gmacs:+.3f}",
                f"{2 * (gmacs - baseline_gmacs):+.3f}",
            ),
            (
                "difference in %",
                percent_more(mparams, baseline_mparams),
                *[percent_more(gmacs, baseline_gmacs)] * 2,
            ),
        ],
        notes=(
            "MACs: multiply-adds of convolutions and matrix products, attention included; 1 MAC = 2 FLOPs.",
        ),
    )


def _form(info: ModelInfo) -> str:
    if info.head is not None:
        return f" under {info.head}"
    return ", pyramid form" if info.is_dense else ""


def _rest(info: ModelInfo) -> tuple[int, int]:
    """MACs and parameters of the model without neck and classifier or head."""
    macs = info.macs - info.neck_macs - info.head_macs
    return macs, info.parameters - info.neck_parameters - info.head_parameters


def _cost_row(part: str, cost: tuple[int, int], info: ModelInfo) -> tuple[str, str, str, str]:
    macs, parameters = cost
    shown = f"{parameters / 1e6:.3f}" if parameters else "-"
    return part, shown, f"{macs / 1e9:.4f}", f"{100 * macs / info.macs:.1f} %"
