"""Official checkpoints load in one line, entirely or not at all."""

import logging
import re

import pytest
import timm
import torch
from safetensors.torch import save_file

from mscsa.attention import MSCSA, MSCSAConfig
from mscsa.backbones.topformer import SIZES
from mscsa.backbones.topformer_parts import STRIDES
from mscsa.detection import build_detector
from mscsa.errors import UserError
from mscsa.official import load_official
from mscsa.segmentation import build_segmenter
from mscsa.segmentation.dense_topformer import build_dense_topformer
from tests.backbones.golden import SIZES as IMAGE_SIZES
from tests.backbones.golden import compare, fill, golden_input, load_golden


def classifier_checkpoint(name: str = "topformer_tiny") -> dict[str, torch.Tensor]:
    return fill(timm.create_model(name)).state_dict()


def assert_holds(model, checkpoint, keys):
    """Fail unless the entries `keys` of `model` are those of `checkpoint`."""
    state = model.state_dict()
    assert keys
    assert all(torch.equal(state[key], checkpoint[key]) for key in keys)


@pytest.mark.parametrize("name", SIZES)
def test_every_size_loads(name):
    checkpoint = classifier_checkpoint(name)
    model = timm.create_model(name)
    load_official(model, checkpoint)
    assert_holds(model, checkpoint, list(model.state_dict()))


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "state_dict_ema"])
def test_wrapped_dictionaries_load(wrapper):
    checkpoint = classifier_checkpoint()
    model = timm.create_model("topformer_tiny")
    load_official(model, {"epoch": 3, wrapper: checkpoint})
    assert_holds(model, checkpoint, list(checkpoint))


def test_averaged_weights_go_first():
    checkpoint = classifier_checkpoint()
    raw = {key: torch.zeros_like(value) for key, value in checkpoint.items()}
    model = timm.create_model("topformer_tiny")
    load_official(model, {"state_dict": raw, "state_dict_ema": checkpoint})
    assert_holds(model, checkpoint, list(checkpoint))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_load(tmp_path, suffix):
    checkpoint = classifier_checkpoint()
    path = tmp_path / f"topformer.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": checkpoint}, path)
    else:
        save_file(checkpoint, path)
    model = timm.create_model("topformer_tiny")
    load_official(model, path)
    assert_holds(model, checkpoint, list(checkpoint))


def test_a_missing_key_is_refused_and_changes_nothing():
    checkpoint = classifier_checkpoint()
    del checkpoint["trans.transformer_blocks.2.mlp.dwconv.bias"]
    model = timm.create_model("topformer_tiny")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    message = r"1 missing \(trans\.transformer_blocks\.2\.mlp\.dwconv\.bias\)"
    with pytest.raises(UserError, match=message) as error:
        load_official(model, checkpoint)
    assert "\n" not in str(error.value)
    assert_holds(model, before, list(before))


def test_other_size_and_classes_are_refused():
    checkpoint = classifier_checkpoint("topformer_small")
    with pytest.raises(UserError, match=r"of another shape \(tpm.layer2.conv.4.c.weight"):
        load_official(timm.create_model("topformer_tiny"), checkpoint)
    message = r"2 of another shape \(head.l.weight \(1000, 296\) instead of \(10, 296\)"
    with pytest.raises(UserError, match=message):
        load_official(timm.create_model("topformer_small", num_classes=10), checkpoint)


def test_unexpected_keys_are_refused():
    checkpoint = classifier_checkpoint() | {
        "tpm.norm.weight": torch.ones(3),
        "other": torch.ones(1),
        "epoch": 4,
    }
    with pytest.raises(UserError, match=r"unexpected \(tpm.norm.weight"):
        load_official(timm.create_model("topformer_tiny"), checkpoint)
    del checkpoint["tpm.norm.weight"]
    with pytest.raises(UserError, match=r"1 unexpected \(other\)"):
        load_official(timm.create_model("topformer_tiny"), checkpoint)


def test_a_classifier_does_not_come_from_a_dense_checkpoint():
    checkpoint = build_dense_topformer("topformer_tiny").state_dict()
    with pytest.raises(UserError, match=r"7 missing \(head.bn.weight"):
        load_official(timm.create_model("topformer_tiny"), checkpoint)


def test_a_model_without_official_layout_is_refused():
    with pytest.raises(UserError, match="known for ResNet: give one of topformer"):
        load_official(timm.create_model("resnet18"), {})


def test_dense_form_starts_from_a_classifier(caplog):
    checkpoint = classifier_checkpoint()
    model = build_dense_topformer("topformer_tiny")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with caplog.at_level(logging.INFO, logger="mscsa"):
        load_official(model, {"state_dict_ema": checkpoint})
    assert "left as built: SIM" in caplog.text
    assert_holds(model, checkpoint, [key for key in before if not key.startswith("SIM.")])
    assert_holds(model, before, [key for key in before if key.startswith("SIM.")])


def test_dense_form_without_head_needs_its_injection():
    checkpoint = {k: v for k, v in classifier_checkpoint().items() if not k.startswith("head.")}
    with pytest.raises(UserError, match=r"54 missing \(SIM.1.local_embedding.conv.weight"):
        load_official(build_dense_topformer("topformer_tiny"), checkpoint)


def test_dense_form_takes_the_backbone_of_a_segmentor():
    checkpoint = load_golden("topformer_t_seg").state_dict()
    model = build_dense_topformer("topformer_tiny")
    load_official(model, checkpoint)
    bare = {key.removeprefix("backbone."): value for key, value in checkpoint.items()}
    assert_holds(model, bare, list(model.state_dict()))
    missing = {k: v for k, v in checkpoint.items() if k != "backbone.SIM.2.global_act.bn.bias"}
    with pytest.raises(UserError, match=r"1 missing \(SIM.2.global_act.bn.bias\)"):
        load_official(model, missing)


def test_another_extractor_keeps_its_weights():
    mscsa = MSCSA(SIZES["topformer_tiny"].channels, STRIDES, MSCSAConfig(pool_stride=64))
    model = build_dense_topformer("topformer_tiny", extractor=mscsa)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    checkpoint = classifier_checkpoint()
    load_official(model, checkpoint)
    assert_holds(model, before, [key for key in before if key.startswith("trans.")])
    assert_holds(model, checkpoint, [key for key in before if key.startswith("tpm.")])


@pytest.mark.parametrize("levels", [4, (0, 1)])
def test_pyramids_load_from_a_classifier(levels):
    checkpoint = classifier_checkpoint()
    model = timm.create_model("topformer_tiny", features_only=True, out_indices=levels)
    load_official(model, checkpoint)
    assert_holds(model.model, checkpoint, list(model.model.state_dict()))


def official_pvt_v2_keys(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename timm's PVTv2 keys to the authors' (whai362/PVT, branch v2)."""
    renamed = {}
    for key, value in state_dict.items():
        key = re.sub(r"^patch_embed\.", "patch_embed1.", key)
        for pattern, name in (
            (r"^stages\.(\d)\.downsample\.", "patch_embed{}."),
            (r"^stages\.(\d)\.blocks\.", "block{}."),
            (r"^stages\.(\d)\.norm\.", "norm{}."),
        ):
            key = re.sub(pattern, lambda m, name=name: name.format(int(m[1]) + 1), key)
        renamed[key.replace(".mlp.dwconv.", ".mlp.dwconv.dwconv.")] = value
    return renamed


def test_pvt_v2_loads():
    expected = fill(timm.create_model("pvt_v2_b0")).state_dict()
    checkpoint = official_pvt_v2_keys(expected)
    assert "block1.0.mlp.dwconv.dwconv.weight" in checkpoint and "norm4.weight" in checkpoint
    model = timm.create_model("pvt_v2_b0")
    load_official(model, checkpoint)
    assert_holds(model, expected, list(expected))
    del checkpoint["block3.1.attn.kv.weight"]
    with pytest.raises(UserError, match=r"1 missing \(stages.2.blocks.1.attn.kv.weight\)"):
        load_official(model, checkpoint)


def test_pvt_v2_without_head_loads():
    checkpoint = official_pvt_v2_keys(fill(timm.create_model("pvt_v2_b0")).state_dict())
    model = timm.create_model("pvt_v2_b0")
    model.prune_intermediate_layers(4, prune_norm=True)
    load_official(model, checkpoint)
    assert torch.equal(model.stages[3].norm.weight, checkpoint["norm4.weight"])


def test_the_backbone_of_an_enhanced_model_is_filled_and_mscsa_stays() -> None:
    """One line loads official weights into a model with MSCSA, whose own parameters do not change."""
    source = timm.create_model("topformer_tiny")
    model = timm.create_model("mscsa_topformer_tiny")
    before = {key: value.clone() for key, value in model.mscsa.state_dict().items()}
    load_official(model, source.state_dict())
    for key, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[key], rtol=0, atol=0)
    for key, value in model.mscsa.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


OFFICIAL = {"t": "topformer_tiny", "b": "topformer_base"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("tag", IMAGE_SIZES)
@pytest.mark.parametrize("size", OFFICIAL)
def test_official_segmentors_give_the_official_logits(size: str, tag: str, dtype: torch.dtype) -> None:
    golden = load_golden(f"topformer_{size}_seg")
    model = build_segmenter("topformer_head", OFFICIAL[size], 150)
    state = model.state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == golden.keys
    load_official(model, golden.state_dict())
    model = model.to(dtype).eval()
    image = golden_input(*IMAGE_SIZES[tag]).to(dtype)
    with torch.inference_mode():
        logits = model.decode_head(model.backbone(image))
        compare(golden, tag, "seg_logits", logits, dtype)
        whole = torch.nn.functional.interpolate(logits, image.shape[-2:], mode="bilinear")
        assert torch.equal(model(image), whole)


def test_an_official_checkpoint_must_fit_entirely() -> None:
    state = load_golden("topformer_t_seg").state_dict()
    model = build_segmenter("topformer_head", "topformer_tiny", 150)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for key in ("decode_head.conv_seg.bias", "backbone.SIM.1.global_act.bn.weight"):
        with pytest.raises(UserError, match=f"1 missing .{key}"):
            load_official(model, {k: v for k, v in state.items() if k != key})
    with pytest.raises(UserError, match="of another shape .decode_head.conv_seg"):
        load_official(build_segmenter("topformer_head", "topformer_tiny", 19), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    # Another head stands on the same backbone.
    other = build_segmenter("semantic_fpn", "topformer_tiny", 150)
    load_official(other, state)
    stem = other.state_dict()["backbone.backbone.tpm.stem.0.c.weight"]
    assert torch.equal(stem, state["backbone.tpm.stem.0.c.weight"])


def test_an_official_classifier_starts_a_segmenter() -> None:
    state = load_golden("topformer_t_cls").state_dict()
    model = build_segmenter("topformer_head", "topformer_tiny", 7)
    head = model.decode_head.conv_seg.weight.clone()
    load_official(model, state)
    assert torch.equal(model.state_dict()["backbone.tpm.stem.0.c.weight"], state["tpm.stem.0.c.weight"])
    assert torch.equal(model.decode_head.conv_seg.weight, head)


@pytest.mark.parametrize("name", ["p2t_tiny", "mscsa_p2t_tiny"])
def test_official_weights_start_segmenters_and_detectors(name: str) -> None:
    source = fill(timm.create_model("p2t_tiny")).state_dict()
    for model in (
        build_segmenter("semantic_fpn", name, 3, fpn_channels=32, head_channels=32),
        build_segmenter("topformer_head", name, 3),
        build_detector("retinanet", name, 3, fpn_channels=16),
    ):
        report = load_official(model, source)
        backbone = model.get_submodule(model.weight_parts()["backbone"].rstrip(".")).state_dict()
        assert backbone and all(torch.equal(value, source[key]) for key, value in backbone.items())
        assert len(report.matched) == len(backbone)
