"""TopFormer's dense form computes what the official code computes, and stands around any pyramid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mscsa.attention import MSCSA, MSCSAConfig
from mscsa.backbones.topformer import SIZES
from mscsa.backbones.topformer_parts import STRIDES
from mscsa.errors import UserError
from mscsa.macs import count_macs, count_parameters
from mscsa.models import build_pyramid
from mscsa.official import load_official
from mscsa.segmentation import build_segmenter
from mscsa.segmentation.dense_topformer import build_dense_topformer, inject_tokens
from tests.backbones.golden import SIZES as IMAGE_SIZES
from tests.backbones.golden import compare, fill, golden_input, load_golden
from tests.refusals import one_line_error

OFFICIAL = {"t": "topformer_tiny", "b": "topformer_base"}
# Facts of the official models: parameters of the whole backbone and of its injection.
PARAMETERS = {
    "topformer_tiny": {"": 1_369_920, "SIM": 76_032},
    "topformer_small": {"": 2_968_464, "SIM": 160_128},
    "topformer_base": {"": 4_958_048, "SIM": 274_944},
}


@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("tag", IMAGE_SIZES)
@pytest.mark.parametrize("kind", ["backbone", "seg"])
@pytest.mark.parametrize("size", OFFICIAL)
def test_outputs_are_the_official_ones(size: str, kind: str, tag: str, dtype: torch.dtype) -> None:
    golden = load_golden(f"topformer_{size}_{kind}")
    model = build_dense_topformer(OFFICIAL[size]).eval()
    load_official(model, golden.state_dict())
    recorded: dict[str, Tensor] = {}
    model.tpm.register_forward_hook(
        lambda _m, _args, maps: recorded.update({f"tpm_out{i}": x for i, x in enumerate(maps)})
    )
    model.trans.register_forward_hook(lambda _m, _args, tokens: recorded.update(trans=tokens))
    with torch.inference_mode():
        maps = model.to(dtype)(golden_input(*IMAGE_SIZES[tag]).to(dtype))
    recorded |= {f"sim_out{i}": x for i, x in enumerate(maps)}
    assert set(recorded) <= set(golden.features(tag)) and len(recorded) == 4 + 1 + 3
    for name, feature in recorded.items():
        compare(golden, tag, name, feature, dtype)


@pytest.mark.parametrize("size", OFFICIAL)
def test_keys_are_the_official_ones_in_order(size: str) -> None:
    state = build_dense_topformer(OFFICIAL[size]).state_dict()
    expected = load_golden(f"topformer_{size}_backbone").keys
    assert [(key, tuple(value.shape)) for key, value in state.items()] == expected


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_the_official_ones(name: str) -> None:
    model = build_dense_topformer(name)
    for part, expected in PARAMETERS[name].items():
        assert count_parameters(model.get_submodule(part)) == expected, part


@pytest.mark.parametrize("size", OFFICIAL)
def test_macs_are_exact_where_the_official_count_is_known(size: str) -> None:
    model: nn.Module = build_dense_topformer(OFFICIAL[size]).eval()
    assert count_macs(model) == load_golden(f"topformer_{size}_backbone").meta["macs_224"]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("image_size", [(96, 160), (97, 131), (32, 32)])
def test_dense_form_gives_three_maps(name, image_size):
    model = build_dense_topformer(name, in_chans=4).eval()
    maps = model(torch.randn(1, 4, *image_size))
    channels = SIZES[name].injected_channels
    expected = [(1, channels, *(-(-side // s) for side in image_size)) for s in STRIDES[1:]]
    assert [tuple(x.shape) for x in maps] == expected


def test_dense_form_gives_every_parameter_a_gradient():
    model = fill(build_dense_topformer("topformer_tiny")).double().eval()
    sum(x.square().mean() for x in model(golden_input(97, 131).double())).backward()
    dead = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() <= 1e-12}
    # A shift of all keys shifts a query's logits alike, which the softmax takes out.
    assert dead == {f"trans.transformer_blocks.{i}.attn.to_k.bn.bias" for i in range(4)}


def test_dense_form_takes_mscsa_as_extractor():
    size = SIZES["topformer_tiny"]
    mscsa = MSCSA(size.channels, STRIDES, MSCSAConfig(pool_stride=64, num_heads=2))
    model = build_dense_topformer("topformer_tiny", extractor=mscsa).train()
    maps = model(torch.randn(2, 3, 128, 192))
    assert [tuple(x.shape) for x in maps] == [(2, 128, 16, 24), (2, 128, 8, 12), (2, 128, 4, 6)]
    sum(x.square().sum() for x in maps).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_unknown_dense_size_is_refused():
    with pytest.raises(UserError, match="'topformer_huge': give one of topformer_tiny"):
        build_dense_topformer("topformer_huge")


@pytest.mark.parametrize("name", ["resnet10t", "mscsa_resnet10t", "pvt_v2_b0"])
def test_any_pyramid_gets_three_injected_maps(name: str) -> None:
    """The maps are the backbone's own, not fused: MSCSA gives the tokens in place of the extractor."""
    fields = {"pool_stride": 16} if name.startswith("mscsa_") else None
    pyramid = build_pyramid(name, fields=fields)
    dense = inject_tokens(pyramid, 24, 0.0).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        maps = dense(image)
        raw = pyramid.read(image, pyramid.out_indices)
        assert all(torch.equal(a, b) for a, b in zip(dense.tpm(image), raw, strict=True))
    assert [tuple(x.shape) for x in maps] == [(1, 24, 8, 12), (1, 24, 4, 6), (1, 24, 2, 3)]
    assert isinstance(dense.trans, MSCSA) == name.startswith("mscsa_")


def test_some_levels_of_a_plain_pyramid_are_enough() -> None:
    dense = inject_tokens(build_pyramid("resnet10t", strides=(8, 16, 32)), 24, 0.0).eval()
    assert [x.shape[-1] for x in dense(torch.randn(1, 3, 64, 64))] == [4, 2]


@pytest.mark.parametrize("name", ["mscsa_resnet10t", "topformer_tiny"])
def test_levels_that_the_tokens_are_made_of_must_be_there(name: str) -> None:
    pyramid = build_pyramid(name, strides=(8, 16, 32))
    with pytest.raises(
        UserError, match=r"made of, \[4, 8, 16, 32\], the pyramid gives \[8, 16, 32\]"
    ) as caught:
        inject_tokens(pyramid, 24, 0.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["topformer_tiny", "mscsa_topformer_tiny", "resnet10t", "mscsa_resnet10t"])
def test_checkpointing_reaches_both_parts(name: str) -> None:
    dense = inject_tokens(build_pyramid(name), 24, 0.0)
    dense.set_grad_checkpointing()
    assert dense.tpm.grad_checkpointing and dense.trans.grad_checkpointing
    dense.set_grad_checkpointing(False)
    assert not dense.tpm.grad_checkpointing and not dense.trans.grad_checkpointing


def test_one_map_has_nothing_to_inject_into() -> None:
    pyramid = build_pyramid("resnet10t", strides=(32,))
    one_line_error(lambda: build_segmenter("topformer_head", pyramid, 2), "on one map, of stride 32")
