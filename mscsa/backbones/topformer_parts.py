"""The parts of TopFormer: token pyramid, semantics extractor, semantics injection, classifier head.

Children carry the names of the official checkpoints. Shapes: B batch, C_i channels of pyramid map
i, D = sum(C_i) channels of the tokens, (h, w) their map's size, N heads, d channels of a query or
key head, M channels of an injected map.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from mscsa.attention.checkpointing import checkpoint_module
from mscsa.attention.folding import NormedSequential, fold_before
from mscsa.attention.fusion import scaled_and_shifted
from mscsa.attention.module import takes_batch_statistics
from mscsa.attention.pooling import adaptive_average_pool, token_map_size
from mscsa.backbones.layers import init_conv
from mscsa.backbones.timm_contract import check_batch_values, check_image
from mscsa.errors import UserError

STRIDES = (4, 8, 16, 32)
"""Input pixels per position of the four pyramid maps."""


def conv_batch_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    conv_name: str = "c",
) -> NormedSequential:
    """Build a convolution without bias and its batch norm, "same" padding; children `c` and `bn`."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )
    return NormedSequential(OrderedDict([(conv_name, conv), ("bn", nn.BatchNorm2d(out_channels))]))


class InvertedResidual(nn.Module):
    """MobileNetV2 block: expand, depthwise convolution, linear projection; skip where shapes allow."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [conv_batch_norm(in_channels, hidden), nn.ReLU(inplace=True)]
        layers += [
            conv_batch_norm(hidden, hidden, kernel_size, stride=stride, groups=hidden),
            nn.ReLU(inplace=True),
            conv_batch_norm(hidden, out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride), rounded up."""
        return x + self.conv(x) if self.has_skip else self.conv(x)


class TokenPyramid(nn.Module):
    """The convolutional backbone: image in, four maps at 1/4, 1/8, 1/16, 1/32 out."""

    def __init__(self, channels: Sequence[int], *, deepest_layers: int = 2, in_chans: int = 3) -> None:
        """Build for the given pyramid.

        Args:
            channels: Channels of the four maps.
            deepest_layers: Inverted residuals at 1/32, 2 or 3.
            in_chans: Channels of the image.
        """
        super().__init__()
        self.grad_checkpointing = False
        self.in_chans = in_chans
        quarter, eighth, sixteenth, deepest = channels
        # (kernel, expansion, out channels, stride) of the layers that lead to each map.
        plan = [
            [(3, 1, 16, 1), (3, 4, quarter, 2), (3, 3, quarter, 1)],
            [(5, 3, eighth, 2), (5, 3, eighth, 1)],
            [(3, 3, sixteenth, 2), (3, 3, sixteenth, 1)],
            [(5, 6, deepest, 2), (5, 6, deepest, 1), (3, 6, deepest, 1)][:deepest_layers],
        ]
        self.stem = nn.Sequential(conv_batch_norm(in_chans, 16, 3, stride=2), nn.ReLU(inplace=True))
        self.levels: list[list[str]] = []
        width, number = 16, 0
        for level in plan:
            self.levels.append([])
            for kernel_size, expansion, out_channels, stride in level:
                number += 1
                layer = InvertedResidual(width, out_channels, kernel_size, stride, expansion)
                self.add_module(f"layer{number}", layer)
                self.levels[-1].append(f"layer{number}")
                width = out_channels
        self.apply(_init_weights)

    def forward(self, x: Tensor, num_levels: int | None = None) -> list[Tensor]:
        """Compute the pyramid.

        Args:
            x: Image, (B, in_chans, H, W).
            num_levels: Stop after this many maps; None computes all.
        Returns:
            Maps (B, C_i, ceil(H / s_i), ceil(W / s_i)), finest first.
        Raises:
            UserError: If `x` is no batch of images, or too little to train on.
        """
        levels = self.levels[:num_levels]
        check_image(x, self.in_chans)
        check_batch_values(x, STRIDES[len(levels) - 1], takes_batch_statistics(self))
        x = self.stem(x)
        maps = []
        for names in levels:
            for name in names:
                layer = getattr(self, name)
                x = checkpoint_module(layer, x) if self.grad_checkpointing else layer(x)
            maps.append(x)
        return maps

    def truncate(self, num_levels: int) -> None:
        """Delete the layers after the first `num_levels` maps."""
        for names in self.levels[num_levels:]:
            for name in names:
                delattr(self, name)
        del self.levels[num_levels:]


class UnscaledAttention(nn.Module):
    """Multi-head attention on a map, softmax(Q K^T) V; a value head is twice as wide as a key head.

    The logits carry no 1/sqrt(d): the batch norms of Q and K set their size, and the official
    weights are trained so.
    """

    def __init__(self, channels: int, *, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * head_dim
        self.to_q = conv_batch_norm(channels, inner)
        self.to_k = conv_batch_norm(channels, inner)
        self.to_v = conv_batch_norm(channels, 2 * inner)
        project_out = conv_batch_norm(2 * inner, channels)
        # A block starts as its feed-forward alone.
        nn.init.zeros_(project_out.get_submodule("bn").get_parameter("weight"))
        self.proj = nn.Sequential(nn.ReLU6(), project_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h, w)."""
        query, key, value = (  # (B, N, d or 2d, h*w)
            project(x).flatten(2).unflatten(1, (self.num_heads, -1))
            for project in (self.to_q, self.to_k, self.to_v)
        )
        weights = (query.transpose(-2, -1) @ key).softmax(dim=-1)
        out = value @ weights.transpose(-2, -1)
        return self.proj(out.flatten(1, 2).unflatten(-1, x.shape[-2:]))


class ConvFeedForward(nn.Module):
    """1x1 conv to r times the width, 3x3 depthwise conv, ReLU6, 1x1 conv back."""

    def __init__(self, channels: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(mlp_ratio * channels)
        self.fc1 = conv_batch_norm(channels, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = conv_batch_norm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h, w)."""
        return self.fc2(F.relu6(self.dwconv(self.fc1(x))))


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each added to its input; no norm on the residual stream."""

    def __init__(
        self, channels: int, *, num_heads: int, head_dim: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.attn = UnscaledAttention(channels, num_heads=num_heads, head_dim=head_dim)
        self.mlp = ConvFeedForward(channels, mlp_ratio)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, h, w) to (B, D, h, w)."""
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))


class SemanticsExtractor(nn.Module):
    """Scale-aware semantics extractor: pool the pyramid to one size, concatenate, transform.

    Works on the pyramid of any backbone; MSCSA takes its place, list of maps in, tokens out.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int] = STRIDES,
        *,
        num_heads: int,
        depth: int = 4,
        head_dim: int = 16,
        mlp_ratio: float = 2.0,
        pool_stride: int = 64,
        drop_path_rate: float = 0.0,
    ) -> None:
        """Build for a pyramid.

        Args:
            channels: Channels C_i of the maps; the tokens have D = sum(C_i).
            strides: Their strides in input pixels, finest first.
            num_heads: Attention heads.
            depth: Transformer blocks.
            head_dim: Channels of a query or key head; a value head has twice as many.
            mlp_ratio: Expansion of the feed-forward.
            pool_stride: Input pixels per token.
            drop_path_rate: Of the last block; rises linearly from 0.
        """
        super().__init__()
        self.strides = tuple(strides)
        self.pool_stride = pool_stride
        self.grad_checkpointing = False
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(
                sum(channels),
                num_heads=num_heads,
                head_dim=head_dim,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
            )
            for rate in torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        )
        self.apply(_init_weights)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Extract tokens.

        Args:
            maps: Pyramid, (B, C_i, H_i, W_i), finest first.
        Returns:
            (B, D, h, w), channels grouped by stage.
        Raises:
            UserError: If they are too few to train on.
        """
        sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
        size = token_map_size(sizes, self.strides, self.pool_stride)
        x = torch.cat([adaptive_average_pool(level, size) for level in maps], dim=1)
        check_batch_values(x, 1, takes_batch_statistics(self))
        for block in self.transformer_blocks:
            x = checkpoint_module(block, x) if self.grad_checkpointing else block(x)
        return x


class Injection(nn.Module):
    """Inject the tokens G of a stage into its map L: local(L) * up(gate(G)) + up(global(G))."""

    def __init__(self, channels: int, token_channels: int, out_channels: int) -> None:
        super().__init__()
        self.local_embedding = conv_batch_norm(channels, out_channels, conv_name="conv")
        self.global_embedding = conv_batch_norm(token_channels, out_channels, conv_name="conv")
        self.global_act = conv_batch_norm(token_channels, out_channels, conv_name="conv")

    def forward(self, local: Tensor, tokens: Tensor) -> Tensor:
        """Map L (B, C, H, W) and G (B, c, h, w) to (B, M, H, W)."""
        size = (local.shape[-2], local.shape[-1])
        # The gate saturates before the upsampling, not after: the two do not commute.
        gate = F.interpolate(F.hardsigmoid(self.global_act(tokens)), size, mode="bilinear")
        value = F.interpolate(self.global_embedding(tokens), size, mode="bilinear")
        return scaled_and_shifted(self.local_embedding(local), gate, value)


class SemanticsInjection(nn.Module):
    """Semantics injection at all levels but the finest, or at some; an `Injection` each, named by level."""

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        token_channels: Sequence[int] | None = None,
        levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid.

        Args:
            channels: Channels C_i of the maps, the finest (not injected) included.
            out_channels: Channels M of each injected map.
            token_channels: Channels c_i of each level's tokens; C_i if None.
            levels: Those injected, each once; all but the finest if None.
        """
        super().__init__()
        self.token_channels = tuple(channels if token_channels is None else token_channels)
        for i in range(1, len(channels)) if levels is None else levels:
            self.add_module(str(i), Injection(channels[i], self.token_channels[i], out_channels))
        self.apply(_init_weights)

    def forward(self, maps: Sequence[Tensor], tokens: Tensor) -> list[Tensor]:
        """Inject.

        Args:
            maps: Pyramid, (B, C_i, H_i, W_i), finest first.
            tokens: (B, sum(c_i), h, w), channels grouped by stage.
        Returns:
            (B, M, H_i, W_i) for every injected level.
        Raises:
            UserError: If the tokens have another number of channels.
        """
        if tokens.shape[1] != sum(self.token_channels):
            raise UserError(
                f"{tokens.shape[1]} token channels do not split into {self.token_channels}: "
                f"give {sum(self.token_channels)}"
            )
        parts = tokens.split(self.token_channels, dim=1)
        return [injection(maps[int(i)], parts[int(i)]) for i, injection in self.named_children()]


class BatchNormHead(nn.Module):
    """TopFormer's classifier on pooled tokens: batch norm, dropout, linear."""

    def __init__(self, num_features: int, num_classes: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features)
        self.drop = nn.Dropout(drop_rate)
        self.l = nn.Linear(num_features, num_classes)
        self.apply(_init_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to logits (B, num_classes).

        Raises:
            UserError: If one image is given in training.
        """
        check_batch_values(x, 1, takes_batch_statistics(self))
        return self.l(self.drop(self.bn(x)))

    def fuse(self) -> BatchNormHead:
        """Fold the norm into the linear layer, for inference."""
        fold_before(self, "bn", self.l)
        return self.eval()


def _init_weights(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / fan-out) and linear layers from N(0, 0.01), biases 0."""
    init_conv(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
