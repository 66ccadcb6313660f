"""Fusion of the token map with the backbone's own pyramid, for dense tasks (paper Fig. 5).

Shapes, and the suffixes of tensors' names: B batch; of one stage C channels and H W size of its map, c
channels in the token map; D channels of the whole token map, h w its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.attention.config import MSCSAConfig, as_ints, elements, one_line
from mscsa.attention.folding import fold_behind
from mscsa.attention.module import MSCSA, check_tokens


class LevelFusion(nn.Module):
    """out = X * up(gate) + up(bias): the tokens of one stage scale and shift its map (Fig. 5b).

    Gate and bias are 1x1 convolutions with batch norm at token resolution, upsampled afterwards:
    only this order reproduces the costs of the paper's Table 2. The gate is `gate_scale` times a
    hard-sigmoid.

    The convolution starts at 0, the norm behind it as any other: gate 1 and bias 0 come out, so that the
    maps are at first the backbone's own. The norm makes the first steps of the convolution large, and they go
    where the loss wants them: this learns faster than a random start, and than a norm that starts at 0 and
    has to grow at the pace of the learning rate (measured: `benchmarks/starts.py`).
    """

    def __init__(self, token_channels: int, channels: int, *, gate_scale: float = 2.0) -> None:
        """Build for a stage of `channels` channels with `token_channels` in the token map.

        Args:
            token_channels: c_i.
            channels: C_i.
            gate_scale: Factor on the hard-sigmoid. It reaches 1 only where its gradient is 0; twice it is 1
                in the middle of its slope.
        """
        super().__init__()
        self.channels = channels
        self.project = nn.Conv2d(token_channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        nn.init.zeros_(self.project.weight)
        self.gate_scale = gate_scale

    def forward(self, tokens_Bchw: Tensor, x_BCHW: Tensor) -> Tensor:
        """Fuse one level.

        Args:
            tokens_Bchw: This stage's part of the token map, (B, c_i, h, w).
            x_BCHW: The backbone's map, (B, C_i, H_i, W_i).
        Returns:
            (B, C_i, H_i, W_i).
        """
        gate_BChw, bias_BChw = self.norm(self.project(tokens_Bchw)).split(self.channels, dim=1)
        gate_BChw = self.gate_scale * F.hardsigmoid(gate_BChw)
        size = (x_BCHW.shape[2], x_BCHW.shape[3])
        return scaled_and_shifted(x_BCHW, _upsample(gate_BChw, size), _upsample(bias_BChw, size))

    def fuse(self) -> LevelFusion:
        """Fold the norm into the projection, for inference."""
        fold_behind(self, "project", "norm")
        return self.eval()


class PyramidFusion(nn.Module):
    """One `LevelFusion` for each level that is asked for; the others are not built.

    They are its children "0", "1", ... in the order of `levels`; `len`, iteration, indices and slices
    give them.
    """

    def __init__(self, mscsa: MSCSA, levels: Sequence[int]) -> None:
        """Build for `levels`, indices into the stages that `mscsa` reads."""
        super().__init__()
        self.levels = tuple(levels)
        self.stage_channels = mscsa.stage_channels
        for index, level in enumerate(self.levels):
            fuse = LevelFusion(
                mscsa.stage_channels[level], mscsa.channels[level], gate_scale=mscsa.config.gate_scale
            )
            self.add_module(str(index), fuse)

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[LevelFusion]:
        return (fuse for fuse in self.children() if isinstance(fuse, LevelFusion))

    @overload
    def __getitem__(self, index: int) -> LevelFusion: ...

    @overload
    def __getitem__(self, index: slice) -> list[LevelFusion]: ...

    def __getitem__(self, index: int | slice) -> LevelFusion | list[LevelFusion]:
        return list(self)[index]

    def forward(self, tokens_BDhw: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Fuse the asked levels.

        Args:
            tokens_BDhw: Token map, (B, D, h, w).
            maps: All stages, (B, C_i, H_i, W_i).
        Returns:
            One map for each of `levels`, of its stage's shape.
        Raises:
            ValueError: If batch statistics would be taken over a single value.
        """
        check_tokens(tokens_BDhw.shape[0], tokens_BDhw.shape[2:], self)
        parts = tokens_BDhw.split(self.stage_channels, dim=1)
        return [fuse(parts[level], maps[level]) for fuse, level in zip(self, self.levels, strict=True)]


class MSCSANeck(nn.Module):
    """A pyramid in, the same pyramid enriched by MSCSA out.

    >>> neck = MSCSANeck([64, 128, 320, 512], strides=[4, 8, 16, 32])
    >>> maps = [torch.rand(2, c, 224 // s, 224 // s) for c, s in zip(neck.mscsa.channels, neck.mscsa.strides)]
    >>> [tuple(x.shape) for x in neck(maps)]
    [(2, 64, 56, 56), (2, 128, 28, 28), (2, 320, 14, 14), (2, 512, 7, 7)]

    With `PyTorchModelHubMixin` give `config` as a mapping of fields: of a dataclass of that name the mixin
    keeps nothing but the dataclass, so that channels and strides would be lost.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: MSCSAConfig | Mapping[str, Any] | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid of two or more stages, finest first.

        Args:
            channels: C_i of each stage.
            strides: Stride of each stage in input pixels.
            config: Configuration, or its fields by name; defaults of `MSCSAConfig` if None.
            out_levels: Stages to give back, by index; all if None. MSCSA reads all in any case.
        Raises:
            ValueError: As `MSCSA`; or if `out_levels` names a stage that is not there.
        """
        super().__init__()
        self.mscsa = MSCSA(channels, strides, config)
        self.fusion = PyramidFusion(self.mscsa, asked_levels(out_levels, len(self.mscsa.channels)))

    @property
    def out_channels(self) -> tuple[int, ...]:
        """C_i of each level given back, in their order."""
        return tuple(self.mscsa.channels[level] for level in self.fusion.levels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Enrich `maps`, one (B, C_i, H_i, W_i) per stage; give back those of `out_levels`."""
        return self.fusion(self.mscsa(maps), maps)


def scaled_and_shifted(x_BCHW: Tensor, gate_BCHW: Tensor, bias_BCHW: Tensor) -> Tensor:
    """X * gate + bias, all (B, C, H, W), in one pass and in the memory layout of the bias.

    Tokens are channels-last, and so are maps upsampled from them, three times as fast as others. Where the
    backbone's map is not, two passes over both layouts would cost as much again (docs/speed.md).
    """
    dtype = torch.promote_types(x_BCHW.dtype, bias_BCHW.dtype)
    return torch.addcmul(bias_BCHW.to(dtype), x_BCHW.to(dtype), gate_BCHW.to(dtype))


def asked_levels(out_levels: Sequence[int] | None, num_stages: int) -> tuple[int, ...]:
    """Give the levels that a neck's argument `out_levels` means: all if None.

    Raises:
        ValueError: If it names none, or what is no stage that is there.
    """
    if out_levels is None:
        return tuple(range(num_stages))
    return level_indices("out_levels", out_levels, num_stages, least=1)


def level_indices(name: str, levels: Any, num_stages: int, *, least: int = 0) -> tuple[int, ...]:
    """Give indices of stages, of any integer type, as ints.

    Args:
        name: What the message calls them.
        levels: The indices.
        num_stages: Stages that there are.
        least: How many indices there must be.
    Raises:
        ValueError: If there are fewer, or one is no stage that is there.
    """
    given = elements(levels)
    numbers = as_ints(given)
    if numbers is None or len(numbers) < least or not all(0 <= number < num_stages for number in numbers):
        shown = one_line(levels if given is None else given)
        raise ValueError(f"{name}={shown} given: give indices between 0 and {num_stages - 1}")
    return tuple(numbers)


def _upsample(x_BChw: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x_BChw, size, mode="bilinear", align_corners=False)
