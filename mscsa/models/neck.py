"""A timm backbone and a neck that is not MSCSA, under the contract of all pyramids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mscsa.attention.checkpointing import checkpoint_module
from mscsa.backbones.timm_pyramid import attended_levels, pyramid_levels
from mscsa.models.pyramid import BackboneModel, positions_in, resolve_out_indices
from mscsa.neck_table import find_neck
from mscsa.necks.build import build_neck


class NeckPyramid(BackboneModel):
    """The maps of a backbone, mixed by a neck of `mscsa.necks` other than MSCSA.

    The neck reads all levels of stride >= 4, as MSCSA does, and gives back those of `out_indices`, with the
    channels of its own; finer ones come out as they are. MSCSA's pyramid is `MSCSAModel`.
    """

    neck: Any  # a module of `mscsa.necks`

    def __init__(
        self,
        backbone: Any,
        neck: str,
        config: Any = None,
        *,
        out_indices: int | Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        """Put a neck on a built backbone, whose classifier is pruned.

        Args:
            backbone: A timm model with `feature_info` and `forward_intermediates`.
            neck: One of `mscsa.necks.NECKS`.
            config: The neck's configuration, or its fields by name; its defaults if None.
            out_indices: Levels to give, as in timm: indices among all levels, negative ones from the end,
                or the number of last ones; all if None.
            name: What error messages call the backbone.
        Raises:
            UserError: If there is no such neck, the backbone has no pyramid, or a level is not there.
            ValueError: If the configuration is not one of this neck, or does not fit the backbone.
        """
        title = find_neck(neck).title
        levels = pyramid_levels(backbone)
        attended = attended_levels(levels, name or type(backbone).__name__)
        super().__init__(backbone, resolve_out_indices(levels, out_indices))
        self._attended = [level.index for level in attended]
        out_levels = positions_in(attended, self.out_indices, title)
        backbone.prune_intermediate_layers(indices=[level.index for level in levels], prune_norm=True)
        self.neck_name = neck
        self.neck = build_neck(
            neck,
            [level.channels for level in attended],
            [level.stride for level in attended],
            config,
            out_levels=out_levels,
        )
        self._mixed = [self._attended[position] for position in out_levels]
        for index, channels in zip(self._mixed, self.neck.out_channels, strict=True):
            self.feature_info.info[index]["num_chs"] = channels

    def weight_parts(self) -> dict[str, str]:
        """Say where the weights of each part are: part -> prefix of its keys."""
        return {**super().weight_parts(), "neck": "neck."}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to one map (B, C_i, H_i, W_i) per level of `out_indices`.

        C_i is the neck's number of channels, and for levels finer than stride 4 the backbone's.
        """
        indices = sorted({*self._attended, *self.out_indices})
        by_level = dict(zip(indices, self.read(x, indices), strict=True))
        attended = [by_level[index] for index in self._attended]
        mixed = checkpoint_module(self.neck, attended) if self.grad_checkpointing else self.neck(attended)
        by_level.update(zip(self._mixed, mixed, strict=True))
        return [by_level[index] for index in self.out_indices]
