"""Which configuration a neck gets on a backbone: what was asked for, one for a budget, or the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import torch
from timm.models._input import get_model_input_config

from mscsa.attention.config import CONFIG_FIELDS, MSCSAConfig, as_int, as_ints, config_of, one_line
from mscsa.attention.cost import config_for_budget
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.backbones.presets import PRESETS
from mscsa.backbones.timm_pyramid import attended_levels, drop_path_rate_of, pyramid_levels, read_pyramid
from mscsa.errors import UserError
from mscsa.macs import run_and_count
from mscsa.neck_table import MSCSA_NECK
from mscsa.necks.build import neck_config
from mscsa.necks.cost import neck_config_for_budget
from mscsa.skeletons import without_data

DEFAULT_BUDGET = 0.10
"""Share of the backbone's MACs for backbones that the paper has no configuration for."""


@dataclass(frozen=True, kw_only=True)
class ConfigRequest:
    """What is asked of a neck's configuration; by default nothing, which leaves all to `choose_config`.

    Raises:
        UserError: If both `config` and `budget` are given, the budget is no share, or its size no size.
        ValueError: If a field of `config` is unknown or out of range.
    """

    neck: str = MSCSA_NECK
    """One of `mscsa.necks.NECKS`."""
    config: Any = None
    """The whole configuration, or fields of it by name, all others being the neck's defaults."""
    budget: float | None = None
    """Share of the backbone's MACs that the neck may cost; it will cost at least 0.9 times as much."""
    budget_size: int | Sequence[int] | None = None
    """Side or (H, W) in pixels at which the budget holds; the backbone's default if None."""
    drop_path_rate: float | None = None
    """Stochastic depth of MSCSA; the backbone's own if None. Other necks have none."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration by name, which replace those of the one that is chosen."""

    def __post_init__(self) -> None:
        if self.config is not None and self.budget is not None:
            raise UserError(
                "both config and budget given: a budget chooses the configuration; give one of them"
            )
        if self.config is not None:
            # Refuses what is none.
            config_of(self.config) if self.neck == MSCSA_NECK else neck_config(self.neck, self.config)
        is_share = isinstance(self.budget, Real) and not isinstance(self.budget, bool)
        if self.budget is not None and not (is_share and 0 < self.budget <= 10):
            raise UserError(
                f"budget={self.budget!r} given: give the share of the backbone's MACs that the neck may "
                "cost, such as 0.10"
            )
        if self.budget_size is not None:
            _sides(self.budget_size)  # refuses what is no size


def _sides(given: Any) -> tuple[int, int]:
    """Give the (H, W) that a side or both mean."""
    sides = as_ints(given)
    if sides is None:
        sides = [as_int(given) or 0] * 2
    if len(sides) != 2 or min(sides) < 1:
        raise UserError(
            f"budget_size={one_line(given)} given: give the side of a square or (H, W), in pixels"
        )
    return sides[0], sides[1]


def choose_config(
    backbone: Any, name: str, request: ConfigRequest, out_indices: Sequence[int] | None
) -> MSCSAConfig:
    """Choose MSCSA's configuration for a built backbone, which still has its classifier.

    In this order: the request's `config`; one that costs at most its `budget`; the row of the paper's
    Table 7; `MSCSAConfig`'s defaults if `squeeze_ratio` and `head_dim`, its widths, are among its `fields`;
    one for a budget of 10 %. With all fields given nothing is left to choose.

    Args:
        backbone: A timm model.
        name: Its untagged timm name, by which the paper's row is found.
        request: What is asked.
        out_indices: Levels that a pyramid fuses, as `resolve_out_indices` gives them; None for a classifier.
    Raises:
        ValueError: If a field is out of range, or no configuration fits the budget.
    """
    given = {} if request.drop_path_rate is None else {"drop_path_rate": request.drop_path_rate}
    if request.config is not None:
        return replace(config_of(request.config), **{**given, **request.fields})
    fields = {"drop_path_rate": drop_path_rate_of(backbone), **given, **request.fields}
    if fields.keys() >= set(CONFIG_FIELDS):
        return MSCSAConfig(**fields)
    preset = PRESETS.get(name)
    if request.budget is None and preset is not None:
        dense = {} if out_indices is None else {"pool_stride": preset.dense_pool_stride}
        return replace(preset.config, **{**dense, **fields})
    if request.budget is None and {"squeeze_ratio", "head_dim"} <= fields.keys():
        return MSCSAConfig(**fields)
    measured, reference = measure_backbone(backbone, name, out_indices, request.budget_size)
    share = DEFAULT_BUDGET if request.budget is None else request.budget
    return config_for_budget(
        measured.channels,
        measured.strides,
        measured.sizes,
        share * reference,
        MSCSAConfig(**fields),
        measured.out_levels,
        fixed=tuple(fields),
    )


def choose_neck_config(backbone: Any, name: str, request: ConfigRequest, out_indices: Sequence[int]) -> Any:
    """Choose the configuration of a neck other than MSCSA for the pyramid of a built backbone.

    In this order: the request's `config`; one for its `budget`, with its `fields` as they are; the neck's
    defaults with these fields.

    Raises:
        ValueError: If a field is out of range, or no configuration fits the budget.
    """
    if request.config is not None:
        return replace(neck_config(request.neck, request.config), **request.fields)
    start = neck_config(request.neck, request.fields)
    if request.budget is None:
        return start
    measured, reference = measure_backbone(backbone, name, out_indices, request.budget_size)
    return neck_config_for_budget(
        request.neck,
        measured.channels,
        measured.strides,
        measured.sizes,
        request.budget * reference,
        start,
        measured.out_levels,
        fixed=tuple(request.fields),
    )


def measure_backbone(
    backbone: Any, name: str, out_indices: Sequence[int] | None, size: int | Sequence[int] | None
) -> tuple[MeasuredPyramid, int]:
    """Give what a neck on a backbone sees, and what the backbone alone costs, on a copy of it without data.

    Args:
        backbone: A timm model.
        name: What messages call it.
        out_indices: Levels of a pyramid that cost something, as `resolve_out_indices` gives them; None for a
            classifier.
        size: Side or (H, W) of the image in pixels; the backbone's default if None.
    Returns:
        The levels that a neck reads, of which it gives back those of `out_indices`; the multiply-adds of the
        whole classifier, or of what gives a pyramid's maps.
    Raises:
        UserError: If fewer than two strides are left, or the backbone refuses the size.
    """
    skeleton = without_data(backbone).eval()
    if size is None:
        size = get_model_input_config(backbone)["input_size"][-2:]  # 224 px where timm knows none
    height, width = _sides(size)
    image = torch.empty(1, getattr(backbone, "in_chans", 3), height, width, device="meta")
    levels = pyramid_levels(skeleton)
    attended = attended_levels(levels, name)
    maps, reference = run_and_count(lambda: read_pyramid(skeleton, image, [lv.index for lv in attended]))
    out_levels: list[int] = []
    if out_indices is None:
        _, reference = run_and_count(lambda: skeleton(image))
    else:
        out_levels = [position for position, level in enumerate(attended) if level.index in out_indices]
    measured = MeasuredPyramid(
        [level.channels for level in attended],
        [level.stride for level in attended],
        [(x.shape[2], x.shape[3]) for x in maps],
        out_levels,
    )
    return measured, reference
