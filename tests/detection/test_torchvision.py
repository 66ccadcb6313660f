"""The parts that come from torchvision, against torchvision's own detectors and the papers' settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from mscsa.detection import Detector, build_detector
from mscsa.detection.boxes import Anchors
from mscsa.detection.fpn import CoarserFromC5
from mscsa.errors import UserError
from mscsa.models.build import build_pyramid
from tests.detection.small import K, batch, fresh, small, wake

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))


def of_torchvision(model: Detector) -> nn.Module:
    """Put the layers of a detector under torchvision's own transform, anchors and pooling."""
    net, cfg = model.net, model.pretrained_cfg
    image = dict(min_size=128, max_size=128, image_mean=list(cfg["mean"]), image_std=list(cfg["std"]))
    image |= dict(_skip_resize=True)  # in training, where it would draw a size
    if isinstance(net, RetinaNet):
        sizes = tuple(tuple(4 * stride * octave for octave in OCTAVES) for stride in (8, 16, 32, 64, 128))
        anchors = AnchorGenerator(sizes, (RATIOS,) * 5)
        limits = dict(score_thresh=net.score_thresh, detections_per_img=net.detections_per_img)
        return RetinaNet(net.backbone, K, anchor_generator=anchors, head=net.head, **image, **limits)
    heads = net.roi_heads
    reference = MaskRCNN(
        net.backbone,
        rpn_anchor_generator=AnchorGenerator(
            tuple((8 * stride,) for stride in (4, 8, 16, 32, 64)), (RATIOS,) * 5
        ),
        rpn_head=net.rpn.head,
        rpn_post_nms_top_n_train=24,
        rpn_post_nms_top_n_test=24,
        box_head=heads.box_head,
        box_predictor=heads.box_predictor,
        box_score_thresh=heads.score_thresh,
        box_detections_per_img=heads.detections_per_img,
        mask_head=heads.mask_head,
        mask_predictor=heads.mask_predictor,
        **image,
    )
    return reference


@pytest.mark.parametrize("name", ["mask_rcnn", "retinanet"])
def test_equal_to_torchvision_where_its_guesses_are_right(name: str) -> None:
    """At 128 px no size is rounded: anchors, pooling, losses and detections are torchvision's own."""
    model = fresh(name, "mscsa_resnet10t")
    wake(model, 0.02)
    reference = of_torchvision(model)
    images, targets = batch((128, 128, 3), (128, 128, 2))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(1)
    ours = model(images, targets)
    model.load_state_dict(state)  # both move the same statistics
    torch.manual_seed(1)
    shift = 1 - model.first_label
    theirs = reference.train()(images, [{**each, "labels": each["labels"] - shift} for each in targets])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) and ours[key] > 0 for key in theirs)
    with torch.inference_mode():
        found, expected = model.eval()(images), reference.eval()(images)
    for one, other in zip(found, expected, strict=True):
        assert len(one["boxes"]) == 5
        assert torch.equal(one["labels"], other["labels"] + shift)
        assert all(torch.equal(one[key], other[key]) for key in ("boxes", "scores"))
        assert not model.has_masks or torch.equal(one["masks"], other["masks"])


def test_anchors_stand_at_the_levels_strides() -> None:
    """On 800 x 1344 px the 13 rows of stride 64 are 64 px apart; torchvision says 61."""
    strides, sizes = (16, 32, 64), ([32.0, 48.0], [64.0], [128.0])
    anchors = Anchors(strides, sizes, RATIOS)
    image = ImageList(torch.zeros(2, 3, 800, 1344), [(800, 1333), (790, 1344)])
    maps = [torch.zeros(2, 1, -(-800 // stride), -(-1344 // stride)) for stride in strides]
    first, second = anchors(image, maps)
    assert torch.equal(first, second)
    expected = [
        (x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2)
        for stride, level in zip(strides, sizes, strict=True)
        for y in range(-(-800 // stride))
        for x in range(-(-1344 // stride))
        for ratio in RATIOS
        for size in level
        for w, h in [(size / ratio**0.5, size * ratio**0.5)]
    ]
    assert (first - torch.tensor(expected)).abs().max() <= 0.5 + 1e-4  # torchvision rounds them to pixels
    assert anchors.num_anchors_per_location() == [6, 3, 3]
    assert anchors(image, [each.bfloat16() for each in maps])[0].dtype == torch.float32
    assert anchors(image, [each.double() for each in maps])[0].dtype == torch.float64


def test_the_standard_anchors_and_limits() -> None:
    with torch.device("meta"):
        two_stage: Any = build_detector("mask_rcnn", "resnet18", 80).net
        cascade: Any = build_detector("cascade_mask_rcnn", "resnet18", 80).net
        one_stage: Any = build_detector("retinanet", "resnet18", 80).net
    for net in (two_stage, cascade):
        anchors = net.rpn.anchor_generator
        assert anchors.strides == (4, 8, 16, 32, 64)
        assert anchors.sizes == ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
        assert anchors.aspect_ratios == (RATIOS,) * 5
        assert net.rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
        assert (net.rpn.nms_thresh, net.rpn.fg_bg_sampler.batch_size_per_image) == (0.7, 256)
        assert net.rpn.proposal_matcher.high_threshold == 0.7
        assert net.rpn.proposal_matcher.low_threshold == 0.3
    assert two_stage.rpn._post_nms_top_n == {"training": 1000, "testing": 1000}
    assert cascade.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}
    anchors = one_stage.anchor_generator
    assert anchors.strides == (8, 16, 32, 64, 128)
    assert anchors.sizes[0] == tuple(32 * octave for octave in OCTAVES)
    assert anchors.sizes[-1] == tuple(512 * octave for octave in OCTAVES)
    assert (one_stage.proposal_matcher.high_threshold, one_stage.proposal_matcher.low_threshold) == (0.5, 0.4)
    for net in (two_stage.roi_heads, *cascade.roi_heads.stages, one_stage):
        assert (net.score_thresh, net.nms_thresh, net.detections_per_img) == (0.05, 0.5, 100)
    pool = two_stage.roi_heads.box_roi_pool
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    # Feature Pyramid Networks, eq. (1): 224 px to stride 16.
    squares = [torch.tensor([[0.0, 0.0, side, side]]) for side in (10, 111, 113, 223, 225, 447, 449, 2000)]
    assert pool.map_levels(squares).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_p6_comes_from_c5_whatever_its_channels() -> None:
    """torchvision takes P5 where it has as many channels: PVTv2-B0's C5 has the FPN's usual 256."""
    p5, c5 = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    coarser = CoarserFromC5(8, 8)
    (_, p6, p7), names = coarser([p5], [c5], ["2"])
    assert names == ["2", "p6", "p7"]
    assert torch.equal(p6, coarser.p6(c5)) and not torch.equal(p6, coarser.p6(p5))
    assert torch.equal(p7, coarser.p7(p6.relu()))
    net: Any = small("retinanet", "pvt_v2_b0", fpn_channels=256).net
    assert net.backbone.fpn.extra_blocks.p6.in_channels == 256
    assert not net.backbone.fpn.extra_blocks.use_P5


@pytest.mark.parametrize(("norm", "kind"), [("none", None), ("bn", nn.BatchNorm2d), ("gn", nn.GroupNorm)])
@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_mask_rcnn", "retinanet"])
def test_norms_of_fpn_and_heads(name: str, norm: str, kind: type[nn.Module] | None) -> None:
    """They stand where they are asked for, and let images without objects through."""
    model = small(name, fpn_channels=32, fpn_norm=norm, head_norm=norm, detections_per_img=2)
    net: Any = model.net
    heads = {"retinanet": ["head"], "mask_rcnn": ["roi_heads"], "cascade_mask_rcnn": ["roi_heads"]}[name]
    for part in (net.backbone.fpn, *(getattr(net, each) for each in heads)):
        norms = [each for each in part.modules() if isinstance(each, (nn.BatchNorm2d, nn.GroupNorm))]
        assert all(kind is not None and isinstance(each, kind) for each in norms)
        assert bool(norms) == (kind is not None)
    images, targets = batch((64, 64, 0), (64, 96, 0))
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.inference_mode():
        found = model.eval()(images)
    assert all(each["boxes"].isfinite().all() for each in found)


@pytest.mark.parametrize("name", ["mask_rcnn", "retinanet"])
def test_a_layer_norm_on_each_level(name: str) -> None:
    """Swin and ConvNeXt end their stages without a norm; their public detectors put one on each map."""
    model = small(name, "convnext_atto", level_norm=True)
    plain = small(name, "convnext_atto")
    norms = model.net.backbone.norms
    channels = model.pyramid.feature_info.channels()
    assert [tuple(each.weight.shape) for each in norms] == [(each,) for each in channels]
    assert not list(plain.net.backbone.norms.parameters())
    seen: list[torch.Tensor] = []
    model.net.backbone.fpn.register_forward_pre_hook(lambda _m, args: seen.extend(args[0].values()))
    with torch.inference_mode():
        model.eval()([torch.rand(3, 64, 64)])
    assert len(seen) == len(channels)
    for each in seen:  # over the channels of each place
        assert each.mean(dim=1).abs().max() < 1e-4
        assert (each.var(dim=1, unbiased=False) - 1).abs().max() < 1e-2


def test_strides_that_do_not_double_are_refused() -> None:
    pyramid = build_pyramid("resnet10t", strides=(4, 16, 32))
    with pytest.raises(UserError, match=r"strides double, the backbone gives \[4, 16, 32\]"):
        build_detector("mask_rcnn", pyramid, 3)
    shallow = build_detector("mask_rcnn", build_pyramid("resnet10t", strides=(8, 16)), 3, fpn_channels=16)
    assert shallow.net.rpn.anchor_generator.strides == (8, 16, 32)
    images, targets = batch((64, 64, 1))
    assert all(value.isfinite() for value in shallow(images, targets).values())
