"""TopFormer: a token pyramid of convolutions and a small transformer on the pooled pyramid.

Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.05525. Official weights: https://github.com/hustvl/TopFormer (Apache-2.0).

Modules carry the names of the official checkpoints (`tpm`, `trans`, `SIM`, `head.l`), so these load
without renaming.

The classifier reads tokens at 1/32 (its paper's cost; the official code has no classifier), the
dense form at 1/64.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timm.models import register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from mscsa.backbones.official_keys import part_of
from mscsa.backbones.timm_contract import (
    check_output_format,
    create_backbone,
    describe_sizes,
    replace_classifier,
)
from mscsa.backbones.topformer_parts import (
    STRIDES,
    BatchNormHead,
    SemanticsExtractor,
    TokenPyramid,
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TopFormerSize:
    """What distinguishes TopFormer-T, -S and -B."""

    channels: tuple[int, int, int, int]
    """Channels of the pyramid maps at 1/4, 1/8, 1/16, 1/32."""
    deepest_layers: int
    """Inverted residuals at 1/32."""
    num_heads: int
    """Attention heads of the transformer."""
    injected_channels: int
    """Channels of each map of the dense form."""
    has_depthwise_head: bool = False
    """Whether the segmentation head fuses each channel by itself."""


SIZES = {
    "topformer_tiny": TopFormerSize((16, 32, 64, 96), 2, 4, 128, has_depthwise_head=True),
    "topformer_small": TopFormerSize((24, 48, 96, 128), 3, 6, 192),
    "topformer_base": TopFormerSize((32, 64, 128, 160), 3, 8, 256),
}


class TopFormer(nn.Module):
    """TopFormer as an image classifier with timm's model contract: tokens at 1/32, pooled, classified.

    Its pyramid (`forward_intermediates`, `features_only=True`) is the token pyramid; the tokens
    are the final features.
    """

    head: nn.Module

    def __init__(
        self,
        size: TopFormerSize,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        """Build one of `SIZES`.

        Args:
            size: Widths and depths.
            num_classes: Classes; 0 builds no head.
            in_chans: Channels of the image.
            global_pool: `avg`, or empty for none (without head).
            drop_rate: Dropout before the linear layer.
            drop_path_rate: Of the last transformer block; rises linearly from 0.
        """
        super().__init__()
        self.size = size
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = sum(size.channels)
        self.tpm = TokenPyramid(size.channels, deepest_layers=size.deepest_layers, in_chans=in_chans)
        self.trans: SemanticsExtractor | None = SemanticsExtractor(
            size.channels,
            num_heads=size.num_heads,
            pool_stride=32,
            drop_path_rate=drop_path_rate,
        )
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": channels, "reduction": stride, "module": f"tpm.{names[-1]}"}
            for channels, stride, names in zip(size.channels, STRIDES, self.tpm.levels, strict=True)
        ]
        self.global_pool = ""
        self.reset_classifier(num_classes, global_pool)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that weight decay must leave alone: none beyond the usual."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Give the patterns that sort parameters by depth, per layer or (coarse) per map."""
        if coarse:
            levels = [(rf"^tpm\.(?:{'|'.join(names)})\.", (i,)) for i, names in enumerate(self.tpm.levels)]
            return {"stem": r"^tpm\.stem", "pyramid": levels, "transformer": r"^trans\."}
        return {
            "stem": r"^tpm\.stem",
            "pyramid": r"^tpm\.layer(\d+)",
            "transformer": r"^trans\.transformer_blocks\.(\d+)",
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute layers in the backward pass instead of keeping their activations."""
        self.tpm.grad_checkpointing = enable
        if self.trans is not None:
            self.trans.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the head (batch norm and linear)."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a new one; 0 classes removes it.

        Raises:
            UserError: As `chosen_pooling`.
        """

        def build() -> nn.Module:
            return BatchNormHead(self.num_features, num_classes, self.drop_rate)

        replace_classifier(self, num_classes, global_pool, build)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Compute pyramid maps, and the final features.

        Args:
            x: Image, (B, in_chans, H, W).
            indices: Maps to return, finest first: the last n if a number, all if None.
            norm: No effect, the maps have no norm of their own (timm's contract).
            stop_early: Do not go beyond the deepest map asked for.
            output_fmt: Must be `NCHW`.
            intermediates_only: Leave out the final features.
        Returns:
            (features, maps), or maps. The features are those of `forward_features`, or the
            deepest map computed where `stop_early` ended before the last one.
        Raises:
            UserError: If `output_fmt` is another layout.
        """
        check_output_format(output_fmt)
        take_indices, max_index = feature_take_indices(len(self.tpm.levels), indices)
        maps = self.tpm(x, max_index + 1 if stop_early or intermediates_only else None)
        taken = [level for i, level in enumerate(maps) if i in take_indices]
        if intermediates_only:
            return taken
        return (maps[-1] if len(maps) < len(self.tpm.levels) else self._extract(maps)), taken

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Delete what the given maps do not need; with the head goes the transformer that feeds it.

        Args:
            indices: Maps to keep, as in `forward_intermediates`.
            prune_norm: No effect, the maps have no norm of their own (timm's contract).
            prune_head: Delete transformer and head. A head without its maps goes in any case.
        Returns:
            Indices of the maps kept.
        """
        take_indices, max_index = feature_take_indices(len(self.tpm.levels), indices)
        if prune_head or max_index + 1 < len(self.tpm.levels):
            self.trans = None
            self.num_features = self.head_hidden_size = self.feature_info[max_index]["num_chs"]
            self.reset_classifier(0, "")
        self.tpm.truncate(max_index + 1)
        return take_indices

    def forward_features(self, x: Tensor) -> Tensor:
        """Map an image (B, in_chans, H, W) to tokens (B, D, H/32, W/32), rounded up."""
        return self._extract(self.tpm(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool tokens (B, D, h, w) to (B, D) and classify, (B, num_classes)."""
        if self.global_pool:
            x = x.mean(dim=(-2, -1))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image (B, in_chans, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def _extract(self, maps: list[Tensor]) -> Tensor:
        return maps[-1] if self.trans is None else self.trans(maps)


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official checkpoint to `model`, whose names are the official ones.

    Official files are classifiers (`tpm`, `trans`, `head`), dense backbones (`tpm`, `trans`, `SIM`)
    and segmentors (`backbone.*` of the latter, and `decode_head.*`). Left out are `decode_head`, the
    parts that `model` does not have (the head of a dense form, all but `tpm` of a pruned one) and
    the transformer where another extractor took its place. A classifier has no `SIM`: the dense
    form keeps its own, as the official training starts.

    Args:
        state_dict: Entries by official key.
        model: `TopFormer`, or its dense form.
    Returns:
        Entries for `model.load_state_dict`.
    """
    own = model.state_dict()
    has_official_trans = isinstance(getattr(model, "trans", None), SemanticsExtractor)
    own_parts = {_part(key) for key in own} - (set() if has_official_trans else {"trans"})
    entries = {}
    for official_key, value in state_dict.items():
        key = official_key.removeprefix("backbone.")
        is_foreign = key.startswith(("tpm.layer", "trans.", "SIM.", "head.", "decode_head."))
        if _part(key) in own_parts or not is_foreign:
            entries[key] = value
    kept = set() if has_official_trans else {"trans"}
    if not any(key.startswith("SIM.") for key in entries) and "head.l.weight" in state_dict:
        kept.add("SIM")
    unchanged = {key: value for key, value in own.items() if _part(key) in kept}
    if unchanged:
        _logger.info(
            "not in the checkpoint, left as built: %s", ", ".join(sorted({_part(key) for key in unchanged}))
        )
    return {**entries, **unchanged}


def _part(key: str) -> str:
    """Name the part of a model that a state-dict key belongs to; layers of `tpm` count singly."""
    return part_of(key, row="tpm")


default_cfgs = describe_sizes(
    SIZES,
    first_conv="tpm.stem.0.c",
    classifier="head.l",
    license="apache-2.0",
    paper_ids="arXiv:2204.05525",
    origin_url="https://github.com/hustvl/TopFormer",
)
_create = functools.partial(
    create_backbone,
    TopFormer,
    {name: {"size": size} for name, size in SIZES.items()},
    checkpoint_filter_fn,
    flatten_sequential=False,
)


@register_model
def topformer_tiny(pretrained: bool = False, **kwargs: Any) -> TopFormer:
    """TopFormer-T: 1.5 M parameters, 120 M MACs at 224x224 px, 66.2 % top-1 (official file name)."""
    return _create("topformer_tiny", pretrained, **kwargs)


@register_model
def topformer_small(pretrained: bool = False, **kwargs: Any) -> TopFormer:
    """TopFormer-S: 3.1 M parameters, 228 M MACs at 224x224 px, 72.3 % top-1 (official file name)."""
    return _create("topformer_small", pretrained, **kwargs)


@register_model
def topformer_base(pretrained: bool = False, **kwargs: Any) -> TopFormer:
    """TopFormer-B: 5.1 M parameters, 364 M MACs at 224x224 px, 75.3 % top-1 (official file name)."""
    return _create("topformer_base", pretrained, **kwargs)
