"""Pooling, mask targets and pasting with pixels where they are.

Coordinates are continuous, as in MMDetection 2 and Detectron2: pixel i covers i to i + 1, its centre is
i + 0.5. torchvision reads maps and masks half a pixel off (`aligned=False`) and pastes masks in whole pixels
of the resized image; what is here takes the place of these three parts of its Mask R-CNN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_inference
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from mscsa.errors import UserError


class AlignedRoIPool(MultiScaleRoIAlign):
    """Cut boxes out of the maps of an FPN, each out of the level of its size.

    RoIAlign with `aligned=True` and as many samples in a cell as it has pixels of the map. torchvision
    guesses the strides from the first batch, by its size before padding, for ever; here they are given.
    """

    def __init__(self, side: int, strides: Sequence[int]) -> None:
        """Prepare for maps named "0", "1", ..., whose strides double.

        Args:
            side: Of what is cut out, in cells.
            strides: Of the maps, in pixels.
        """
        super().__init__([str(i) for i in range(len(strides))], side, sampling_ratio=0)
        finest = strides[0].bit_length() - 1
        self.scales = [1 / each for each in strides]
        self.map_levels = LevelMapper(finest, finest + len(strides) - 1)

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Map boxes (N_i, 4) in pixels of each image to (sum of N_i, C, side, side)."""
        maps = [x[name] for name in self.featmap_names]
        levels = self.map_levels(boxes)
        numbers = [torch.full_like(each[:, :1], i) for i, each in enumerate(boxes)]
        rois = torch.cat([torch.cat(numbers), torch.cat(boxes)], dim=1)
        pooled = maps[0].new_zeros(len(rois), maps[0].shape[1], *self.output_size)
        for level, (each, scale) in enumerate(zip(maps, self.scales, strict=True)):
            own = (levels == level).nonzero()[:, 0]
            # Boxes are in float32 whatever the maps are in.
            cut = roi_align(
                each.to(rois.dtype), rois[own], self.output_size, scale, self.sampling_ratio, aligned=True
            )
            pooled[own] = cut.to(pooled.dtype)
        return pooled


class MaskRoIHeads(RoIHeads):
    """torchvision's box and mask head, trained on masks that are not shifted."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Give detections and no losses in evaluation, losses and no detections in training.

        Args:
            features: Maps of the FPN by name, (B, C, H_i, W_i).
            proposals: Boxes (N, 4) of each image.
            image_shapes: (H, W) of each image before padding.
            targets: In training, of each image.
        """
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets_given(targets))
        logits, offsets = self._predict(features, proposals, image_shapes)
        boxes, scores, labels = self.postprocess_detections(logits, offsets, proposals, image_shapes)
        masks = maskrcnn_inference(self.mask_logits(features, boxes, image_shapes), labels)
        keys = ("boxes", "labels", "scores", "masks")
        return [
            dict(zip(keys, each, strict=True)) for each in zip(boxes, labels, scores, masks, strict=True)
        ], {}

    @property
    def stages(self) -> Sequence[MaskRoIHeads]:
        """The heads in a row: this one, as `CascadeRoIHeads` has several."""
        return [self]

    def mask_logits(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Map boxes (N_i, 4) of each image to the logits (sum of N_i, K + 1, 28, 28) inside them."""
        pooled = self.mask_roi_pool(features, boxes, image_shapes)
        logits: Tensor = self.mask_predictor(self.mask_head(pooled))
        return logits

    def mask_loss(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> Tensor:
        """Compare the masks of sampled boxes with the objects that they match, if any.

        Args:
            features: Maps of the FPN by name.
            boxes: (N, 4) of each image.
            matched: Place of the object that each matches, (N,).
            labels: Class of each, 0 for the background, (N,).
            image_shapes: (H, W) of each image before padding.
            targets: Of each image.
        """
        is_object = [each > 0 for each in labels]
        boxes = [box[chosen] for box, chosen in zip(boxes, is_object, strict=True)]
        places = [each[chosen] for each, chosen in zip(matched, is_object, strict=True)]
        logits = self.mask_logits(features, boxes, image_shapes)
        if not len(logits):
            return logits.sum() * 0
        wanted = torch.cat(
            [
                mask_targets(target["masks"], box, place, logits.shape[-1])
                for target, box, place in zip(targets, boxes, places, strict=True)
            ]
        )
        classes = torch.cat([target["labels"][place] for target, place in zip(targets, places, strict=True)])
        of_class = logits[torch.arange(len(classes), device=classes.device), classes]
        return F.binary_cross_entropy_with_logits(of_class, wanted.to(of_class))

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        boxes, matched, labels, offsets = self.select_training_samples(proposals, targets)
        logits, predicted = self._predict(features, boxes, image_shapes)
        of_class, of_box = fastrcnn_loss(logits, predicted, labels, offsets)
        of_mask = self.mask_loss(features, boxes, matched, labels, image_shapes, targets)
        return {"loss_classifier": of_class, "loss_box_reg": of_box, "loss_mask": of_mask}

    def _predict(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        predicted: tuple[Tensor, Tensor] = self.box_predictor(
            self.box_head(self.box_roi_pool(features, boxes, image_shapes))
        )
        return predicted


def targets_given(targets: list[dict[str, Tensor]] | None) -> list[dict[str, Tensor]]:
    """Refuse training without targets.

    Raises:
        UserError: If there are none.
    """
    if targets is None:
        raise UserError("images without targets: training needs one for each image")
    return targets


def mask_targets(masks: Tensor, boxes: Tensor, matched: Tensor, side: int) -> Tensor:
    """Cut masks out at boxes: what a mask head learns.

    Args:
        masks: Of an image's objects, (G, H, W), 0 or 1.
        boxes: (N, 4) in pixels.
        matched: Which object each box is of, (N,).
        side: Of what is cut out, in cells.
    Returns:
        Share of each cell that the object fills, (N, side, side).
    """
    rois = torch.cat([matched[:, None].to(boxes), boxes], dim=1)
    return roi_align(masks[:, None].to(boxes), rois, (side, side), aligned=True)[:, 0]


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Paste masks into an image, each into its box, without rounding the box to pixels.

    Args:
        masks: Probabilities inside the boxes, (N, 1, m, m).
        boxes: x1, y1, x2, y2 in pixels of the image, (N, 4).
        size: (H, W) of the image in pixels.
    Returns:
        Probability at the centre of each pixel, (N, 1, H, W): interpolated between the centres of the cells,
        0 beyond the box.
    """
    pasted = masks.new_zeros(len(masks), 1, *size)
    for place, (mask, (x1, y1, x2, y2)) in enumerate(zip(masks[:, 0], boxes.tolist(), strict=True)):
        rows, by_row = _interpolation(y1, y2, size[0], mask)
        columns, by_column = _interpolation(x1, x2, size[1], mask)
        pasted[place, 0, rows, columns] = by_row @ mask @ by_column.T
    return pasted


def _interpolation(start: float, end: float, length: int, mask: Tensor) -> tuple[slice, Tensor]:
    """Give the pixels near a box along one axis, and the weight of each cell in each of them, (n, m)."""
    side = mask.shape[-1]
    cell = max(end - start, 1e-3) / side
    # Half a cell beyond the box the mask has faded to 0.
    first = min(max(int(start - cell), 0), length)
    last = min(max(int(end + cell) + 1, first), length)
    centres = torch.arange(first, last, device=mask.device, dtype=torch.float64) + 0.5
    places = (centres - start) / cell - 0.5
    cells = torch.arange(side, device=mask.device, dtype=torch.float64)
    weights = (1 - (places[:, None] - cells).abs()).clamp(min=0)
    return slice(first, last), weights.to(mask.dtype)
