"""What stands between a pyramid and torchvision's detectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mscsa.detection.fpn import BatchImages, TwoCoarser, norm_layer
from mscsa.errors import UserError
from mscsa.models import build_pyramid
from tests.detection.small import batch, small
from tests.refusals import one_line_error


def test_images_are_normalised_and_padded_never_resized() -> None:
    transform = BatchImages.of(build_pyramid("test_resnet", strides=(8, 16)))
    images = [torch.rand(3, 33, 50), torch.rand(3, 17, 16)]
    batched, _ = transform(images)
    assert batched.image_sizes == [(33, 50), (17, 16)]
    assert batched.tensors.shape == (2, 3, 48, 64)  # multiples of 16
    mean, std = (torch.tensor(each)[:, None, None] for each in (transform.image_mean, transform.image_std))
    assert torch.equal(batched.tensors[0, :, :33, :50], (images[0] - mean) / std)
    assert not batched.tensors[1, :, 17:].any() and not batched.tensors[1, :, :, 16:].any()


def test_a_norm_that_there_is_not_is_one_line() -> None:
    with pytest.raises(UserError, match="norm 'layer' given: choose one of none, bn, gn"):
        norm_layer("layer")  # type: ignore[arg-type]
    group_norm = norm_layer("gn")
    assert group_norm is not None
    with pytest.raises(UserError, match="gn on 16 channels.*multiple of 32"):
        group_norm(16)


def test_p6_comes_from_c5_whatever_its_channels() -> None:
    """torchvision takes P5 where it has as many channels: PVTv2-B0's C5 has the FPN's usual 256."""
    p5, c5 = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    coarser = TwoCoarser(8, 8)
    (_, p6, p7), names = coarser([p5], [c5], ["2"])
    assert names == ["2", "p6", "p7"]
    assert torch.equal(p6, coarser.p6(c5)) and not torch.equal(p6, coarser.p6(p5))
    assert torch.equal(p7, coarser.p7(p6))
    of_torchvision = TwoCoarser(12, 8, from_p5=True, relu=True)
    (_, p6, p7), _ = of_torchvision([p5], [torch.randn(1, 12, 4, 4)], ["2"])
    assert torch.equal(p6, of_torchvision.p6(p5)) and torch.equal(p7, of_torchvision.p7(p6.relu()))
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


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels(channels: int) -> None:
    model = small("retinanet", in_chans=channels).eval()
    with torch.no_grad():
        assert model([torch.rand(channels, 64, 48)])[0].keys() == {"boxes", "labels", "scores"}
    one_line_error(lambda: model([torch.rand(3, 64, 48)]), rf"give \({channels}, H, W\)")
