"""CoaT, full and serial, computes what the official code computes, at any size divisible by 32."""

import math

import pytest
import timm
import torch

from mscsa.backbones.coat import accept_any_size, first_key
from mscsa.errors import UserError
from mscsa.official import load_official
from tests.backbones.golden import SIZES, compare, golden_input, load_golden
from tests.backbones.recording import count_macs, count_parameters, explicit_attention, record

# Official name of a feature -> module that computes it in timm's model.
SERIAL = {
    "serial_blocks1.0.factoratt_crpe": "stages.0.blocks.0.attn",
    **{f"serial_blocks{i}.1": f"stages.{i - 1}.blocks.1" for i in range(1, 5)},
}
PARALLEL = ("parallel_blocks.0", "parallel_blocks.5")
NOT_SERIAL = ("parallel_blocks", "norm", "aggregate", "head")


@pytest.fixture(scope="module", params=["coat_tiny", pytest.param("coat_small", marks=pytest.mark.long)])
def golden(request):
    return load_golden(request.param)


def full_model(golden, **kwargs):
    model = timm.create_model(golden.meta["name"], **kwargs).eval()
    load_official(model, golden.state_dict())
    return model


def serial_model(golden, **kwargs):
    name = golden.meta["name"].replace("coat", "coat_serial")
    model = timm.create_model(name, **kwargs).eval()
    load_official(model, golden.state_dict())
    return model


def compare_full(golden, tag, model, dtype):
    names = ("patch_embed1", *SERIAL, *PARALLEL)
    outputs = record(model.to(dtype), names, golden_input(*SIZES[tag]).to(dtype))
    listed = {*golden.features(tag)} - {f"{name}[{i}]" for name in PARALLEL for i in range(4)}
    assert listed == {"patch_embed1", *SERIAL, "logits"}
    for name in ("patch_embed1", *SERIAL):
        compare(golden, tag, name, outputs[name], dtype)
    for name in PARALLEL:
        for i, tokens in enumerate(outputs[name]):
            compare(golden, tag, f"{name}[{i}]", tokens, dtype)
    compare(golden, tag, "logits", outputs[""], dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_full_model_agrees_with_the_official_code_at_any_size(golden, dtype):
    model = accept_any_size(full_model(golden))
    for tag in SIZES:
        compare_full(golden, tag, model, dtype)


@pytest.mark.parametrize("tag", SIZES)
def test_timms_own_form_agrees_with_the_official_code(golden, tag):
    compare_full(golden, tag, full_model(golden, img_size=SIZES[tag]), torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tag", SIZES)
def test_serial_model_agrees_with_the_official_code(golden, tag, dtype):
    model = serial_model(golden, num_classes=0).to(dtype)
    image = golden_input(*SIZES[tag]).to(dtype)
    stages = [f"stages.{i}" for i in range(4)]
    outputs = record(model, ["stages.0.embed", *SERIAL.values(), *stages], image)
    compare(golden, tag, "patch_embed1", outputs["stages.0.embed"].flatten(1, 2), dtype)
    for name, module_name in SERIAL.items():
        compare(golden, tag, name, outputs[module_name], dtype)
    for i, stage in enumerate(stages):
        tokens = outputs[f"{stage}.blocks.1"][:, 1:]
        assert torch.equal(outputs[stage].flatten(2).transpose(1, 2), tokens), i


def test_has_the_official_cost(golden):
    with explicit_attention(), torch.device("meta"):
        model = timm.create_model(golden.meta["name"])
    assert count_parameters(model) == golden.meta["params"] - 2 * model.embed_dims[0]  # no norm1
    assert count_macs(model) == pytest.approx(golden.meta["macs_224"], rel=1e-3)
    assert count_macs(accept_any_size(model)) == pytest.approx(golden.meta["macs_224"], rel=1e-3)


def test_serial_model_has_all_of_the_serial_part_and_no_more(golden):
    model = serial_model(golden, features_only=True)
    serial = [
        math.prod(shape)
        for key, shape in golden.keys
        if first_key(key) == key and not key.startswith(NOT_SERIAL)
    ]
    assert count_parameters(model) == sum(serial)
    assert len(list(model.parameters())) == len(model.state_dict()) == len(serial)


def test_any_size_leaves_timms_models_as_they_are():
    torch.manual_seed(0)
    own = accept_any_size(timm.create_model("coat_tiny", img_size=(64, 64)).eval())
    other = timm.create_model("coat_tiny", img_size=(64, 96)).eval()
    other.load_state_dict(own.state_dict())
    assert list(own.state_dict()) == list(other.state_dict())
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(own(image), other(image))
        with pytest.raises(AssertionError):
            other(torch.randn(1, 3, 64, 64))


def test_any_size_serves_a_pruned_pyramid():
    wrapped = timm.create_model("coat_tiny", features_only=True, out_indices=(0,)).eval()
    accept_any_size(wrapped.model)
    with torch.no_grad():
        assert [x.shape for x in wrapped(torch.randn(1, 3, 64, 96))] == [(1, 152, 16, 24)]


@pytest.mark.parametrize("build", ["coat_tiny", "coat_serial_tiny"])
def test_other_sizes_are_an_error_in_one_line(build):
    model = timm.create_model(build).eval()
    if build == "coat_tiny":
        accept_any_size(model)
    with pytest.raises(ValueError, match="240x336.*multiples of 32.*to 256x352") as caught:
        model(torch.randn(1, 3, 240, 336))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_full_model_at_any_size_exports():
    model = accept_any_size(timm.create_model("coat_tiny", num_classes=5).eval())
    image = torch.randn(1, 3, 64, 96)
    program = torch.export.export(model, (image,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-5, atol=1e-5)


def test_official_checkpoint_loads_strictly(golden):
    entries = golden.state_dict()
    model, serial = full_model(golden), serial_model(golden)
    without = {k: v for k, v in entries.items() if k != "serial_blocks3.1.factoratt_crpe.qkv.bias"}
    with pytest.raises(UserError, match=r"serial_blocks3\.1\.factoratt_crpe\.qkv\.bias"):
        load_official(model, without)
    with pytest.raises(UserError, match=r"stages\.2\.blocks\.1\.attn\.qkv\.bias"):
        load_official(serial, without)
    for loaded in (model, serial):
        with pytest.raises(UserError, match="extra"):
            load_official(loaded, {**entries, "extra.weight": torch.zeros(1)})


def test_checkpoint_without_the_duplicates_loads(golden):
    entries = {k: v for k, v in golden.state_dict().items() if first_key(k) == k}
    assert len(entries) == 328
    model = timm.create_model(golden.meta["name"])
    load_official(model, entries)
    expected = full_model(golden).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("indices", [(0,), (0, 1, 2, 3)])
def test_pyramids_load_the_official_classifier(indices):
    golden = load_golden("coat_tiny")
    full_model(golden, features_only=True, out_indices=indices)
    serial_model(golden, features_only=True, out_indices=indices)


def test_serial_classifier_keeps_its_head():
    golden = load_golden("coat_tiny")
    model = timm.create_model("coat_serial_tiny", num_classes=7)
    before = model.head.weight.clone()
    load_official(model, golden.state_dict())
    assert torch.equal(model.head.weight, before)
    assert torch.equal(model.stages[1].cls_token, golden.state_dict()["cls_token2"])
