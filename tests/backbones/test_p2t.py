"""P2T computes what the official code computes, at the official size and cost."""

import pytest
import timm
import torch

from mscsa.backbones.p2t import pooled_size
from mscsa.errors import UserError
from mscsa.official import load_official
from tests.backbones.golden import SIZES, compare, golden_input, load_golden
from tests.backbones.recording import count_macs, count_parameters, explicit_attention, record

# Official name of a feature -> module that computes it here, in (B, H, W, C).
INNER = {
    **{f"patch_embed{i + 1}": f"stages.{i}.embed" for i in range(4)},
    "block1.0.attn": "stages.0.blocks.0.attn",
    "block1.0": "stages.0.blocks.0",
    "block4.0.attn": "stages.3.blocks.0.attn",
}
STAGES = {f"stage{i + 1}": f"stages.{i}" for i in range(4)}


@pytest.fixture(scope="module")
def golden():
    return load_golden("p2t_tiny")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tag", SIZES)
def test_agrees_with_the_official_code(golden, tag, dtype, fused):
    model = timm.create_model("p2t_tiny").eval()
    load_official(model, golden.state_dict())
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    model.to(dtype)
    names = {**INNER, **STAGES}
    assert set(golden.features(tag)) == {*names, "logits"}
    outputs = record(model, names.values(), golden_input(*SIZES[tag]).to(dtype))
    for feature, module_name in INNER.items():
        compare(golden, tag, feature, outputs[module_name].permute(0, 3, 1, 2), dtype)
    for feature, module_name in STAGES.items():
        compare(golden, tag, feature, outputs[module_name], dtype)
    compare(golden, tag, "logits", outputs[""], dtype)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("p2t_tiny", 11_590_840, 1788.868608e6),
        ("p2t_small", 24_079_848, 3773.59e6),
        ("p2t_base", 36_066_408, 6532.17e6),
    ],
)
def test_has_the_official_cost(name, parameters, macs):
    with explicit_attention(), torch.device("meta"):
        model = timm.create_model(name)
    assert count_parameters(model) == parameters
    assert count_macs(model) == pytest.approx(macs, rel=1e-3)


def test_halves_round_to_even():
    assert [pooled_size(size, 2) for size in (5, 7, 9)] == [2, 4, 4]
    assert pooled_size(2, 6) == 1


def test_takes_a_map_smaller_than_every_pool():
    image = torch.randn(1, 3, 33, 17)
    assert timm.create_model("p2t_tiny", num_classes=3).eval()(image).shape == (1, 3)


def test_official_checkpoint_loads_strictly(golden):
    entries = golden.state_dict()
    model = timm.create_model("p2t_tiny")
    removed = "block3.2.attn.kv.0.bias"
    with pytest.raises(UserError, match=r"stages\.2\.blocks\.2\.attn\.kv\.bias"):
        load_official(model, {k: v for k, v in entries.items() if k != removed})
    with pytest.raises(UserError, match="extra"):
        load_official(model, {**entries, "extra.weight": torch.zeros(1)})


def test_pyramid_loads_the_official_classifier(golden):
    image = golden_input(160, 224)
    classifier = timm.create_model("p2t_tiny").eval()
    pyramid = timm.create_model("p2t_tiny", features_only=True, out_indices=(1, 2)).eval()
    for model in (classifier, pyramid):
        load_official(model, golden.state_dict())
    with torch.no_grad():
        expected = classifier.forward_intermediates(image, [1, 2], intermediates_only=True)
        assert all(map(torch.equal, pyramid(image), expected))
