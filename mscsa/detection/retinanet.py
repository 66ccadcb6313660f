"""RetinaNet by torchvision.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, https://arxiv.org/abs/1708.02002.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

from mscsa.dense import Pyramid, levels_of
from mscsa.detection.anchor_graph import AnchorGraph
from mscsa.detection.boxes import Anchors, keep_precision
from mscsa.detection.fpn import BODY, BatchImages, DetectorNorm, PyramidFPN, TwoCoarser, norm_layer
from mscsa.detection.network import Network, make_sure
from mscsa.detection.set_loss import mean_count
from mscsa.graphs import Graphs, Size, image_graph

_OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_ASPECT_RATIOS = (0.5, 1.0, 2.0)


class BatchRetinaNetHead(RetinaNetHead):
    """torchvision's head, whose losses are divided by the anchors on objects of the batch of all processes.

    So it is in the public settings. torchvision divides the loss of each image by its own and takes the mean:
    an object of a crowded image counts less than one that is alone.
    """

    loss_count: Tensor | None = None
    """What the last losses were divided by."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Give the losses of classes and boxes over a batch."""
        counts = [int((each >= 0).sum()) for each in matched_idxs]
        on_objects = mean_count(torch.tensor(float(sum(counts)), device=matched_idxs[0].device))
        self.loss_count = on_objects
        total = on_objects.clamp(min=1)
        losses: dict[str, Tensor] = {}
        for i, count in enumerate(counts):
            own = slice(i, i + 1)
            outputs = {name: each[own] for name, each in head_outputs.items()}
            of_image = super().compute_loss(targets[own], outputs, anchors[own], matched_idxs[own])
            share = max(1, count) / total
            for name, value in of_image.items():
                losses[name] = losses.get(name, value.new_zeros(())) + share * value
        return losses


class RetinaNetNetwork(Network, RetinaNet):
    """torchvision's RetinaNet with a `BatchRetinaNetHead`."""

    first_label = 0
    body = BODY
    of_classes = ("cls_logits",)
    backbone: Any
    head: Any

    @property
    def loss_count(self) -> Tensor | None:  # type: ignore[override]
        """Anchors on objects."""
        count: Tensor | None = self.head.loss_count
        return count

    def run_fixed(self, images: Tensor) -> None:
        """Run all that has weights: what picks boxes has none."""
        batch, _ = self.transform(list(images))
        self.head(list(self.backbone(batch.tensors).values()))

    def fix_workload(self, num_objects: int) -> None:
        """Make one class of one anchor at each place sure, and drop no box for overlap."""
        self.nms_thresh = 1.0
        make_sure(self.head.classification_head.cls_logits, 0)

    def graphs(self, size: Size) -> Graphs:
        """Give the graph up to the boxes of all anchors."""
        module = AnchorGraph(self, size)
        graph = image_graph(module, ("logits", "boxes"))
        return Graphs(graphs=(graph,), has_one_size=True, selection=module.selection())


def retinanet(
    pyramid: Pyramid,
    num_classes: int,
    *,
    fpn_channels: int = 256,
    fpn_norm: DetectorNorm = "none",
    head_norm: DetectorNorm = "none",
    level_norm: bool = False,
    anchor_scale: float = 4.0,
    detections_per_img: int = 100,
    score_thresh: float = 0.05,
    p6_from: Literal["c5", "p5"] = "c5",
    p7_relu: bool = False,
) -> RetinaNetNetwork:
    """Build torchvision's RetinaNet on a pyramid.

    Args:
        pyramid: Of strides 8, 16 and 32, to which the FPN adds two coarser levels; its parts are taken over.
        num_classes: K.
        fpn_channels: Channels of the FPN's maps.
        fpn_norm: Norm in the FPN.
        head_norm: Norm in the head.
        level_norm: A layer norm on each map of the pyramid.
        anchor_scale: Side of a level's smallest anchors, in strides of the level.
        detections_per_img: Most objects found in an image.
        score_thresh: Least score of an object.
        p6_from: Which map P6 is made of: the pyramid's deepest, or the FPN's, as in torchvision's first
            weights.
        p7_relu: A ReLU between P6 and P7, as torchvision and the paper have it.
    Raises:
        UserError: If there is no such norm, or it does not fit the channels.
    """
    strides = levels_of(pyramid)[1]
    levels = [*strides, 2 * strides[-1], 4 * strides[-1]]
    fpn = PyramidFPN(
        pyramid,
        fpn_channels,
        coarser=lambda deepest: TwoCoarser(deepest, fpn_channels, from_p5=p6_from == "p5", relu=p7_relu),
        norm=fpn_norm,
        level_norm=level_norm,
    )
    sizes = [[anchor_scale * each * octave for octave in _OCTAVES] for each in levels]
    num_anchors = len(_OCTAVES) * len(_ASPECT_RATIOS)
    net = RetinaNetNetwork(
        fpn,
        num_classes,
        anchor_generator=Anchors(levels, sizes, _ASPECT_RATIOS),
        head=BatchRetinaNetHead(fpn_channels, num_anchors, num_classes, norm_layer=norm_layer(head_norm)),
        score_thresh=score_thresh,
        detections_per_img=detections_per_img,
    )
    keep_precision(net.head)
    net.transform = BatchImages.of(pyramid)
    return net
