"""Deformable DETR by transformers, under torchvision's contract.

Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021,
https://arxiv.org/abs/2010.04159. transformers leaves out the loss of the encoder's proposals (two-stage), shares
the box heads of all layers even where each is to refine the one before, and starts the heads at other values:
these follow the paper here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, clip_boxes_to_image
from transformers import (
    AutoBackbone,
    AutoConfig,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss
from transformers.modeling_outputs import BackboneOutput

from mscsa.detection.fpn import BatchImages

_LOSS_WEIGHTS = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
_PRIOR = 0.01  # probability of an object that a fresh query gives


class PyramidConfig(BackboneConfigMixin, PreTrainedConfig):
    """What transformers asks about a backbone: the names of its levels and their channels."""

    model_type = "mscsa_pyramid"

    def __init__(self, channels: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = list(channels or [])
        self.stage_names = [f"level{i}" for i in range(len(self.channels))]
        self.set_output_features_output_indices(list(self.stage_names), list(range(len(self.channels))))


class PyramidBackbone(BackboneMixin, PreTrainedModel):
    """A pyramid under transformers' backbone interface.

    It is filled after its model is built: transformers then neither replaces the batch norms nor draws
    the weights anew.
    """

    config_class = PyramidConfig

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        self.num_features = config.channels
        self.body: nn.Module = nn.Identity()
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: Any) -> BackboneOutput:
        """Map images (B, 3, H, W) to the pyramid's maps."""
        return BackboneOutput(feature_maps=tuple(self.body(pixel_values)))


AutoConfig.register(PyramidConfig.model_type, PyramidConfig)
AutoBackbone.register(PyramidConfig, PyramidBackbone)


class DeformableDETR(nn.Module):
    """transformers' Deformable DETR with torchvision's images, targets, losses and detections."""

    def __init__(
        self,
        pyramid: Any,
        num_classes: int,
        *,
        num_queries: int = 300,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        box_refine: bool = False,
        two_stage: bool = False,
        dropout: float = 0.1,
        detections_per_img: int = 100,
    ) -> None:
        """Build it on a pyramid.

        Args:
            pyramid: Of `build_pyramid(strides=(8, 16, 32))`, to whose levels a convolution adds a coarser one;
                its parts are taken over.
            num_classes: K.
            num_queries: Objects that it looks for.
            encoder_layers: Layers of the encoder.
            decoder_layers: Layers of the decoder.
            box_refine: Each decoder layer moves the boxes of the one before.
            two_stage: The encoder proposes the queries' boxes; implies `box_refine`.
            dropout: Rate in encoder and decoder.
            detections_per_img: Most objects found in an image.
        """
        super().__init__()
        cfg = pyramid.pretrained_cfg
        self.config = DeformableDetrConfig(
            backbone_config=PyramidConfig(list(pyramid.feature_info.channels())),
            num_labels=num_classes,
            num_queries=num_queries,
            two_stage_num_proposals=num_queries,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            with_box_refine=box_refine or two_stage,
            two_stage=two_stage,
            dropout=dropout,
            class_cost=2,
            # Without refinement all layers share their heads.
            tie_word_embeddings=not (box_refine or two_stage),
        )
        self.transformer = DeformableDetrForObjectDetection(self.config)
        self.transformer.model.backbone.model.body = pyramid
        self.num_classes = num_classes
        self.detections_per_img = detections_per_img
        strides = [int(each) for each in pyramid.feature_info.reduction()]
        self.transform = BatchImages(list(cfg["mean"]), list(cfg["std"]), max(strides))
        self.criterion = DeformableDetrImageLoss(
            matcher=DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2),
            num_classes=num_classes,
            focal_alpha=0.25,
            losses=["labels", "boxes"],
        )
        self._start_heads()

    def _start_heads(self) -> None:
        """Start the heads as the paper's own training does, and share them where the variant does."""
        model, decoder = self.transformer, self.transformer.model.decoder
        if self.config.with_box_refine:
            decoder.bbox_embed = model.bbox_embed
        if self.config.two_stage:
            decoder.class_embed = model.class_embed
        for head in model.class_embed:
            nn.init.constant_(head.bias, -math.log((1 - _PRIOR) / _PRIOR))
        for i, head in enumerate(model.bbox_embed):
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)
            if not self.config.two_stage and (i == 0 or not self.config.with_box_refine):
                nn.init.constant_(head.layers[-1].bias[2:], -2.0)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Give losses in training, detections in evaluation.

        Args:
            images: (3, H, W) each.
            targets: `boxes` (N, 4) in pixels and `labels` (N,) in 0..K-1 of each image.
        """
        batch, _ = self.transform(images)
        sizes = [(int(height), int(width)) for height, width in batch.image_sizes]
        mask = torch.zeros(
            len(sizes), *batch.tensors.shape[-2:], dtype=torch.long, device=batch.tensors.device
        )
        for i, (height, width) in enumerate(sizes):
            mask[i, :height, :width] = 1
        inner = self.transformer.model(batch.tensors, pixel_mask=mask)
        logits, boxes = self._predict(inner)
        if not self.training:
            return self._detections(logits[-1], boxes[-1], sizes)
        assert targets is not None, "the detector's base refuses to train without"
        return self._losses(logits, boxes, inner, targets, sizes)

    def _predict(self, inner: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Give logits (B, Q, K) and boxes (B, Q, 4) of each layer; centre and size, of 1."""
        logits, boxes = [], []
        reference = inner.init_reference_points
        for i in range(inner.intermediate_hidden_states.shape[1]):
            hidden = inner.intermediate_hidden_states[:, i]
            offsets = self.transformer.bbox_embed[i](hidden)
            known = torch.special.logit(reference, eps=1e-5)
            offsets = torch.cat(
                [offsets[..., : known.shape[-1]] + known, offsets[..., known.shape[-1] :]], -1
            )
            logits.append(self.transformer.class_embed[i](hidden))
            boxes.append(offsets.sigmoid())
            reference = inner.intermediate_reference_points[:, i]
        return logits, boxes

    def _losses(
        self,
        logits: list[Tensor],
        boxes: list[Tensor],
        inner: Any,
        targets: list[dict[str, Tensor]],
        sizes: list[tuple[int, int]],
    ) -> dict[str, Tensor]:
        wanted = [
            {
                "class_labels": target["labels"],
                "boxes": box_convert(target["boxes"].float(), "xyxy", "cxcywh")
                / target["boxes"].new_tensor([width, height, width, height], dtype=torch.float32),
            }
            for target, (height, width) in zip(targets, sizes, strict=True)
        ]
        losses = {}
        for i, (of_layer, box) in enumerate(zip(logits, boxes, strict=True)):
            losses |= self._weighted(of_layer, box, wanted, f"_{i}")
        if self.config.two_stage:
            # Whether there is an object at all: class 0 stands for it.
            objects = [{**each, "class_labels": torch.zeros_like(each["class_labels"])} for each in wanted]
            proposed = inner.enc_outputs_coord_logits.sigmoid()
            losses |= self._weighted(inner.enc_outputs_class, proposed, objects, "_proposals")
        return losses

    def _weighted(
        self, logits: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]], suffix: str
    ) -> dict[str, Tensor]:
        found = self.criterion({"logits": logits.float(), "pred_boxes": boxes.float()}, targets)
        return {f"{name}{suffix}": weight * found[name] for name, weight in _LOSS_WEIGHTS.items()}

    def _detections(
        self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Take the surest pairs of query and class."""
        found = []
        for of_image, box, (height, width) in zip(
            logits.float().sigmoid(), boxes.float(), sizes, strict=True
        ):
            count = min(self.detections_per_img, of_image.numel())
            scores, place = of_image.flatten().topk(count)
            box = box_convert(box[place // self.num_classes], "cxcywh", "xyxy")
            box = box * box.new_tensor([width, height, width, height])
            found.append(
                {
                    "boxes": clip_boxes_to_image(box, (height, width)),
                    "labels": place % self.num_classes,
                    "scores": scores,
                }
            )
        return found
