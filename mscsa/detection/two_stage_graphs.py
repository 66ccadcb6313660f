"""Mask R-CNN and Cascade in three graphs, between which boxes are chosen: proposals, boxes, masks.

What is chosen depends on the values, and so do the shapes behind it: `torch.export` refuses it in one graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import permute_and_flatten
from torchvision.ops import roi_align

from mscsa.detection.anchor_graph import decode, lay_anchors
from mscsa.detection.mask_head import AlignedRoIPool
from mscsa.graphs import Axes, Graph, Graphs, Size, image_graph, random_images, uneven_sizes

_ROIS = 5
"""Boxes of each image of an example."""


def two_stage_graphs(net: Any, size: Size) -> Graphs:
    """Make the graphs of a two-stage detector for images of (H, W)."""
    first = ProposalGraph(net, size)
    maps = tuple(f"map{name}" for name in first.names)
    of_maps: dict[str, Axes] = {name: {0: "batch"} for name in maps}
    on_rois: Axes = {0: "rois"}
    graphs = (
        image_graph(first, ("objectness", "boxes", *maps)),
        Graph(
            name="boxes",
            module=BoxGraph(net),
            axes={"rois": on_rois, "sizes": {0: "batch"}, **of_maps},
            outputs=("scores", "boxes"),
            example=partial(_roi_example, first, uneven_sizes),
        ),
        Graph(
            name="masks",
            module=MaskGraph(net),
            axes={"rois": on_rois, "labels": on_rois, **of_maps},
            outputs=("cells",),
            example=partial(_roi_example, first, partial(_labels, net)),
        ),
    )
    return Graphs(graphs=graphs, has_one_size=True, selection=first.selection())


class ProposalGraph(nn.Module):
    """Images of one size to the objectness and boxes of all anchors, and the FPN's maps."""

    def __init__(self, net: Any, size: Size) -> None:
        """Take a two-stage detector and lay its anchors for images of (H, W)."""
        super().__init__()
        self.backbone, self.rpn_head, self.coder = net.backbone, net.rpn.head, net.rpn.box_coder
        heads = list(net.roi_heads.stages)
        self.names: list[str] = list(heads[0].box_roi_pool.featmap_names)
        self.limits = {
            "candidates": net.rpn.pre_nms_top_n(),
            "proposals": net.rpn.post_nms_top_n(),
            "proposal_nms_thresh": net.rpn.nms_thresh,
            "least_proposal": net.rpn.min_size,
            "score_thresh": heads[-1].score_thresh,
            "nms_thresh": heads[-1].nms_thresh,
            "least_box": 1e-2,  # torchvision's `postprocess_detections`
            "detections_per_img": heads[-1].detections_per_img,
            "mask_side": 2 * heads[-1].mask_roi_pool.output_size[0],
        }
        anchors, self.counts = lay_anchors(net.backbone, net.rpn.anchor_generator, size)
        self.register_buffer("anchors", anchors, persistent=False)

    def selection(self) -> dict[str, Any]:
        """Say how proposals and detections are chosen."""
        return {"kind": "proposals", "takes_sizes": False, "anchors_per_level": self.counts, **self.limits}

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to (B, A), (B, A, 4), and the maps of the heads."""
        maps = self.backbone(images)
        objectness, offsets = self.rpn_head(list(maps.values()))
        every = torch.cat([_rows(each, 1) for each in objectness], dim=1)[..., 0]
        boxes = decode(self.coder, torch.cat([_rows(each, 4) for each in offsets], dim=1), self.anchors)
        return every, boxes, *(maps[name] for name in self.names)


class BoxGraph(nn.Module):
    """Proposals to the scores of the classes and a box for each: all box heads in a row."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.stages = nn.ModuleList(net.roi_heads.stages)

    def forward(self, rois: Tensor, sizes: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """Score boxes.

        Args:
            rois: Number of the image and box in pixels, (N, 5).
            sizes: (h, w) of each image in pixels, (B, 2).
            maps: As of `ProposalGraph`.
        Returns:
            (N, K) and boxes (N, K, 4), which end at the edges of their images.
        """
        numbers, boxes = rois[:, :1], rois[:, 1:]
        limits = sizes[numbers[:, 0].long()].flip(1).repeat(1, 2)
        scores = []
        stages: list[Any] = list(self.stages)
        for stage in stages:
            rois = torch.cat([numbers, boxes], dim=1)
            logits, offsets = stage.box_predictor(stage.box_head(pool(stage.box_roi_pool, maps, rois)))
            scores.append(logits.softmax(dim=-1))
            moved = stage.box_coder.decode_single(offsets, boxes)
            boxes = torch.minimum(moved.clamp(min=0), limits.repeat(1, moved.shape[1] // 4))
        mean = torch.stack(scores).mean(dim=0)[:, 1:]
        of_classes = boxes.reshape(rois.shape[0], -1, 4)
        if of_classes.shape[1] == 1:  # shared by the classes
            return mean, of_classes.expand(-1, mean.shape[1], -1)
        return mean, of_classes[:, 1:]


class MaskGraph(nn.Module):
    """Detections to the masks inside their boxes, the mean of all mask heads."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.stages = nn.ModuleList(net.roi_heads.stages)

    def forward(self, rois: Tensor, labels: Tensor, *maps: Tensor) -> Tensor:
        """Map boxes (N, 5) of classes 1..K (N,) to probabilities (N, m, m)."""
        stages: list[Any] = list(self.stages)
        found = []
        for stage in stages:
            logits = stage.mask_predictor(stage.mask_head(pool(stage.mask_roi_pool, maps, rois)))
            place = labels[:, None, None, None].expand(-1, 1, *logits.shape[-2:])
            found.append(logits.gather(1, place)[:, 0].sigmoid())
        return torch.stack(found).mean(dim=0)


def pool(pooler: AlignedRoIPool, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
    """Do what an `AlignedRoIPool` does with shapes that depend on no values: all levels read all boxes.

    To a level, the boxes of others are the one pixel of a corner, which costs little.
    """
    levels = pooler.map_levels([rois[:, 1:]])
    corner = rois.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(rois.shape[0], -1)
    elsewhere = torch.cat([rois[:, :1], corner], dim=1)
    total: Tensor | None = None
    for level, (each, scale) in enumerate(zip(maps, pooler.scales, strict=True)):
        is_own = levels == level
        own = torch.where(is_own[:, None], rois, elsewhere)
        cut = roi_align(each, own, pooler.output_size, scale, pooler.sampling_ratio, aligned=True)
        kept = torch.where(is_own[:, None, None, None], cut, torch.zeros_like(cut))
        total = kept if total is None else total + kept
    assert total is not None, "a pyramid has levels"
    return total


def _rows(x: Tensor, channels: int) -> Tensor:
    """Map (B, A * C, H, W) to (B, H * W * A, C), as torchvision orders anchors."""
    batch, height, width = x.shape[0], x.shape[2], x.shape[3]
    return permute_and_flatten(x, batch, -1, channels, height, width)


def _labels(net: Any, batch: int, _: Size) -> Tensor:
    """Give a class to each box of an example, all classes in turn."""
    num_classes = net.roi_heads.stages[-1].mask_predictor.mask_fcn_logits.out_channels - 1
    return 1 + torch.arange(_ROIS * batch) % num_classes


def _roi_example(
    first: nn.Module, second: Callable[[int, Size], Tensor], batch: int, size: Size
) -> tuple[Tensor, ...]:
    """Make boxes in images, what the graph takes second, and the maps of the images."""
    with torch.no_grad():
        maps = first(*random_images(batch, size))[2:]
    generator = torch.Generator().manual_seed(batch)
    corners = torch.rand(_ROIS * batch, 2, 2, generator=generator).sort(dim=1).values
    boxes = (corners * torch.tensor([size[1], size[0]])).flatten(1)
    numbers = torch.arange(batch).repeat_interleave(_ROIS)[:, None].float()
    return torch.cat([numbers, boxes], dim=1), second(batch, size), *maps
