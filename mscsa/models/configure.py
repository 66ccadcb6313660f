"""Which configuration MSCSA gets on a backbone: the paper's, one for a budget, or what was asked for."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mscsa.attention import MSCSAConfig, config_for_budget
from mscsa.attention.config import CONFIG_FIELDS
from mscsa.backbones.presets import PRESETS
from mscsa.backbones.timm_pyramid import attended_levels, drop_path_rate_of, pyramid_levels, read_pyramid
from mscsa.errors import UserError
from mscsa.macs import run_and_count
from mscsa.models.pyramid import resolve_out_indices

DEFAULT_BUDGET = 0.10
"""Share of the backbone's MACs for backbones that the paper has no configuration for."""


def choose_config(
    backbone: Any,
    name: str,
    *,
    config: MSCSAConfig | None,
    budget: float | None,
    budget_size: int | Sequence[int] | None,
    drop_path_rate: float | None,
    out_indices: Sequence[int] | None,
    fields: Mapping[str, Any],
) -> MSCSAConfig:
    """Choose MSCSA's configuration for a built backbone, which still has its classifier.

    In this order: `config` if given; one that costs at most `budget`; the row of the paper's Table 7;
    `MSCSAConfig`'s defaults if `squeeze_ratio` and `head_dim`, its widths, are among `fields`; one for a
    budget of 10 %. `fields` replace single fields of it; with all of them nothing is left to choose.

    Args:
        backbone: A timm model.
        name: Its untagged timm name, by which the paper's row is found.
        config: The whole configuration.
        budget: Share of the backbone's MACs that MSCSA may cost.
        budget_size: Side or (H, W) in pixels at which it holds; the backbone's default if None.
        drop_path_rate: Stochastic depth of MSCSA; the backbone's own if None.
        out_indices: Levels of the pyramid form; None for a classifier.
        fields: Of `MSCSAConfig`, by name.
    Raises:
        UserError: If both `config` and `budget` are given, or the budget is no share.
        ValueError: If a field is out of range, or no configuration fits the budget.
    """
    _check_budget(config, budget)
    if drop_path_rate is not None:
        fields = {"drop_path_rate": drop_path_rate, **fields}
    if config is not None:
        return replace(config, **fields)
    fields = {"drop_path_rate": drop_path_rate_of(backbone), **fields}
    if fields.keys() >= set(CONFIG_FIELDS):
        return MSCSAConfig(**fields)
    preset = PRESETS.get(name)
    if budget is None and preset is not None:
        dense = {} if out_indices is None else {"pool_stride": preset.dense_pool_stride}
        return replace(preset.config, **{**dense, **fields})
    if budget is None and {"squeeze_ratio", "head_dim"} <= fields.keys():
        return MSCSAConfig(**fields)
    return _config_for_share(
        backbone,
        name,
        DEFAULT_BUDGET if budget is None else budget,
        MSCSAConfig(**fields),
        fixed=tuple(fields),
        out_indices=out_indices,
        size=budget_size,
    )


def _check_budget(config: MSCSAConfig | None, budget: float | None) -> None:
    if config is not None and budget is not None:
        raise UserError("both config and budget given: a budget chooses the configuration; give one of them")
    if budget is not None and not 0 < budget <= 10:
        raise UserError(
            f"budget={budget} given: give the share of the backbone's MACs that MSCSA may cost, such as 0.10"
        )


def _config_for_share(
    backbone: Any,
    name: str,
    budget: float,
    config: MSCSAConfig,
    *,
    fixed: tuple[str, ...],
    out_indices: Sequence[int] | None,
    size: int | Sequence[int] | None,
) -> MSCSAConfig:
    """Solve for a configuration on a copy of the backbone without data.

    A classifier's budget is a share of the whole classifier's MACs, a pyramid's of what gives its maps.
    """
    skeleton = copy.deepcopy(backbone).to("meta").eval().requires_grad_(False)
    if size is None:
        size = backbone.pretrained_cfg["input_size"][-2:]
    height, width = (size, size) if isinstance(size, int) else size
    image = torch.empty(1, getattr(backbone, "in_chans", 3), height, width, device="meta")
    levels = pyramid_levels(skeleton)
    attended = attended_levels(levels, name)
    maps, reference = run_and_count(lambda: read_pyramid(skeleton, image, [lv.index for lv in attended]))
    fused: list[int] = []
    if out_indices is None:
        _, reference = run_and_count(lambda: skeleton(image))
    else:
        asked = resolve_out_indices(levels, out_indices)
        fused = [position for position, level in enumerate(attended) if level.index in asked]
    return config_for_budget(
        [level.channels for level in attended],
        [level.stride for level in attended],
        [(x.shape[2], x.shape[3]) for x in maps],
        budget * reference,
        config,
        fused,
        fixed=fixed,
    )
