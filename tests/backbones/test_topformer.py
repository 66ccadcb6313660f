"""TopFormer computes what the official code computes, and costs what it costs."""

import pytest
import timm
import torch
from torch import Tensor, nn

from mscsa.backbones.topformer import SIZES
from mscsa.macs import count_macs, count_parameters
from mscsa.official import load_official
from tests.backbones.golden import SIZES as IMAGE_SIZES
from tests.backbones.golden import compare, golden_input, load_golden

OFFICIAL = {"t": "topformer_tiny", "b": "topformer_base"}
# Facts of the official models: parameters of the whole model and of its parts.
PARAMETERS = {
    "topformer_tiny": {"": 1_503_304, "tpm": 256_832, "trans": 1_037_056, "head": 209_416},
    "topformer_small": {"": 3_105_928, "tpm": 688_272, "trans": 2_120_064, "head": 297_592},
    "topformer_base": {"": 5_068_872, "tpm": 1_097_056, "trans": 3_586_048, "head": 385_768},
}
MACS_224 = {"topformer_tiny": 120.24e6, "topformer_small": 227.62e6, "topformer_base": 364.35e6}


def official_model(size: str) -> nn.Module:
    """Build the model of golden file `topformer_SIZE_cls`."""
    return timm.create_model(OFFICIAL[size]).eval()


def run_recorded(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Run `model` and give its features by their names in the golden files."""
    recorded: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module, args, output):
            recorded[name] = output

        return hook

    block = "trans.transformer_blocks.0"
    for name in ("tpm", "tpm.stem", "tpm.layer1", "tpm.layer2", "trans", block, f"{block}.attn"):
        model.get_submodule(name).register_forward_hook(keep(name))
    model.get_submodule(block).register_forward_pre_hook(
        lambda module, args: recorded.__setitem__("ppa", args[0])
    )
    with torch.no_grad():
        output = model(image)
    recorded |= {f"tpm_out{i}": level for i, level in enumerate(recorded.pop("tpm"))}
    return recorded | {"tpm_out4": recorded["trans"], "logits": output}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("tag", IMAGE_SIZES)
@pytest.mark.parametrize("size", OFFICIAL)
def test_outputs_are_the_official_ones(size, tag, dtype):
    golden = load_golden(f"topformer_{size}_cls")
    model = official_model(size)
    load_official(model, golden.state_dict())
    features = run_recorded(model.to(dtype), golden_input(*IMAGE_SIZES[tag]).to(dtype))
    named = set(golden.features(tag))
    assert named == set(features)
    for name in named:
        compare(golden, tag, name, features[name], dtype)


@pytest.mark.parametrize("size", OFFICIAL)
def test_keys_are_the_official_ones_in_order(size):
    expected = load_golden(f"topformer_{size}_cls").keys
    state = official_model(size).state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == expected


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_the_official_ones(name):
    model = timm.create_model(name)
    for part, expected in PARAMETERS[name].items():
        assert count_parameters(model.get_submodule(part)) == expected, part


@pytest.mark.parametrize("name", SIZES)
def test_macs_are_the_official_ones(name):
    assert count_macs(timm.create_model(name)) == pytest.approx(MACS_224[name], rel=1e-3)


@pytest.mark.parametrize("size", OFFICIAL)
def test_macs_are_exact_where_the_official_count_is_known(size):
    macs = load_golden(f"topformer_{size}_cls").meta["macs_224"]
    assert count_macs(official_model(size)) == macs


def test_drop_path_rises_from_zero():
    blocks = timm.create_model("topformer_tiny", drop_path_rate=0.3).trans.transformer_blocks
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_new_block_is_its_feed_forward_alone():
    block = timm.create_model("topformer_tiny").trans.transformer_blocks[0].eval()
    x = torch.randn(1, 208, 3, 3)
    torch.testing.assert_close(block(x), x + block.mlp(x))
    assert block.mlp(x).abs().max() > 0
