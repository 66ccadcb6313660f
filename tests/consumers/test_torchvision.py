"""torchvision's detectors run on MSCSA's pyramid."""

from collections import OrderedDict

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

import mscsa  # noqa: F401  registers the names


class PyramidBackbone(nn.Module):
    """What torchvision asks of a backbone: named maps of one width."""

    def __init__(self, name: str, out_channels: int = 32) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, out_indices=4)
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), out_channels, LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return self.fpn(OrderedDict((str(i), level) for i, level in enumerate(self.body(x))))


def build(detector: type[FasterRCNN], name: str) -> FasterRCNN:
    anchors = AnchorGenerator(tuple((2 * s,) for s in (4, 8, 16, 32, 64)), ((0.5, 1.0, 2.0),) * 5)
    return detector(
        PyramidBackbone(name),
        num_classes=3,
        rpn_anchor_generator=anchors,
        min_size=64,
        max_size=96,
        rpn_pre_nms_top_n_train=50,
        rpn_post_nms_top_n_train=20,
        rpn_pre_nms_top_n_test=50,
        rpn_post_nms_top_n_test=20,
        box_batch_size_per_image=16,
    )


@pytest.mark.parametrize(
    ("detector", "name"), [(MaskRCNN, "mscsa_pvt_v2_b0"), (FasterRCNN, "mscsa_resnet18")]
)
def test_detector_trains_and_predicts(detector, name):
    torch.manual_seed(0)
    model = build(detector, name)
    images = [torch.rand(3, 64, 96), torch.rand(3, 70, 61)]
    targets = [
        {
            "boxes": torch.tensor([[8.0, 10, 60, 40]]),
            "labels": torch.tensor([label]),
            "masks": torch.ones(1, *image.shape[1:], dtype=torch.uint8),
        }
        for label, image in enumerate(images, start=1)
    ]
    losses = model(images, targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    body = model.backbone.body
    assert not [n for n, p in body.named_parameters() if p.grad is None]
    model.eval()
    with torch.no_grad():
        outputs = model(images)
    assert len(outputs) == 2 and all("boxes" in out for out in outputs)
