"""The contract that all four detectors share, with and without MSCSA."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.detection import MaskRCNN, RetinaNet

from mscsa.attention import MSCSA
from mscsa.detection import Detector, build_detector
from mscsa.errors import UserError
from tests.attention.weights import wake_fusions
from tests.detection.small import (
    BACKBONES,
    DETECTORS,
    OPTIONS,
    VARIANTS,
    K,
    batch,
    fresh,
    scene,
    small,
    wake,
)

ALL = [(name, backbone) for name in VARIANTS for backbone in BACKBONES]
SIZES = ((97, 131, 2), (64, 96, 0))  # mixed, one without objects


def losses_of(model: Detector, *shapes: tuple[int, int, int]) -> dict[str, Tensor]:
    images, targets = batch(*shapes, dtype=next(model.parameters()).dtype)
    torch.manual_seed(3)
    return model(images, targets)


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize(("name", "backbone"), ALL)
def test_every_parameter_learns(name: str, backbone: str) -> None:
    """No parameter is left out, which DDP would wait for; and none but the known gets a gradient of 0."""
    model = fresh(name, backbone)
    wake(model)
    loss = total(losses_of(model.double(), *SIZES))
    assert loss.isfinite()
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert not [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()]
    dead = {name for name, grad in gradients.items() if grad is not None and grad.abs().max() <= 1e-12}
    # A shift of all keys alike changes no attention; a squeeze's bias is cancelled by the next norm.
    cancelled = re.compile(r"self_attn\.k_proj\.bias$|squeezes\.\d+\.1\.bias$")
    assert {name for name in dead if not cancelled.search(name)} == set()


@pytest.mark.parametrize(("name", "backbone"), ALL)
def test_a_batch_without_any_object_trains(name: str, backbone: str) -> None:
    model = fresh(name, backbone)
    losses = losses_of(model, (97, 131, 0), (64, 96, 0))
    loss = total(losses)
    assert loss.isfinite()
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in gradients)
    of_boxes = [value for key, value in losses.items() if "box" in key or "mask" in key or "giou" in key]
    assert of_boxes and all(value == 0 for value in of_boxes)
    assert loss > 0  # that there is nothing is to be learned too


@pytest.mark.parametrize("name", VARIANTS)
def test_detections_lie_in_their_image(name: str) -> None:
    model = fresh(name, "mscsa_test_resnet").eval()
    wake(model)
    sizes = [(97, 131), (33, 150), (160, 40), (32, 32)]
    with torch.inference_mode():
        found = model([scene(height, width, 1)[0] for height, width in sizes])
    assert len(found) == len(sizes)
    for (height, width), each in zip(sizes, found, strict=True):
        boxes, labels, scores = each["boxes"], each["labels"], each["scores"]
        count = len(labels)
        assert 0 < count <= model.detections_per_img == 5
        assert boxes.shape == (count, 4) and scores.shape == labels.shape == (count,)
        assert labels.dtype == torch.int64 and labels.min() >= 1 and labels.max() <= K
        assert (scores.diff() <= 0).all() and scores.min() >= 0 and scores.max() <= 1
        assert (boxes[:, 2:] >= boxes[:, :2]).all() and boxes.min() >= 0
        assert boxes[:, 2].max() <= width and boxes[:, 3].max() <= height
        assert ("masks" in each) == model.has_masks
        if model.has_masks:
            assert each["masks"].shape == (count, 1, height, width)
            assert each["masks"].min() >= 0 and each["masks"].max() <= 1


@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_mask_rcnn", "retinanet"])
def test_nothing_found_has_the_shapes_too(name: str) -> None:
    model = small(name, score_thresh=0.999).eval()
    with torch.inference_mode():
        (found,) = model([torch.rand(3, 50, 70)])
    assert found["boxes"].shape == (0, 4) and found["labels"].shape == found["scores"].shape == (0,)
    assert found["labels"].dtype == torch.int64
    assert not model.has_masks or found["masks"].shape == (0, 1, 50, 70)


def favour(model: Detector, label: int) -> None:
    """Bias the classification towards the class that the public contract calls `label`."""
    net = model.net
    if isinstance(net, RetinaNet):
        biases = [net.head.classification_head.cls_logits.bias.view(-1, K)[:, label - 1]]
    elif isinstance(net, MaskRCNN):
        stages = getattr(net.roi_heads, "stages", [net.roi_heads])
        biases = [stage.box_predictor.cls_score.bias[label] for stage in stages]  # 0 is the background
    else:
        biases = [layer.bias[label - 1] for layer in net.transformer.class_embed]
    with torch.no_grad():
        for bias in biases:
            bias += 8.0


@pytest.mark.parametrize("name", DETECTORS)
def test_labels_go_in_and_come_out_as_1_to_k(name: str) -> None:
    """A model whose biases are sure of one class says its label, and has the least loss with it."""
    model = fresh(name)
    images, targets = batch((96, 96, 3))
    for label in (1, K):
        sure = copy.deepcopy(model)
        favour(sure, label)
        losses = {}
        for given in range(1, K + 1):
            torch.manual_seed(3)
            with torch.no_grad():
                found = sure(images, [{**targets[0], "labels": torch.full((3,), given)}])
            losses[given] = sum(float(v) for k, v in found.items() if "class" in k or "ce_" in k)
        assert min(losses, key=losses.__getitem__) == label
        with torch.inference_mode():
            (found,) = sure.eval()(images)
        assert set(found["labels"].tolist()) == {label}


@pytest.mark.parametrize("name", DETECTORS)
def test_an_odd_size_is_padded_to_the_last_bit(name: str) -> None:
    """The pyramid sees the image normalised, with 0 on the right and below up to a multiple of 32."""
    model = fresh(name, "mscsa_test_resnet").eval()
    image, _ = scene(97, 131, 2)
    seen: list[Tensor] = []
    model.pyramid.register_forward_hook(lambda _m, _i, maps: seen.extend(maps))
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    by_hand = torch.zeros(1, 3, 128, 160)
    by_hand[0, :, :97, :131] = (image - mean) / std
    with torch.inference_mode():
        model([image])
        ours, seen = list(seen), []
        maps = model.pyramid(by_hand)
    assert len(ours) == len(maps)
    assert all(torch.equal(a, b) for a, b in zip(ours, maps, strict=True))


@pytest.mark.parametrize("name", DETECTORS)
def test_normalised_images_are_taken_as_they_are(name: str) -> None:
    model = fresh(name).eval()
    image, _ = scene(64, 96, 2)
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    with torch.inference_mode():
        (expected,) = model([image])
        model.take_normalized()
        (found,) = model([(image - mean) / std])
    assert len(expected["boxes"])
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_tensor_of_images_is_a_list_of_them(name: str) -> None:
    model = fresh(name).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        for one, other in zip(model(images), model(list(images)), strict=True):
            assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("name", DETECTORS)
def test_what_came_before_changes_nothing(name: str) -> None:
    """torchvision keeps the strides that it guesses from the first image it sees."""
    first, second = fresh(name).eval(), fresh(name).eval()
    image, _ = scene(97, 131, 2)
    with torch.inference_mode():
        first([torch.rand(3, 33, 33)])  # padded to twice its size
        (one,), (other,) = first([image]), second([image])
    assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_state_dict_tells_all(name: str) -> None:
    model = fresh(name, "mscsa_test_resnet")
    wake(model)
    losses_of(model, *SIZES)  # moves the statistics of batch norms
    torch.manual_seed(1)
    other = small(name, "mscsa_test_resnet")
    wake(other, 0.3)
    state = model.state_dict()
    other.load_state_dict(state, strict=True)
    image, _ = scene(97, 131, 2)
    with torch.inference_mode():
        (one,), (two,) = model.eval()([image]), other.eval()([image])
    assert all(torch.equal(one[key], two[key]) for key in one)
    key = next(key for key in state if "input_proj" in key or "fpn" in key)
    del state[key]
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(state, strict=True)


@pytest.mark.parametrize("name", DETECTORS)
def test_mscsa_reads_all_stages_and_fuses_what_is_taken(name: str) -> None:
    model = fresh(name, "mscsa_test_resnet").eval()
    mscsa = next(module for module in model.modules() if isinstance(module, MSCSA))
    strides = [int(each) for each in model.pyramid.feature_info.reduction()]
    assert strides == ([4, 8, 16, 32] if model.has_masks else [8, 16, 32])
    assert mscsa.strides == (4, 8, 16, 32)
    assert [int(level) for level in model.pyramid.fusion.levels] == list(range(4))[-len(strides) :]
    wake(model.net)  # heads that do not look at the maps would hide it
    image, _ = scene(97, 131, 2)
    with torch.inference_mode():
        (before,) = model([image])
        for parameter in mscsa.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        (after,) = model([image])
    assert (
        after["boxes"].shape != before["boxes"].shape or (after["boxes"] - before["boxes"]).abs().max() > 1e-3
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_checkpointed_gradients_are_the_same(name: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = fresh(name, "mscsa_test_resnet").double()
        wake(model)
        model.set_grad_checkpointing(checkpointing)
        total(losses_of(model, (64, 96, 2))).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert any(grad.abs().max() > 1e-6 for grad in gradients[0])
    assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", DETECTORS)
def test_names_for_the_optimiser_are_the_models_own(name: str) -> None:
    with torch.device("meta"):
        model = build_detector(name, "mscsa_swin_tiny_patch4_window7_224", K)
    names = [name for name, _ in model.named_parameters()]
    spared = model.no_weight_decay()
    assert spared and spared <= set(names)
    assert all("relative_position_bias_table" in each for each in spared)
    head = [each for each in names if each.startswith(model.head_prefixes)]
    rest = set(names) - set(head)
    of_pyramid = {each for each in names if each.startswith(model.body)}
    assert len(of_pyramid) == len(list(model.pyramid.parameters())) and of_pyramid <= rest
    slow = {each for each in rest - of_pyramid}
    # Deformable DETR's own training gives these a tenth of the rate too.
    parts = ("sampling_offsets", "reference_points")
    assert slow == {each for each in names if name == "deformable_detr" and any(p in each for p in parts)}
    assert bool(slow) == (name == "deformable_detr")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("mask_rcnn", "deformable_detr") else pytest.mark.slow)
        for name in VARIANTS
    ],
)
def test_autocast_keeps_boxes_precise(name: str) -> None:
    """In bfloat16 a coordinate has 8 bits: boxes would lie on multiples of 1 px from 128 on."""
    light = {"pool_stride": 16, "head_dim": 8, "squeeze_ratio": 0.25}  # bfloat16 is slow on a CPU
    model = small(name, "mscsa_test_resnet", fields=light)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, (97, 131, 2), (64, 160, 1))
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    total(losses).backward()
    wake(model.eval())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = model([scene(97, 131, 2)[0], scene(64, 160, 1)[0]])
    for each in found:
        assert each["boxes"].dtype == each["scores"].dtype == torch.float32
        inside = each["boxes"][(each["boxes"] > 1) & (each["boxes"] < 63)]
        assert len(inside) and not torch.equal(inside, inside.bfloat16().float())


MODES = [("frozen", "live"), ("live", "frozen"), ("frozen", "frozen"), ("live", "live")]


def norms_of(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: each for name, each in model.named_modules() if isinstance(each, _BatchNorm)}


def parts(model: Detector) -> dict[str, set[str]]:
    body = model.body.removesuffix(".")
    names = norms_of(model)
    return {
        "backbone": {name for name in names if name.startswith(f"{body}.backbone.")},
        "mscsa": {name for name in names if name.startswith((f"{body}.mscsa.", f"{body}.fusion."))},
    }


def assert_modes(model: Detector, backbone: str, mscsa: str) -> None:
    frozen = {"backbone": backbone == "frozen", "mscsa": mscsa == "frozen"}
    norms = norms_of(model)
    found = parts(model)
    assert all(found.values()) and found["backbone"] | found["mscsa"] == set(norms)
    for part, names in found.items():
        assert {norms[name].training for name in names} == {not frozen[part]}, part


@pytest.mark.parametrize(("backbone", "mscsa"), MODES)
@pytest.mark.parametrize("name", DETECTORS)
def test_modes_of_norms_last(name: str, backbone: str, mscsa: str) -> None:
    with torch.device("meta"):
        model = small(name, "mscsa_test_resnet", backbone_norm=backbone, mscsa_norm=mscsa)
    assert_modes(model, backbone, mscsa)
    assert model.training
    model.eval()
    assert not any(each.training for each in norms_of(model).values())
    model.train()
    assert_modes(model, backbone, mscsa)
    # All else trains, and so do the parameters of frozen norms, as in MMDetection's norm_eval.
    others = [each for each in model.modules() if not isinstance(each, _BatchNorm)]
    assert all(each.training for each in others)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", DETECTORS)
def test_the_backbone_is_frozen_and_mscsa_live_by_default(name: str) -> None:
    with torch.device("meta"):
        model = build_detector(name, "mscsa_test_resnet", K, **OPTIONS[name])
        plain = build_detector(name, "test_resnet", K, **OPTIONS[name])
    assert_modes(model, "frozen", "live")
    assert norms_of(plain) and not any(each.training for each in norms_of(plain).values())


@pytest.mark.parametrize("name", DETECTORS)
def test_a_step_moves_the_statistics_of_live_norms_alone(name: str) -> None:
    model = small(name, "mscsa_test_resnet", backbone_norm="frozen")
    wake_fusions(model)
    before = {key: each.running_mean.clone() for key, each in norms_of(model).items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    images, targets = batch((64, 96, 1), (96, 64, 2))
    sum(model(images, targets).values()).backward()
    optimizer.step()
    norms = norms_of(model)
    same = {key for key, mean in before.items() if torch.equal(norms[key].running_mean, mean)}
    assert same == parts(model)["backbone"]
    assert all(norms[key].num_batches_tracked == 0 for key in same)
    assert any(norms[key].weight.grad.abs().max() > 0 for key in same)


@pytest.mark.parametrize("name", DETECTORS)
def test_synchronised_norms_keep_the_modes(name: str) -> None:
    with torch.device("meta"):
        model = small(name, "mscsa_test_resnet", backbone_norm="frozen")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted, Detector)
    assert all(isinstance(each, nn.SyncBatchNorm) for each in norms_of(converted).values())
    converted.eval()
    converted.train()
    assert_modes(converted, "frozen", "live")


TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "no boxes": ({"boxes": None}, "target 1 has no boxes: give boxes, labels"),
    "no labels": ({"labels": None}, "target 1 has no labels"),
    "label 0": (
        {"labels": torch.tensor([0, 1])},
        f"labels from 0 to 1: give 1 to {K}; 0 is what is no object",
    ),
    "label K+1": ({"labels": torch.tensor([1, K + 1])}, f"labels from 1 to {K + 1}: give 1 to {K}"),
    "float labels": ({"labels": torch.tensor([1.0, 2.0])}, r"labels of shape \(2,\) and torch.float32: give"),
    "labels of rank 2": ({"labels": torch.ones(2, 1, dtype=torch.int64)}, r"labels of shape \(2, 1\)"),
    "list": ({"labels": [1, 2]}, "labels of type list: give a tensor"),
    "no width": (
        {"boxes": torch.tensor([[5.0, 5, 5, 9], [0, 0, 9, 9]])},
        "a box without width or height.*give x1 < x2 and y1 < y2",
    ),
    "negative height": (
        {"boxes": torch.tensor([[5.0, 9, 9, 5], [0, 0, 9, 9]])},
        "a box without width or height",
    ),
    "no number": ({"boxes": torch.tensor([[5.0, 5, torch.inf, 9], [0, 0, 9, 9]])}, "or of no number"),
    "box shape": ({"boxes": torch.rand(2, 5)}, r"boxes of shape \(2, 5\) for 2 labels: give \(N, 4\)"),
    "box count": ({"boxes": torch.tensor([[1.0, 1, 9, 9]])}, r"boxes of shape \(1, 4\) for 2 labels"),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("name", DETECTORS)
def test_targets_that_cannot_be(name: str, case: str) -> None:
    changes, message = TARGETS[case]
    images, targets = batch((64, 64, 1), (64, 64, 2))
    changed = {**targets[1], **changes}
    targets[1] = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(UserError, match=message) as caught:
        fresh(name)(images, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_mask_rcnn"])
def test_masks_that_do_not_fit(name: str) -> None:
    model = fresh(name)
    images, (target,) = batch((64, 48, 2))
    without = {key: target[key] for key in ("boxes", "labels")}
    with pytest.raises(UserError, match="target 0 has no masks: give boxes, labels, masks"):
        model(images, [without])
    for masks in (target["masks"][:1], target["masks"][:, :32], target["masks"].mT, target["masks"][:, None]):
        with pytest.raises(
            UserError, match=r"masks of shape .*: give \(2, 64, 48\), one for each box"
        ) as caught:
            model(images, [{**target, "masks": masks}])
        assert "\n" not in str(caught.value)
    masks = target["masks"].to(torch.uint8)
    with pytest.raises(
        UserError, match="target 0 has masks of values beyond 0 to 1: divide those of 0 and 255"
    ):
        model(images, [{**target, "masks": 255 * masks}])
    assert total(model(images, [{**target, "masks": masks}])).isfinite()
    assert fresh("retinanet")(images, [without])["classification"].isfinite()  # which has none


@pytest.mark.parametrize("name", DETECTORS)
def test_each_image_needs_a_target(name: str) -> None:
    model = fresh(name)
    images, targets = batch((64, 64, 1), (64, 64, 2))
    with pytest.raises(UserError, match="2 images with none targets: training needs one for each image"):
        model(images)
    with pytest.raises(UserError, match="2 images with 1 targets"):
        model(images, targets[:1])
    with pytest.raises(UserError, match="2 images with 3 targets"):
        model(images, 3)
    for wrong in (None, targets[1]["boxes"], list(targets[1].values())):
        with pytest.raises(UserError, match="target 1 is of <class .*: give a dictionary of boxes, lab"):
            model(images, [targets[0], wrong])


@pytest.mark.parametrize("name", DETECTORS)
def test_one_tiny_image_cannot_be_averaged_over(name: str) -> None:
    images, targets = batch((32, 32, 1))
    with pytest.raises(UserError, match="one image this small gives a map of 1x1.*more per batch") as caught:
        fresh(name)(images, targets)
    assert "\n" not in str(caught.value)
    for backbone in ("test_resnet", "mscsa_test_resnet"):
        fields = {"fields": {"pool_stride": 32}} if backbone.startswith("mscsa_") else {}
        model = small(name, backbone, backbone_norm="frozen", mscsa_norm="frozen", **fields).train()
        assert all(value.isfinite() for value in model(images, targets).values())


@pytest.mark.parametrize("mode", ["live", "frozen"])
def test_mscsa_norm_is_the_mode_of_any_neck(mode: Any) -> None:
    model = build_detector(
        "retinanet",
        "test_resnet",
        3,
        fpn_channels=8,
        neck="pafpn",
        neck_config={"channels": 8},
        mscsa_norm=mode,
    ).train()
    norms = [m for m in model.pyramid.neck.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(norm.training == (mode == "live") for norm in norms)
    assert not any(m.training for m in model.pyramid.backbone.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("image", "given"),
    [
        (torch.zeros(3, 64, 64, dtype=torch.uint8), r"\(3, 64, 64\), torch.uint8"),
        (torch.zeros(4, 64, 64), r"\(4, 64, 64\), torch.float32"),
        (torch.zeros(64, 64), r"\(64, 64\)"),
    ],
)
def test_images_of_another_kind_are_one_line(image: Tensor, given: str, training: bool) -> None:
    model = small("retinanet", "test_resnet").train(training)
    _, targets = batch((64, 64, 1))
    with pytest.raises(UserError, match=f"image 0 is {given}.*: give \\(3, H, W\\), floats in 0..1"):
        model([image], targets) if training else model([image])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], r"^no images given: give a list of tensors \(3, H, W\), one or more$"),
        (torch.zeros(0, 3, 32, 32), "^no images given"),
        (torch.tensor(1.0), "^a value of .*Tensor.* for images given: give a list of tensors"),
        (None, "^a value of .*NoneType.* for images given: give a list of tensors"),
        ([3], r"^image 0 is of .*int.*: give a tensor \(3, H, W\)$"),
    ],
)
@pytest.mark.parametrize("is_training", [False, True])
def test_what_is_no_image_is_one_line(images: Any, message: str, is_training: bool) -> None:
    model = small("retinanet").train(is_training)
    with pytest.raises(UserError, match=message):
        model(images, []) if is_training else model(images)
