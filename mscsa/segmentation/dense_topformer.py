"""TopFormer's dense form, for itself and for any other pyramid: maps, tokens, and their injection.

Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.05525. Children are named as in the official checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn

from mscsa.attention.module import MSCSA
from mscsa.backbones.topformer import SIZES, TopFormer
from mscsa.backbones.topformer_parts import (
    STRIDES,
    SemanticsExtractor,
    SemanticsInjection,
    TokenPyramid,
)
from mscsa.dense import Pyramid, levels_of
from mscsa.errors import UserError
from mscsa.models.model import MSCSAModel
from mscsa.models.neck import NeckPyramid
from mscsa.models.pyramid import BackbonePyramid, prefixed_no_weight_decay

CHANNELS_PER_HEAD = 48
"""Token channels for each head of an extractor, nearly: 208 / 4, 296 / 6, 384 / 8 in TopFormer-T, -S, -B."""


class DenseTopFormer(nn.Module):
    """TopFormer for dense tasks: pyramid, tokens, and their injection at all levels but the finest."""

    def __init__(
        self,
        tpm: TokenPyramid | BackbonePyramid,
        trans: SemanticsExtractor | MSCSA,
        injection: SemanticsInjection,
    ) -> None:
        """Put the parts together.

        Args:
            tpm: Image (B, 3, H, W) to maps (B, C_i, H_i, W_i), finest first.
            trans: Maps to tokens (B, sum(c_i), h, w).
            injection: Maps and tokens to the injected maps.
        """
        super().__init__()
        self.tpm = tpm
        self.trans = trans
        self.SIM = injection

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map an image (B, 3, H, W) to (B, M, H/s, W/s) for each stride s but the finest, rounded up."""
        maps = self.tpm(x)
        return self.SIM(maps, self.trans(maps))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the pyramid's and the extractor's activations in the backward pass."""
        for part in (self.tpm, self.trans):
            if isinstance(part, (TokenPyramid, SemanticsExtractor)):
                part.grad_checkpointing = enable
            else:
                part.set_grad_checkpointing(enable)

    def weight_parts(self) -> dict[str, str]:
        """Say where the weights of each part are: part -> prefix of its keys."""
        backbone = "" if isinstance(self.tpm, TokenPyramid) else "tpm.backbone."
        tokens = "extractor" if isinstance(self.trans, SemanticsExtractor) else "mscsa"
        return {"backbone": backbone, tokens: "trans.", "injection": "SIM."}

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the pyramid spares from weight decay."""
        return prefixed_no_weight_decay(self.tpm, "tpm")


def build_dense_topformer(
    name: str,
    *,
    extractor: SemanticsExtractor | MSCSA | None = None,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
) -> DenseTopFormer:
    """Build the dense form of one of `SIZES`, without a head.

    Args:
        name: `topformer_tiny`, `topformer_small` or `topformer_base`.
        extractor: Maps to tokens in place of TopFormer's own at 1/64, for example
            `MSCSA(SIZES[name].channels, STRIDES, MSCSAConfig(pool_stride=64))`.
        in_chans: Channels of the image.
        drop_path_rate: Of TopFormer's own extractor.
    Raises:
        UserError: If there is no such size.
    """
    if name not in SIZES:
        raise UserError(f"there is no dense {name!r}: give one of {', '.join(SIZES)}")
    size = SIZES[name]
    tpm = TokenPyramid(size.channels, deepest_layers=size.deepest_layers, in_chans=in_chans)
    if extractor is None:
        extractor = SemanticsExtractor(size.channels, num_heads=size.num_heads, drop_path_rate=drop_path_rate)
    return DenseTopFormer(tpm, extractor, SemanticsInjection(size.channels, size.injected_channels))


def inject_tokens(pyramid: Pyramid, injected_channels: int, drop_path_rate: float) -> DenseTopFormer:
    """Turn a pyramid into TopFormer's dense form: raw maps, tokens, and their injection.

    The tokens come from MSCSA where the pyramid has it, whose fusion then has no place; else from a
    TopFormer extractor at 1/64 for the pyramid's channels.

    Args:
        pyramid: Its parts are taken over.
        injected_channels: M.
        drop_path_rate: Of the extractor's last block.
    Raises:
        UserError: If the pyramid gives other levels than the tokens are made of, or has a neck other than
            MSCSA.
    """
    if isinstance(pyramid, NeckPyramid):
        raise UserError(
            f"topformer_head on the neck {pyramid.neck_name}: it makes tokens of a backbone's own maps; "
            "leave the neck out, or take another head"
        )
    channels, strides = levels_of(pyramid)
    _check_all_levels(pyramid, strides)
    if len(strides) < 2:
        raise UserError(
            f"topformer_head on one map, of stride {strides[0]}: it injects into all but the finest; give "
            "two levels or more"
        )
    extractor: SemanticsExtractor | MSCSA
    if isinstance(pyramid, MSCSAModel) and pyramid.mscsa is not None:
        extractor, token_channels = pyramid.mscsa, pyramid.mscsa.stage_channels
    else:
        num_heads = max(1, round(sum(channels) / CHANNELS_PER_HEAD))
        extractor = SemanticsExtractor(channels, strides, num_heads=num_heads, drop_path_rate=drop_path_rate)
        token_channels = tuple(channels)
    injection = SemanticsInjection(channels, injected_channels, token_channels=token_channels)
    return DenseTopFormer(_raw_maps(pyramid), extractor, injection)


def _check_all_levels(pyramid: Pyramid, strides: list[int]) -> None:
    """Refuse a pyramid without some of the levels that the tokens are made of."""
    needed: tuple[int, ...] = tuple(strides)
    if isinstance(pyramid, MSCSAModel) and pyramid.mscsa is not None:
        needed = pyramid.mscsa.strides
    elif isinstance(pyramid.backbone, TopFormer):
        needed = STRIDES
    if tuple(strides) != needed:
        raise UserError(
            f"topformer_head takes all levels that its tokens are made of, {list(needed)}, the pyramid gives "
            f"{strides}: build it with build_pyramid, without strides"
        )


def _raw_maps(pyramid: Pyramid) -> TokenPyramid | BackbonePyramid:
    """Take what gives a pyramid's maps before any fusion."""
    if isinstance(pyramid.backbone, TopFormer):
        return pyramid.backbone.tpm
    if isinstance(pyramid, BackbonePyramid):
        return pyramid
    return BackbonePyramid(pyramid.backbone, pyramid.out_indices)
