"""Weights of any model of a backbone start any other; misfits are refused, what stays new is said."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import mscsa
from mscsa.backbones.presets import REGISTERED
from mscsa.checkpoints import load_weights, save_weights
from mscsa.checkpoints.loading import fit
from mscsa.checkpoints.policies import POLICIES
from mscsa.heads import HEADS
from mscsa.models.build import build_pyramid
from mscsa.models.pyramid import BackbonePyramid
from mscsa.segmentation import Segmenter, build_segmenter
from tests.detection.small import scene, small, wake
from tests.refusals import one_line_error
from tests.small_models import CONVNEXT, PVT, RESNET

DETECTORS = [name for name, head in HEADS.items() if head.task != "segmentation"]

FIELDS = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}
SMALL = {"fpn_channels": 16, "head_channels": 16}


def segmenter(name: str, head: str = "semantic_fpn", num_classes: int = 3, **options: Any) -> Segmenter:
    fields = {"fields": FIELDS} if name.startswith("mscsa_") else {}
    small_head = SMALL if head == "semantic_fpn" else {}
    return build_segmenter(head, name, num_classes, **{**fields, **small_head, **options})


def detector(name: str, backbone: str, **options: Any) -> nn.Module:
    return small(name, backbone, **({"fields": FIELDS} if backbone.startswith("mscsa_") else {}), **options)


def random_state(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Give random values for a model; one for all names of a shared weight."""
    generator = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for value in (*copied.parameters(), *copied.buffers()):
            value.copy_(torch.randn(value.shape, generator=generator))
    return copied.state_dict()


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def part_of(model: nn.Module, part: str) -> dict[str, Tensor]:
    prefix = model.weight_parts()[part]  # type: ignore[operator]
    return {k.removeprefix(prefix): v for k, v in model.state_dict().items() if k.startswith(prefix)}


def prefix_before(name: str, state: Mapping[str, Tensor]) -> str:
    """Give what stands before a name in the keys of a file."""
    return next(key for key in state if key.endswith(name)).removesuffix(name)


WITH_MSCSA = ("classifier", "pyramid", "segmenter", "detector")
SOURCES: dict[str, Callable[[], nn.Module]] = {
    "plain classifier": lambda: timm.create_model("resnet10t", num_classes=4),
    "plain without head": lambda: timm.create_model("resnet10t", num_classes=0),
    "features_only": lambda: timm.create_model("resnet10t", features_only=True),
    "plain pyramid": lambda: build_pyramid("resnet10t"),
    "classifier": lambda: RESNET.build(num_classes=4),
    "pyramid": lambda: RESNET.build(features_only=True),
    "segmenter": lambda: segmenter("mscsa_resnet10t", "topformer_head"),
    "detector": lambda: detector("retinanet", "mscsa_resnet10t"),
}
TARGETS: dict[str, Callable[[], nn.Module]] = {
    "plain pyramid": lambda: build_pyramid("resnet10t"),
    "classifier": lambda: RESNET.build(num_classes=3),
    "pyramid": lambda: RESNET.build(features_only=True),
    "semantic_fpn": lambda: segmenter("resnet10t"),
    "mscsa semantic_fpn": lambda: segmenter("mscsa_resnet10t"),
    "topformer_head": lambda: segmenter("resnet10t", "topformer_head"),
    "mscsa topformer_head": lambda: segmenter("mscsa_resnet10t", "topformer_head"),
    **{name: lambda name=name: detector(name, "resnet10t") for name in DETECTORS},
    **{f"mscsa {name}": lambda name=name: detector(name, "mscsa_resnet10t") for name in DETECTORS},
}

QUICK = (
    "classifier",
    "pyramid",
    "mscsa semantic_fpn",
    "mscsa topformer_head",
    "mask_rcnn",
    "mscsa retinanet",
)
"""Targets that run by default; the others are slow tests."""


def quick_and_slow(names: Iterable[str], quick: Container[str]) -> list[Any]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.fixture(scope="module")
def sources() -> dict[str, dict[str, Tensor]]:
    return {name: random_state(build()) for name, build in SOURCES.items()}


@pytest.mark.parametrize("target", quick_and_slow(TARGETS, QUICK))
def test_weights_of_a_backbone_start_every_model_of_it(
    sources: Mapping[str, dict[str, Tensor]], tmp_path: Path, target: str
) -> None:
    """All of the backbone, and of MSCSA where both have it, is the file's; what is new is as built."""
    model = TARGETS[target]()
    built = snapshot(model)
    for i, (source, state) in enumerate(sources.items()):
        model.load_state_dict(built)
        path = tmp_path / ("weights.pth" if i % 2 else "weights.safetensors")
        torch.save({"model": state}, path) if i % 2 else save_weights(state, path)
        report = load_weights(model, path)
        place = prefix_before("layer4.0.conv2.weight", state)
        backbone = part_of(model, "backbone")
        assert backbone and all(torch.equal(v, state[place + key]) for key, v in backbone.items()), source
        has_mscsa = source in WITH_MSCSA and "mscsa" in report.parts.values()
        assert ("mscsa" in report.filled) == has_mscsa, source
        if has_mscsa:
            place, own = prefix_before("blocks.0.csa1.qkv.weight", state), part_of(model, "mscsa")
            assert own and all(torch.equal(v, state[place + key]) for key, v in own.items()), source
        now = model.state_dict()
        assert all(torch.equal(now[key], built[key]) for key in (*report.missing, *report.mismatched)), source
        assert {*report.matched, *report.missing, *report.mismatched} == set(now)


@pytest.mark.parametrize("build", [PVT.build, CONVNEXT.build], ids=["pvt", "convnext"])
def test_other_backbones_start_too(build: Callable[..., nn.Module]) -> None:
    """A classifier has a last norm that the backbone does not; `features_only` names the stages otherwise."""
    model = build()
    name = "pvt_v2_b0" if build == PVT.build else "test_convnext"
    for source in (timm.create_model(name), timm.create_model(name, features_only=True)):
        report = load_weights(model, random_state(source))
        assert report.filled == {"backbone": len(part_of(model, "backbone"))}


@pytest.mark.parametrize("head", ["topformer_head", "semantic_fpn"])
def test_topformers_start_topformers(head: str) -> None:
    plain, with_mscsa = timm.create_model("topformer_tiny"), timm.create_model("mscsa_topformer_tiny")
    report = load_weights(segmenter("topformer_tiny", head), random_state(plain))
    assert ("extractor" in report.filled) == (head == "topformer_head")
    model = build_segmenter(head, "mscsa_topformer_tiny", 3)
    report = load_weights(model, random_state(with_mscsa))
    assert set(report.filled) == {"backbone", "mscsa"}
    # Its own extractor is no MSCSA.
    report = load_weights(model, random_state(plain))
    assert set(report.filled) == {"backbone"} and "mscsa" in report.new


@pytest.mark.parametrize(
    "name",
    quick_and_slow(sorted(REGISTERED), ("mscsa_resnet18", "mscsa_topformer_tiny", "mscsa_coat_tiny")),
)
def test_both_forms_of_every_registered_model_share_backbone_and_mscsa(name: str) -> None:
    with torch.device("meta"):
        classifier, pyramid = timm.create_model(name), timm.create_model(name, features_only=True)
        plain = timm.create_model(REGISTERED[name])
    for target, source in ((classifier, pyramid), (pyramid, classifier)):
        _, report = fit(target, source.state_dict(), POLICIES["backbone"], "x")
        assert set(report.filled) == {"backbone", "mscsa"} and not report.mismatched
    _, report = fit(classifier, plain.state_dict(), POLICIES["backbone"], "x")
    assert set(report.filled) == {"backbone"}


def test_a_classifier_of_other_classes_keeps_its_head_new() -> None:
    source, target = RESNET.build(num_classes=4), RESNET.build(num_classes=5)
    head = target.head.weight.clone()
    for policy in ("backbone", "new_head"):
        report = load_weights(target, source.state_dict(), policy=policy)  # type: ignore[arg-type]
        assert set(report.mismatched) == {"head.weight", "head.bias"} and report.new == {"head": 2}
        assert not report.unexpected and not report.missing and torch.equal(target.head.weight, head)
    one_line_error(
        lambda: load_weights(target, source.state_dict(), policy="exact"),
        r"head: 2 of another shape \(head.weight \(4, \d+\) instead of \(5, \d+\)",
    )


def test_a_plain_model_of_timm_is_filled_too() -> None:
    source, target = (timm.create_model("topformer_tiny", num_classes=n) for n in (10, 20))
    report = load_weights(target, random_state(source))
    assert (
        set(report.new) == {"head"}
        and report.filled["head"]
        and set(report.mismatched) == {"head.l.weight", "head.l.bias"}
    )


MISFITS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Mapping[str, Tensor]], str]] = {
    "a ResNet for PVTv2": (
        lambda: PVT.build(),
        lambda: timm.create_model("resnet10t").state_dict(),
        r"fills 0 of \d+ tensors of this model .*backbone: \d+ missing .*of another model",
    ),
    "a ResNet with MSCSA for PVTv2": (
        lambda: PVT.build(),
        lambda: RESNET.build().state_dict(),
        r"backbone: 1\d\d missing \(backbone.patch_embed",
    ),
    "other heads of MSCSA": (
        lambda: RESNET.build(num_heads=4),
        lambda: RESNET.build().state_dict(),
        r"mscsa: \d+ of another shape \(mscsa.blocks.0.csa1.qkv.weight \(\d+, \d+, 1, 1\) instead of \(\d+, ",
    ),
    "less depth": (
        lambda: RESNET.build(depth=2),
        lambda: RESNET.build().state_dict(),
        r"mscsa: \d+ missing \(mscsa.blocks.1",
    ),
    "more depth": (
        lambda: RESNET.build(),
        lambda: RESNET.build(depth=2).state_dict(),
        r"mscsa: \d+ unexpected \(mscsa.blocks.1",
    ),
    "a deeper backbone": (
        lambda: build_pyramid("resnet10t"),
        lambda: timm.create_model("resnet14t").state_dict() | {"layer1.1.conv1.weight": torch.zeros(1)},
        r"backbone: .*unexpected|backbone: .*missing|backbone: .*shape",
    ),
    "a backbone with more in its blocks": (
        lambda: build_pyramid("resnet10t"),
        lambda: {**timm.create_model("resnet10t").state_dict(), "layer1.0.se.fc1.weight": torch.zeros(3)},
        r"backbone: 1 unexpected \(layer1.0.se.fc1.weight\)",
    ),
    "a part of the backbone": (
        lambda: RESNET.build(),
        lambda: {k: v for k, v in RESNET.build().state_dict().items() if "layer4" not in k},
        r"backbone: \d+ missing \(backbone.layer4",
    ),
    "other channels of the image": (
        lambda: RESNET.build(in_chans=4),
        lambda: timm.create_model("resnet10t", in_chans=5).state_dict(),
        r"backbone.conv1.0.weight \(24, 5, 3, 3\) instead of \(24, 4, 3, 3\)",
    ),
    "another width of the head": (
        lambda: segmenter("resnet10t"),
        lambda: segmenter("resnet10t", fpn_channels=32).state_dict(),
        r"head: \d+ of another shape \(decode_head.fpn",
    ),
    "quantised weights": (
        lambda: RESNET.build(),
        lambda: {k: v.to(torch.int8) for k, v in RESNET.build().state_dict().items()},
        r"torch.int8 instead of torch.float32",
    ),
    "weights without values": (
        lambda: RESNET.build(),
        lambda: {key: value.to("meta") for key, value in RESNET.build().state_dict().items()},
        r"\(backbone.conv1.0.weight on the meta device, without values",
    ),
    "sparse weights": (
        lambda: RESNET.build(),
        lambda: {k: v.to_sparse() if v.ndim else v for k, v in RESNET.build().state_dict().items()},
        r"\(backbone.conv1.0.weight torch.sparse_coo instead of torch.strided",
    ),
    "nothing": (lambda: RESNET.build(), lambda: {"a": torch.zeros(1)}, r"fills 0 of \d+ tensors"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_and_changes_nothing(case: str) -> None:
    build, source, message = MISFITS[case]
    model = build()
    before = snapshot(model)
    one_line_error(lambda: load_weights(model, source()), message)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_no_part_is_filled_by_half() -> None:
    """A pyramid of other levels has another fusion, another detector another head: both stay new."""
    source = random_state(detector("mask_rcnn", "mscsa_resnet10t"))
    model = detector("retinanet", "mscsa_resnet10t")
    before = snapshot(model)
    report = load_weights(model, source)
    assert set(report.filled) == {"backbone", "mscsa"} and set(report.new) == {"fusion", "head"}
    now = model.state_dict()
    assert all(torch.equal(now[key], before[key]) for key in report.missing)
    whole = load_weights(detector("mask_rcnn", "mscsa_resnet10t"), source)
    assert set(whole.filled) == {"backbone", "mscsa", "fusion", "head"} and not whole.new


def test_a_head_that_lacks_something_stays_new_wholly() -> None:
    source, model = random_state(segmenter("resnet10t")), segmenter("resnet10t")
    assert not load_weights(model, source).new
    model = segmenter("resnet10t")
    before = snapshot(model)
    del source["decode_head.fpn.inner_blocks.0.0.weight"]
    report = load_weights(model, source)
    assert set(report.filled) == {"backbone"} and set(report.new) == {"head"}
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in report.missing)


def test_policies_are_kept_apart() -> None:
    model = RESNET.build(num_classes=3)
    state = random_state(model)
    assert not load_weights(model, state, policy="exact").new
    for key in ("backbone.bn1.weight", "mscsa.blocks.0.norm1.weight", "norm.weight", "head.weight"):
        less = {k: v for k, v in state.items() if k != key}
        one_line_error(lambda less=less: load_weights(model, less, policy="exact"), f"1 missing .{key}")
    more = {**state, "other.weight": torch.zeros(1)}
    one_line_error(lambda: load_weights(model, more, policy="exact"), r"1 unexpected \(other.weight\)")
    assert load_weights(model, more, policy="new_head").unexpected == ("other.weight",)
    headless = {k: v for k, v in state.items() if not k.startswith("head.")}
    assert load_weights(model, headless, policy="new_head").new == {"head": 2}
    plain = random_state(timm.create_model("resnet10t"))
    one_line_error(
        lambda: load_weights(model, plain, policy="new_head"), r"mscsa: \d+ missing .*; norm: 5 missing"
    )
    assert load_weights(model, plain, policy="backbone").new == {"mscsa": 85, "norm": 5, "head": 2}
    one_line_error(lambda: load_weights(model, plain, policy="lax"), "policy='lax' given")  # type: ignore[arg-type]


def test_what_stays_new_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain, path = timm.create_model("resnet10t"), tmp_path / "resnet.pth"
    torch.save({"state_dict": plain.state_dict(), "state_dict_ema": plain.state_dict()}, path)
    model = RESNET.build(features_only=True)
    with caplog.at_level(logging.WARNING, logger="mscsa"):
        load_weights(model, path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and record.name == "mscsa.checkpoints.loading"
    assert record.getMessage() == (
        f"{path} (its state_dict_ema; state_dict not used): filled backbone (84 tensors); "
        "new: mscsa (85 tensors), fusion (24 tensors)"
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mscsa"):
        load_weights(model, model.state_dict())
        load_weights(build_pyramid("resnet10t"), plain.state_dict())
    assert not caplog.records  # a classifier that a pyramid has no place for is no news


def test_values_that_are_not_finite_are_said_and_loaded(caplog: pytest.LogCaptureFixture) -> None:
    model = RESNET.build()
    state = random_state(model)
    state["norm.weight"][0] = float("nan")
    state["head.weight"][0] = float("inf")
    with caplog.at_level(logging.WARNING, logger="mscsa"):
        report = load_weights(model, state)
    assert report.not_finite == ("norm.weight", "head.weight")
    assert "2 with values that are not finite (norm.weight, head.weight)" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_other_precisions_become_the_models(dtype: torch.dtype) -> None:
    model = RESNET.build()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in random_state(model).items()}
    assert not load_weights(model, state, policy="exact").new
    now = model.state_dict()
    assert all(
        now[key].dtype == (torch.float32 if v.is_floating_point() else v.dtype) for key, v in state.items()
    )
    assert torch.equal(now["head.weight"], state["head.weight"].float())


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "net.model.", "model._orig_mod."]
)
@pytest.mark.parametrize("policy", ["exact", "new_head", "backbone"])
def test_prefixes_of_training_code(prefix: str, policy: Any) -> None:
    model = RESNET.build(num_classes=3)
    state = {prefix + key: value for key, value in random_state(model).items()}
    report = load_weights(model, state, policy=policy)
    assert len(report.matched) == len(state)
    plain = {prefix + key: value for key, value in timm.create_model("resnet10t").state_dict().items()}
    assert load_weights(model, plain).filled == {"backbone": 84}


def test_a_model_within_what_training_wraps_it_in_is_filled() -> None:
    model = RESNET.build()
    state = random_state(model)
    load_weights(nn.DataParallel(model), state, policy="exact")
    assert torch.equal(model.head.weight, state["head.weight"])


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight


def test_one_name_of_a_shared_weight_is_enough() -> None:
    state = {"second.weight": torch.eye(2), "first.bias": torch.ones(2), "second.bias": torch.ones(2)}
    model = Tied()
    report = load_weights(model, state, policy="exact")
    assert not report.missing and torch.equal(model.first.weight, torch.eye(2))
    del state["second.weight"]
    one_line_error(lambda: load_weights(model, state), "2 missing .first.weight, second.weight")


class Newer(nn.Module):
    """Has a value that older files lack, and supplies it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}layer.bias", torch.full((2,), 7.0))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Loader(nn.Module):
    """Holds a module of a newer version."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Newer()
        self.other = nn.Linear(2, 2)


def test_what_a_module_supplies_for_old_files_is_not_missing() -> None:
    """Counters of batch norms, which files of old versions of torch lack, are of this kind."""
    model = Loader()
    state = random_state(model)
    old = {k: v for k, v in state.items() if k not in ("inner.layer.bias", "inner.norm.num_batches_tracked")}
    report = load_weights(model, old, policy="exact")
    assert not report.missing and model.inner.layer.bias.tolist() == [7, 7]
    del old["other.bias"]  # control: which no module supplies
    one_line_error(lambda: load_weights(model, old, policy="exact"), r"1 missing \(other.bias\)")


def test_models_without_data_are_refused() -> None:
    with torch.device("meta"):
        model = RESNET.build()
    message = one_line_error(
        lambda: load_weights(model, RESNET.build().state_dict()), "on the meta device, .*build it on the CPU"
    )
    assert "to_empty would leave" in message  # position indices of a Swin are in no file


def test_a_changed_pooling_stride_loads() -> None:
    """Dense recipes start from a classifier with finer tokens (CoaT: 1/16 to 1/32)."""
    fine, coarse = PVT.build(pool_stride=16), PVT.build(features_only=True, pool_stride=64)
    report = load_weights(coarse, fine.state_dict())
    assert set(report.new) == {"fusion"} and set(report.filled) == {"backbone", "mscsa"}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_starts_a_detector_of_other_classes(name: str, tmp_path: Path) -> None:
    first, second = detector(name, "mscsa_resnet10t"), detector(name, "mscsa_resnet10t", num_classes=1000)
    state = random_state(first)
    save_weights(state, tmp_path / "first.safetensors")
    new = snapshot(second)
    report = load_weights(second, tmp_path / "first.safetensors", policy="new_head")
    assert not report.missing and not report.unexpected and report.mismatched
    of_classes = ("cls_score", "bbox_pred", "mask_fcn_logits", "cls_logits", "class_embed")
    assert all(any(part in key for part in of_classes) for key in report.mismatched)
    now = second.state_dict()
    assert all(torch.equal(now[key], state[key]) for key in report.matched)
    assert all(torch.equal(now[key], new[key]) for key in report.mismatched)


def test_a_segmenter_starts_a_segmenter_of_other_classes() -> None:
    first, second = (segmenter("mscsa_resnet10t", num_classes=n) for n in (5, 7))
    report = load_weights(second, random_state(first), policy="new_head")
    assert set(report.mismatched) == {"decode_head.classifier.weight", "decode_head.classifier.bias"}
    assert not report.missing and not report.unexpected


def test_a_file_of_a_detector_gives_its_detections_again(tmp_path: Path) -> None:
    """Deformable DETR's layers share their heads, which are written once for each."""
    model, other = small("deformable_detr"), small("deformable_detr")
    wake(model)
    save_weights(model, tmp_path / "detector.safetensors")
    load_weights(other, tmp_path / "detector.safetensors", policy="exact")
    with torch.inference_mode():
        (one,), (two,) = (each.eval()([scene(64, 64, 1)[0]]) for each in (model, other))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_loaded_model_gives_the_same_outputs(tmp_path: Path) -> None:
    model, path = PVT.build(num_classes=3).eval(), tmp_path / "w.safetensors"
    mscsa.save_weights(model, path, {"classes": "a,b,c"})
    other = PVT.build(num_classes=3).eval()
    nn.init.ones_(other.head.weight)
    mscsa.load_weights(other, path, policy="exact")
    assert torch.equal(other(PVT.image()), model(PVT.image()))


def test_a_pyramid_without_its_deepest_level_starts_from_the_whole() -> None:
    model = BackbonePyramid(timm.create_model("test_convnext"), out_indices=[1, 2])
    report = load_weights(model, timm.create_model("test_convnext").state_dict())
    assert not report.missing and any(key.startswith("stages.3.") for key in report.unexpected)
