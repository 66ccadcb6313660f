"""Mask R-CNN by torchvision, and Cascade Mask R-CNN on its parts.

He et al., "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool

from mscsa.dense import Pyramid, levels_of
from mscsa.detection.boxes import Anchors, keep_precision
from mscsa.detection.cascade import CASCADE, CascadeRoIHeads, CascadeStage, SharedBoxPredictor
from mscsa.detection.fpn import BODY, BatchImages, DetectorNorm, PyramidFPN, norm_layer
from mscsa.detection.mask_head import AlignedRoIPool, MaskRoIHeads
from mscsa.detection.network import Network, make_sure
from mscsa.detection.two_stage_graphs import two_stage_graphs
from mscsa.errors import UserError
from mscsa.graphs import Graphs, Size

_ASPECT_RATIOS = (0.5, 1.0, 2.0)
_BOX_SIDE, _MASK_SIDE = 7, 14
_BOX_CHANNELS = 1024

PROPOSALS = 1000
"""Boxes of an image whose box head is counted, at each stage of a cascade."""
MASKS = 100
"""Boxes of an image whose mask head is counted."""


class TwoStageNetwork(Network, MaskRCNN):
    """torchvision's Mask R-CNN, or with heads in a row."""

    first_label = 1
    body = BODY
    backbone: Any
    rpn: Any
    roi_heads: Any
    counted_as = (
        f"Box heads counted on {PROPOSALS} proposals, mask heads on {MASKS}, as MMDetection counts; what "
        "picks, cuts out and pastes boxes is not counted."
    )

    @property
    def detections_per_img(self) -> int:  # type: ignore[override]
        """Most objects that its heads give."""
        return int(self.roi_heads.detections_per_img)

    def run_fixed(self, images: Tensor) -> None:
        """Run the box head on 1000 boxes of each image and the mask head on 100, at each stage."""
        batch, _ = self.transform(list(images))
        maps = list(self.backbone(batch.tensors).values())
        self.rpn.head(maps)
        channels = self.backbone.out_channels
        for stage in self.roi_heads.stages:
            cut = maps[0].new_empty(PROPOSALS * len(images), channels, *stage.box_roi_pool.output_size)
            stage.box_predictor(stage.box_head(cut))
            cut = maps[0].new_empty(MASKS * len(images), channels, *stage.mask_roi_pool.output_size)
            stage.mask_predictor(stage.mask_head(cut))

    def fix_workload(self, num_objects: int) -> None:
        """Keep all proposals, all as sure to be of one class, and train masks on the objects' own boxes."""
        self.rpn.nms_thresh = 1.0
        for stage in self.roi_heads.stages:
            stage.nms_thresh = 1.0
            make_sure(stage.box_predictor.cls_score, 1)  # 0 is the background
            # An object's own box is always among those sampled from.
            sampler = stage.fg_bg_sampler
            sampler.positive_fraction = num_objects / sampler.batch_size_per_image

    def graphs(self, size: Size) -> Graphs:
        """Give the three graphs between which boxes are chosen."""
        return two_stage_graphs(self, size)


def two_stage(
    stages: Sequence[CascadeStage],
    pyramid: Pyramid,
    num_classes: int,
    *,
    fpn_channels: int = 256,
    fpn_norm: DetectorNorm = "none",
    head_norm: DetectorNorm = "none",
    level_norm: bool = False,
    anchor_scale: float = 8.0,
    detections_per_img: int = 100,
    score_thresh: float = 0.05,
    proposals: int = 1000,
    boxes_per_img: int = 512,
    rpn_convs: int = 1,
) -> TwoStageNetwork:
    """Build torchvision's Mask R-CNN on a pyramid, or with its heads in a row.

    Args:
        stages: Heads in a row, in place of the one; empty for Mask R-CNN itself.
        pyramid: Its parts are taken over.
        num_classes: K, without the background.
        fpn_channels: Channels of the FPN's maps and of the heads' convolutions.
        fpn_norm: Norm in the FPN.
        head_norm: Norm in the heads; with one, the box head has four convolutions before its linear layer.
        level_norm: A layer norm on each map of the pyramid.
        anchor_scale: Side of a level's anchors, in strides of the level.
        detections_per_img: Most objects found in an image.
        score_thresh: Least score of an object.
        proposals: Most boxes that the proposal network gives for an image; twice as many to train a cascade.
        boxes_per_img: Most proposals of an image that a head trains on, a quarter of them on objects.
        rpn_convs: Convolutions of the proposal network before its outputs; torchvision's `v2` has 2.
    Raises:
        UserError: If the pyramid's strides do not double from level to level, or a norm does not fit.
    """
    strides = _doubling_strides(pyramid)
    fpn = PyramidFPN(pyramid, fpn_channels, coarser=_one_level, norm=fpn_norm, level_norm=level_norm)
    parts = partial(_head_parts, strides, fpn_channels, head_norm, num_classes)
    net = TwoStageNetwork(
        fpn,
        box_predictor=FastRCNNPredictor(_BOX_CHANNELS, num_classes + 1),
        box_batch_size_per_image=boxes_per_img,
        box_score_thresh=score_thresh,
        box_detections_per_img=detections_per_img,
        **_proposal_options(strides, anchor_scale, proposals, is_cascade=bool(stages)),
        rpn_head=RPNHead(fpn_channels, len(_ASPECT_RATIOS), rpn_convs),
        **parts(),
    )
    net.transform = BatchImages.of(pyramid)
    net.roi_heads = _cascade(stages, net.roi_heads, parts, num_classes) if stages else _aligned(net.roi_heads)
    _give_float32(net)
    of_boxes = "cls_score" if stages else "box_predictor"  # a cascade's offsets are shared by the classes
    net.of_classes = (of_boxes, "mask_fcn_logits")
    return net


mask_rcnn = partial(two_stage, ())
"""Mask R-CNN; the arguments of `two_stage` from `pyramid` on."""

cascade_mask_rcnn = partial(two_stage, CASCADE)
"""Cascade Mask R-CNN in the paper's stages; the arguments of `two_stage` from `pyramid` on."""


def _one_level(_channels: int) -> ExtraFPNBlock:
    return LastLevelMaxPool()


def _proposal_options(
    strides: list[int], anchor_scale: float, proposals: int, *, is_cascade: bool
) -> dict[str, Any]:
    """Give MaskRCNN's arguments for its proposal network, as in the public settings."""
    levels = [*strides, 2 * strides[-1]]  # the last is LastLevelMaxPool's
    return {
        "rpn_anchor_generator": Anchors(levels, [[anchor_scale * each] for each in levels], _ASPECT_RATIOS),
        "rpn_pre_nms_top_n_train": 2000,  # of each level
        "rpn_pre_nms_top_n_test": 1000,
        # MMDetection trains a cascade on twice as many.
        "rpn_post_nms_top_n_train": 2 * proposals if is_cascade else proposals,
        "rpn_post_nms_top_n_test": proposals,
    }


def _aligned(one: Any) -> MaskRoIHeads:
    """Give torchvision's heads with the same parts as heads whose masks are not shifted."""
    parts = ("box_roi_pool", "box_head", "box_predictor", "mask_roi_pool", "mask_head", "mask_predictor")
    return _heads_like(one, CASCADE[0], **{name: getattr(one, name) for name in parts})


def _cascade(
    stages: Sequence[CascadeStage], one: Any, parts: Callable[[], dict[str, Any]], num_classes: int
) -> CascadeRoIHeads:
    """Put heads like `one`, each with its stage's threshold and offsets, in a row."""
    heads = [
        _heads_like(one, stage, box_predictor=SharedBoxPredictor(_BOX_CHANNELS, num_classes), **parts())
        for stage in stages
    ]
    return CascadeRoIHeads(heads, [stage.loss_weight for stage in stages])


def _heads_like(one: Any, stage: CascadeStage, **parts: Any) -> MaskRoIHeads:
    """Make heads of these parts with the sampling and limits of `one`, and a stage's matching and offsets."""
    return MaskRoIHeads(
        fg_iou_thresh=stage.iou,
        bg_iou_thresh=stage.iou,
        batch_size_per_image=one.fg_bg_sampler.batch_size_per_image,
        positive_fraction=one.fg_bg_sampler.positive_fraction,
        bbox_reg_weights=stage.coder_weights,
        score_thresh=one.score_thresh,
        nms_thresh=one.nms_thresh,
        detections_per_img=one.detections_per_img,
        **parts,
    )


def _give_float32(net: Any) -> None:
    keep_precision(net.rpn.head)
    for head in net.roi_heads.stages:
        keep_precision(head.box_predictor, head.mask_predictor)


def _doubling_strides(pyramid: Pyramid) -> list[int]:
    """Give the strides of a pyramid's maps, each twice the one before."""
    strides = levels_of(pyramid)[1]
    if strides != [strides[0] * 2**i for i in range(len(strides))]:
        raise UserError(
            f"this head takes maps whose strides double, the backbone gives {strides}: choose levels with "
            "build_pyramid(..., strides=...)"
        )
    return strides


def _head_parts(strides: list[int], channels: int, norm: DetectorNorm, num_classes: int) -> dict[str, Any]:
    """Make the parts of a box and a mask head, under torchvision's names."""
    return {
        "box_roi_pool": AlignedRoIPool(_BOX_SIDE, strides),
        "box_head": _box_head(channels, norm),
        "mask_roi_pool": AlignedRoIPool(_MASK_SIDE, strides),
        "mask_head": MaskRCNNHeads(channels, (channels,) * 4, 1, norm_layer=norm_layer(norm)),
        "mask_predictor": MaskRCNNPredictor(channels, channels, num_classes + 1),
    }


def _box_head(channels: int, norm: DetectorNorm) -> nn.Module:
    if norm == "none":
        return TwoMLPHead(channels * _BOX_SIDE**2, _BOX_CHANNELS)
    return FastRCNNConvFCHead(
        (channels, _BOX_SIDE, _BOX_SIDE), [channels] * 4, [_BOX_CHANNELS], norm_layer=norm_layer(norm)
    )
