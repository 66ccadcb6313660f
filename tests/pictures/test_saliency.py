"""Saliency: the attention is the model's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mscsa
from mscsa.attention import MSCSA
from mscsa.attention.cross_scale import CrossScaleAttention
from mscsa.errors import UserError
from mscsa.pictures.saliency import attention_weights, compute_saliency, recorded_inputs, saliency_json
from mscsa.segmentation import build_segmenter

VARIANTS = ("parallel_dwconv", "parallel_avgpool", "cascaded_dwconv", "single_dwconv", "none")


def layer(downsampling: str = "parallel_dwconv") -> tuple[CrossScaleAttention, torch.Tensor]:
    torch.manual_seed(0)
    csa = CrossScaleAttention(12, num_heads=3, head_dim=5, downsampling=downsampling)  # type: ignore[arg-type]
    csa = csa.double().eval()
    for parameter in csa.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return csa, torch.randn(1, 12, 7, 10, dtype=torch.float64)


@pytest.mark.parametrize("downsampling", VARIANTS)
@torch.no_grad()
def test_the_weights_are_those_of_the_forward_pass(downsampling: str) -> None:
    """Weights times V, with the parallel path, is the layer's own output."""
    csa, x = layer(downsampling)
    weights = torch.stack(list(attention_weights(csa, x)))
    assert (weights.sum(dim=-1) - 1).abs().max() < 1e-12
    value, value_map = csa.project_scales(x)[2:]
    out = (weights @ value[0]).transpose(1, 2).reshape(1, 30, 7, 10)
    again = csa.project(F.hardswish(out + csa.convolve_value(value_map)))
    assert (again - csa(x)).abs().max() < 1e-10


@torch.no_grad()
def test_the_weights_are_an_explicit_softmax_over_all_scales() -> None:
    """From the weights of the convolutions alone, scale by scale, in the order X_0, X_1, X_2."""
    csa, x = layer()
    keys = []
    for j, scale in enumerate(csa.scales(x)):
        conv = csa.qkv if j == 0 else csa.kvs[j - 1]
        first = 15 if j == 0 else 0  # Q comes before K_0
        matrix, bias = conv.weight[first : first + 15, :, 0, 0], conv.bias[first : first + 15]
        keys.append(torch.einsum("oc,chw->ohw", matrix, scale[0]).flatten(1) + bias[:, None])
    query = torch.einsum("oc,chw->ohw", csa.qkv.weight[:15, :, 0, 0], x[0]).flatten(1)
    query = query + csa.qkv.bias[:15, None]
    key = torch.cat(keys, dim=1)
    for head, weights in enumerate(attention_weights(csa, x)):
        rows = slice(5 * head, 5 * head + 5)
        logits = query[rows].T @ key[rows] / 5**0.5
        expected = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        assert (weights - expected).abs().max() < 1e-12
        swapped = torch.cat([keys[0], keys[2], keys[1]], dim=1)[rows]
        other = (query[rows].T @ swapped / 5**0.5).softmax(dim=1)
        assert (weights - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (lambda: mscsa.create_model("resnet10t", pool_stride=8, budget=0.3, depth=2), (64, 96)),
        (lambda: build_segmenter("topformer_head", "mscsa_topformer_tiny", 4), (128, 192)),
        (lambda: build_segmenter("semantic_fpn", "mscsa_resnet18", 4), (97, 131)),
    ],
)
def test_masses_sum_to_one_and_the_model_stays_as_it_is(model, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = model().train()
    image = torch.randn(3, *size)
    net.eval()
    with torch.no_grad():
        before = net(image[None])
    saliency = compute_saliency(net, image, [(size[0] - 1, 0)])
    with torch.no_grad():
        assert torch.equal(net(image[None]), before)
    attention = next(module for module in net.modules() if isinstance(module, MSCSA))
    assert len(saliency.layers) == 2 * attention.config.depth
    assert saliency.tokens == ((saliency.token_size[0] - 1, 0),)
    for described in saliency.layers:
        assert sum(scale.share for scale in described.scales) == pytest.approx(1, abs=1e-12)
        keys = sum(scale.attention.size for scale in described.scales)
        assert 1 <= described.perplexity <= keys + 1e-9
        for scale in described.scales:
            assert scale.attention.mean() == pytest.approx(scale.relative_share)
            assert scale.share == pytest.approx(scale.attention.sum() / keys)
        asked = sum(scale.queries[0].sum() for scale in described.scales)
        assert asked / keys == pytest.approx(1, abs=1e-12)
    json.dumps(saliency_json(saliency))


def test_a_query_is_the_token_under_the_pixel() -> None:
    """The map of a query is that row of the weights; energy is the norm of what goes in."""
    torch.manual_seed(0)
    net = mscsa.create_model("resnet10t", pool_stride=8, budget=0.3).eval()
    image = torch.randn(3, 64, 96)
    saliency = compute_saliency(net, image, [(17, 90)])
    assert saliency.token_size == (8, 12)
    assert saliency.tokens == ((2, 11),)
    with recorded_inputs(net.mscsa) as inputs, torch.no_grad():
        net(image[None])
        csa, x = inputs[0]
        rows = torch.stack([weights[2 * 12 + 11] for weights in attention_weights(csa, x)]).mean(dim=0)
        first = saliency.layers[0].scales[0]
        expected = (rows[:96] * len(rows)).reshape(8, 12).numpy()
        assert np.allclose(first.queries[0], expected)
        assert np.allclose(first.energy, x[0].norm(dim=0).numpy(), rtol=1e-5)


def test_a_query_outside_the_image_and_a_model_without_mscsa_are_refused() -> None:
    net = mscsa.create_model("resnet10t", pool_stride=8, budget=0.3).eval()
    with pytest.raises(UserError, match="query 48,0 lies outside the image of 48x64 px: give Y,X inside it"):
        compute_saliency(net, torch.zeros(3, 48, 64), [(48, 0)])
    with pytest.raises(UserError, match="the model has 0 MSCSA modules"):
        compute_saliency(torch.nn.Conv2d(3, 3, 1), torch.zeros(3, 8, 8))
