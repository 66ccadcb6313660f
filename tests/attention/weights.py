"""Filling modules with random values, and reading them into the records of the oracle."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mscsa.attention import MSCSA, CrossScaleAttention, FeedForward, MSCSANeck
from mscsa.attention.fusion import LevelFusion
from tests.attention import oracle


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter and running statistic so that none is neutral; float64, eval mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif value.ndim == 1:
                value.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    return module


def wake_fusions(module: nn.Module) -> None:
    """Let the fusions do something: they start at nothing."""
    for each in module.modules():
        if isinstance(each, LevelFusion):
            nn.init.normal_(each.project.weight, std=0.02)


def images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative_error(ours: torch.Tensor, expected: np.ndarray) -> float:
    """Largest deviation, relative to the largest expected value."""
    assert tuple(ours.shape) == expected.shape
    return float(np.abs(ours.detach().numpy() - expected).max() / np.abs(expected).max())


def _linear(conv: nn.Conv2d, rows: slice = slice(None)) -> oracle.Linear:
    bias = None if conv.bias is None else conv.bias.detach().numpy()[rows]
    return oracle.Linear(conv.weight.detach().numpy()[rows, :, 0, 0], bias)


def _depthwise(conv: nn.Conv2d, rows: slice = slice(None)) -> oracle.Depthwise:
    bias = None if conv.bias is None else conv.bias.detach().numpy()[rows]
    return oracle.Depthwise(conv.weight.detach().numpy()[rows, 0], bias)


def _norm(norm: nn.BatchNorm2d, rows: slice = slice(None)) -> oracle.Norm:
    assert norm.running_mean is not None and norm.running_var is not None
    bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
    values = (norm.running_mean, norm.running_var, norm.weight, bias)
    return oracle.Norm(*(value.detach().numpy()[rows] for value in values))


def attention_weights(csa: CrossScaleAttention, downsampling: str) -> oracle.Attention:
    inner = csa.num_heads * csa.head_dim
    key, value = slice(0, inner), slice(inner, 3 * inner)
    return oracle.Attention(
        query=_linear(csa.qkv, slice(0, inner)),
        keys=[_linear(csa.qkv, slice(inner, 2 * inner)), *(_linear(kv, key) for kv in csa.kvs)],
        values=[_linear(csa.qkv, slice(2 * inner, 4 * inner)), *(_linear(kv, value) for kv in csa.kvs)],
        downsamples=[_depthwise(conv) for conv in csa.downsamples if isinstance(conv, nn.Conv2d)],
        parallel=None if csa.parallel_conv is None else _depthwise(csa.parallel_conv),
        out=_linear(csa.project),
        num_heads=csa.num_heads,
        downsampling=downsampling,
    )


def feed_forward_weights(ffn: FeedForward) -> list[oracle.FeedForward]:
    """One record, or one per stage for an Intra-FFN."""
    expands = getattr(ffn.expand, "blocks", [ffn.expand])
    contracts = getattr(ffn.project, "blocks", [ffn.project])
    stages, start = [], 0
    for expand, contract in zip(expands, contracts, strict=True):
        rows = slice(start, start + expand.out_channels)
        stages.append(oracle.FeedForward(_linear(expand), _depthwise(ffn.dwconv, rows), _linear(contract)))
        start = rows.stop
    return stages


def block_weights(module: MSCSA) -> list[oracle.Block]:
    downsampling = module.config.downsampling
    return [
        oracle.Block(
            norms=[_norm(norm) for norm in (block.norm1, block.norm2, block.norm3, block.norm4)],
            attentions=(
                attention_weights(block.csa1, downsampling),
                attention_weights(block.csa2, downsampling),
            ),
            intra=feed_forward_weights(block.ffn1),
            dense=feed_forward_weights(block.ffn2)[0],
        )
        for block in module.blocks
    ]


def oracle_tokens(module: MSCSA, maps: list[torch.Tensor]) -> oracle.Array:
    """What the oracle makes of `maps` with the module's weights."""
    squeezes = [(_linear(conv), _norm(norm)) for conv, norm in module.squeezes]
    return oracle.mscsa(
        [x.detach().numpy() for x in maps],
        module.strides,
        module.config.pool_stride,
        squeezes or None,
        block_weights(module),
    )


def oracle_pyramid(neck: MSCSANeck, maps: list[torch.Tensor]) -> list[oracle.Array]:
    """What the oracle makes of all fused levels of `neck`."""
    tokens = oracle_tokens(neck.mscsa, maps)
    starts = np.cumsum([0, *neck.mscsa.stage_channels])
    outputs = []
    for fusion, level in zip(neck.fusion, neck.fusion.levels, strict=True):
        gate, bias = slice(0, fusion.channels), slice(fusion.channels, 2 * fusion.channels)
        weights = oracle.Fusion(
            gate=(_linear(fusion.project, gate), _norm(fusion.norm, gate)),
            bias=(_linear(fusion.project, bias), _norm(fusion.norm, bias)),
            gate_scale=neck.mscsa.config.gate_scale,
        )
        own = tokens[:, starts[level] : starts[level + 1]]
        outputs.append(oracle.fuse(maps[level].detach().numpy(), own, weights))
    return outputs
