"""TopFormer's neck is the extractor and injections of the backbone here, over any pyramid."""

from __future__ import annotations

import re

import pytest
import timm.utils
import torch

from mscsa.backbones.topformer_parts import SemanticsExtractor, SemanticsInjection
from mscsa.necks.topformer import TopFormerNeck, TopFormerNeckConfig
from tests.necks.pyramids import maps_of, sizes_at, small_neck


def test_it_is_extractor_and_injection() -> None:
    neck, maps = small_neck("topformer"), maps_of(sizes_at((97, 131)))
    assert isinstance(neck.extractor, SemanticsExtractor) and isinstance(neck.injection, SemanticsInjection)
    size = (maps[3].shape[2], maps[3].shape[3])
    tokens = neck.extractor([torch.nn.functional.adaptive_avg_pool2d(x, size) for x in maps])
    outputs = neck(maps)
    parts = tokens.split(neck.channels, dim=1)
    for level, (own, part) in enumerate(zip(maps, parts, strict=True)):
        assert torch.equal(outputs[level], neck.injection.get_submodule(str(level))(own, part))


def test_its_weights_are_those_of_topformer() -> None:
    """The names in the backbone's own form; of the injection it has one level more."""
    neck = TopFormerNeck([16, 32, 64, 96], [4, 8, 16, 32], {"depth": 1})
    extractor = SemanticsExtractor([16, 32, 64, 96], num_heads=8, depth=1)
    neck.extractor.load_state_dict(extractor.state_dict())
    injection = SemanticsInjection([16, 32, 64, 96], 256)
    result = neck.injection.load_state_dict(injection.state_dict(), strict=False)
    assert not result.unexpected_keys and {key.split(".")[0] for key in result.missing_keys} == {"0"}


def test_squeezed_tokens() -> None:
    neck, maps = small_neck("topformer", squeeze_ratio=0.5), maps_of(sizes_at((97, 131)))
    assert neck.injection.token_channels == (3, 4, 6, 8)
    tokens = []
    neck.extractor.register_forward_hook(lambda module, args, out: tokens.append(tuple(out.shape)))
    assert [tuple(x.shape[1:]) for x in neck(maps)] == [(8, *x.shape[2:]) for x in maps]
    assert tokens == [(2, 21, 4, 5)]
    neck.train()(maps)[0].sum().backward()
    assert all(conv.weight.grad.any() for conv, _ in neck.squeezes)
    with pytest.raises(ValueError, match="batch norm needs more than 1 value per channel"):
        neck(maps_of(sizes_at((32, 32)), batch=1))


def test_defaults_are_those_of_topformer_b() -> None:
    config = TopFormerNeckConfig()
    assert (config.channels, config.depth, config.num_heads, config.head_dim) == (256, 4, 8, 16)
    assert (config.mlp_ratio, config.pool_stride, config.squeeze_ratio) == (2.0, 64, 1.0)


def test_tokens_finer_than_the_finest_stage_are_refused() -> None:
    with pytest.raises(ValueError, match="^pool_stride=4 is finer than the finest stage: give 8 or more$"):
        TopFormerNeck([4, 8], [8, 16], {"pool_stride": 4})


def test_one_value_for_a_norm_is_refused_in_training() -> None:
    neck = small_neck("topformer").train()
    with pytest.raises(ValueError, match=re.escape("batch norm needs more than 1 value per channel")):
        neck(maps_of(sizes_at((32, 32)), batch=1))
    timm.utils.freeze(neck)  # its norms are no batch norms any more
    assert neck.training and len(neck(maps_of(sizes_at((32, 32)), batch=1))) == 4
