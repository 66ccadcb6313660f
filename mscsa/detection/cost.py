"""Detectors with a workload that depends on neither weights nor image, to count and to time them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNN
from torchvision.models.detection.retinanet import RetinaNet

from mscsa.detection.cascade import CascadeRoIHeads
from mscsa.detection.detector import Detector

PROPOSALS = 1000
"""Boxes of an image whose box head is counted, at each stage of a cascade."""
MASKS = 100
"""Boxes of an image whose mask head is counted."""

_SURE = 30.0  # as the bias of a logit it outweighs all others


def run_fixed(detector: Detector, images: Tensor) -> None:
    """Run the network on images as MMDetection 2 does to count it (`forward_dummy`).

    That is: backbone, MSCSA, FPN and proposal network; the box head on 1000 boxes of each image, the mask
    head on 100 of them, in a cascade all of its stages. RetinaNet and Deformable DETR run whole. What picks,
    cuts out and pastes boxes has no convolution or matrix product and is left out, so that it runs on the
    meta device.

    Args:
        detector: In evaluation mode.
        images: (B, 3, H, W).
    """
    net: Any = detector.net
    if not isinstance(net, (MaskRCNN, RetinaNet)):
        detector(list(images))
        return
    batch, _ = net.transform(list(images))
    maps = list(net.backbone(batch.tensors).values())
    if isinstance(net, RetinaNet):
        net.head(maps)
        return
    net.rpn.head(maps)
    channels = net.backbone.out_channels
    for stage in _box_stages(net):
        cut = maps[0].new_empty(PROPOSALS * len(images), channels, *stage.box_roi_pool.output_size)
        stage.box_predictor(stage.box_head(cut))
        cut = maps[0].new_empty(MASKS * len(images), channels, *stage.mask_roi_pool.output_size)
        stage.mask_predictor(stage.mask_head(cut))


def fix_workload(detector: Detector, num_objects: int) -> None:
    """Make a detector do the same work for any image, whatever its weights; it spoils the detections.

    With random weights no score passes the threshold, so that the mask head would never run, and chance
    decides how many boxes overlap. So one class gets a sure score and no box is dropped for overlap:
    two-stage detectors then have all `proposals` and all find `detections_per_img` objects. In training the
    mask head gets as many boxes as there are objects, not those too which happen to lie on one.

    Args:
        detector: Changed in place.
        num_objects: Of each training image.
    """
    net: Any = detector.net
    if isinstance(net, RetinaNet):
        net.nms_thresh = 1.0
        _make_sure(net.head.classification_head.cls_logits, 0)  # one class of one anchor at each place
    elif isinstance(net, MaskRCNN):
        net.rpn.nms_thresh = 1.0
        for stage in _box_stages(net):
            stage.nms_thresh = 1.0
            _make_sure(stage.box_predictor.cls_score, 1)  # 0 is the background
            # An object's own box is always among those sampled from.
            sampler = stage.fg_bg_sampler
            sampler.positive_fraction = num_objects / sampler.batch_size_per_image


def _box_stages(net: MaskRCNN) -> Iterable[Any]:
    heads: Any = net.roi_heads
    return heads.stages if isinstance(heads, CascadeRoIHeads) else (heads,)


def _make_sure(layer: nn.Module, index: int) -> None:
    bias: Any = layer.bias
    with torch.no_grad():
        bias[index] = _SURE
