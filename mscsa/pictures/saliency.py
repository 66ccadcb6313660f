"""Where cross-scale attention looks (paper Fig. 1b): attention on the keys of each scale, and their energy.

Everything is computed from the model's own Q, K and embeddings: the inputs of its CSA layers are
recorded while it looks at one image, and the softmax that the fast kernel hides is written out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mscsa.attention.cross_scale import CrossScaleAttention
from mscsa.attention.module import MSCSA
from mscsa.errors import UserError

Map = NDArray[np.float64]
"""A value for each key of one scale, (h_j, w_j)."""


@dataclass(frozen=True, kw_only=True)
class ScaleSaliency:
    """What one CSA layer does with the keys of one scale."""

    attention: Map
    """Attention that a key receives, mean over heads and queries, as a multiple of uniform attention."""
    share: float
    """Share of all attention that falls on this scale; the shares of a layer sum to 1."""
    relative_share: float
    """That share over the one that uniform attention would give it, its share of the keys."""
    energy: Map
    """L2 norm of the embedding X_j over its channels."""
    queries: tuple[Map, ...]
    """Attention of single query tokens, mean over heads, as a multiple of uniform attention."""


@dataclass(frozen=True, kw_only=True)
class LayerSaliency:
    """One CSA layer."""

    name: str
    scales: tuple[ScaleSaliency, ...]
    """X_0 (all tokens), X_1, X_2, as many as the configuration has."""
    perplexity: float
    """Keys that a query looks at, so to speak: exp of the entropy of its attention, mean over queries."""


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """All CSA layers of a model looking at one image."""

    layers: tuple[LayerSaliency, ...]
    token_size: tuple[int, int]
    """(h, w) of the token map."""
    tokens: tuple[tuple[int, int], ...]
    """Token (row, column) of each query."""


def compute_saliency(model: nn.Module, image: Tensor, queries: Sequence[tuple[int, int]] = ()) -> Saliency:
    """Let a model look at one image and take down where its CSA layers look.

    Args:
        model: A model with one MSCSA; its mode and weights stay as they are.
        image: Normalised, (3, H, W).
        queries: Pixels (y, x) whose tokens' attention to show.
    Raises:
        UserError: If a query lies outside the image, or the model has not exactly one MSCSA.
    """
    height, width = image.shape[-2:]
    for y, x in queries:
        if not (0 <= y < height and 0 <= x < width):
            raise UserError(
                f"query {y},{x} lies outside the image of {height}x{width} px: give Y,X inside it"
            )
    found = [module for module in model.modules() if isinstance(module, MSCSA)]
    if len(found) != 1:
        raise UserError(f"the model has {len(found)} MSCSA modules: one is needed to look into")
    with recorded_inputs(found[0]) as inputs, torch.inference_mode():
        model(image[None])
        token_size = (inputs[0][1].shape[-2], inputs[0][1].shape[-1])
        tokens = [(y * token_size[0] // height, x * token_size[1] // width) for y, x in queries]
        places = [row * token_size[1] + column for row, column in tokens]
        layers = [
            _describe_layer(f"block {i // 2 + 1}, {('first', 'second')[i % 2]} CSA", csa, x, places)
            for i, (csa, x) in enumerate(inputs)
        ]
    return Saliency(layers=tuple(layers), token_size=token_size, tokens=tuple(tokens))


@contextmanager
def recorded_inputs(module: nn.Module) -> Iterator[list[tuple[CrossScaleAttention, Tensor]]]:
    """Note what goes into each CSA layer below `module` while it runs: (layer, (B, D, h, w))."""
    inputs: list[tuple[CrossScaleAttention, Tensor]] = []

    def note(csa: Any, arguments: tuple[Tensor, ...]) -> None:
        inputs.append((csa, arguments[0].detach()))

    layers = [layer for layer in module.modules() if isinstance(layer, CrossScaleAttention)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def attention_weights(csa: CrossScaleAttention, x: Tensor) -> Iterator[Tensor]:
    """Write out softmax(Q K^T / sqrt(d)) of one image, eq. (6), head by head.

    A head at a time: all at once need gigabytes at detection sizes.

    Args:
        csa: The layer.
        x: Its input, (1, D, h, w).
    Yields:
        (L, M) for each head, in float64: a row for each query, which sums to 1, over the keys of all
        scales, those of X_0 first.
    """
    query, key, _, _ = csa.project_scales(x)
    for head in range(csa.num_heads):
        logits = query[0, head].double() @ key[0, head].double().T / math.sqrt(csa.head_dim)
        yield logits.softmax(dim=-1)


def saliency_json(saliency: Saliency) -> dict[str, Any]:
    """Give the numbers as plain values, maps as nested lists of six digits."""
    return {
        "token_size": saliency.token_size,
        "query_tokens": saliency.tokens,
        "layers": [
            {
                "layer": layer.name,
                "perplexity": layer.perplexity,
                "scales": [
                    {
                        "scale": f"X_{j}",
                        "keys": scale.attention.shape,
                        "share": scale.share,
                        "share_relative_to_uniform": scale.relative_share,
                        "attention_relative_to_uniform": scale.attention.round(6).tolist(),
                        "energy": scale.energy.round(6).tolist(),
                        "queries_relative_to_uniform": [m.round(6).tolist() for m in scale.queries],
                    }
                    for j, scale in enumerate(layer.scales)
                ],
            }
            for layer in saliency.layers
        ],
    }


def _describe_layer(name: str, csa: CrossScaleAttention, x: Tensor, places: Sequence[int]) -> LayerSaliency:
    maps = csa.scales(x)
    sizes = [(each.shape[-2], each.shape[-1]) for each in maps]
    num_keys = sum(h * w for h, w in sizes)
    received = torch.zeros(num_keys, dtype=torch.float64, device=x.device)
    asked = torch.zeros(len(places), num_keys, dtype=torch.float64, device=x.device)
    entropy = 0.0
    for weights in attention_weights(csa, x):
        received += weights.mean(dim=0) / csa.num_heads
        asked += weights[list(places)] / csa.num_heads
        entropy += torch.special.entr(weights).sum(dim=-1).mean().item() / csa.num_heads
    scales = []
    start = 0
    for (h, w), embedding in zip(sizes, maps, strict=True):
        end = start + h * w
        share = received[start:end].sum().item()
        scales.append(
            ScaleSaliency(
                attention=_grid(received[start:end] * num_keys, h, w),
                share=share,
                relative_share=share * num_keys / (h * w),
                energy=_grid(embedding[0].double().norm(dim=0), h, w),
                queries=tuple(_grid(row[start:end] * num_keys, h, w) for row in asked),
            )
        )
        start = end
    return LayerSaliency(name=name, scales=tuple(scales), perplexity=math.exp(entropy))


def _grid(values: Tensor, height: int, width: int) -> Map:
    return values.reshape(height, width).cpu().numpy()
