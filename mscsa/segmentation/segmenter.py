"""A pyramid and a head that gives each pixel a class: any image size in, logits of that size out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mscsa.attention.folding import refuse_training
from mscsa.dense import NormMode, Pyramid, check_norm_mode, layers_of_backbone, refuse_one_value
from mscsa.errors import UserError
from mscsa.graphs import Graphs, Size, image_graph
from mscsa.models.pyramid import prefixed_no_weight_decay
from mscsa.segmentation.decode_head import DecodeHead
from mscsa.segmentation.dense_topformer import DenseTopFormer


class Segmenter(nn.Module):
    """Backbone and decode head; children are named as in the official segmentation checkpoints."""

    head_prefixes = ("decode_head.",)
    """Where the parameters of the head are, which may learn at another rate."""

    def __init__(
        self,
        backbone: Pyramid | DenseTopFormer,
        decode_head: DecodeHead,
        *,
        size_divisor: int,
        cfg: dict[str, Any],
        backbone_norm: NormMode = "live",
    ) -> None:
        """Put the parts together.

        Args:
            backbone: Images (B, 3, H, W) to a list of maps.
            decode_head: These maps to logits (B, K, h, w) at a lower resolution.
            size_divisor: Images are padded to multiples of it, the deepest stride.
            cfg: timm's description of the backbone's input (mean, std, ...).
            backbone_norm: Of the backbone: `frozen` keeps the statistics of its pre-training, which a few
                crops are too few for. From scratch it must be `live`.
        Raises:
            UserError: If the mode of the norms is not known.
        """
        super().__init__()
        self.backbone = backbone
        self.decode_head = decode_head
        self.size_divisor = size_divisor
        self.pretrained_cfg = cfg
        check_norm_mode("backbone_norm", backbone_norm)
        self.backbone_norm = backbone_norm
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Segment images of any size.

        They are padded with 0, the mean colour of normalised images, on the right and below, and the
        padding is cut off the logits again.

        Args:
            images: (B, 3, H, W).
        Returns:
            Logits (B, K, H, W).
        Raises:
            UserError: If the images are no tensor, or a single image leaves a batch norm nothing to average
                over in training.
        """
        if not hasattr(images, "is_floating_point"):  # what fx traces with is no tensor, and has it
            raise UserError(f"a {type(images).__name__} given as images: give one tensor (B, 3, H, W)")
        height, width = images.shape[-2:]
        logits, padded = self.coarse_logits(images)
        logits = F.interpolate(logits, padded, mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def coarse_logits(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Segment images at the resolution of the head, a 16th of the pixels or less.

        Args:
            images: (B, 3, H, W).
        Returns:
            Logits (B, K, h, w), and the size of the padded images, (H', W'), which `forward` brings them to.
        Raises:
            UserError: As `forward`.
        """
        height, width = images.shape[-2:]
        # Not -side % divisor: torch.compile fails on the remainder of a negative symbolic size.
        below, right = (
            (self.size_divisor - side % self.size_divisor) % self.size_divisor for side in (height, width)
        )
        padded = F.pad(images, (0, right, 0, below))
        try:
            logits = self.decode_head(self.backbone(padded))
        except ValueError as error:
            refuse_one_value(error, f"one image of {height}x{width} px")
            raise
        return logits, (padded.shape[-2], padded.shape[-1])

    def train(self, mode: bool = True) -> Segmenter:
        """Set the mode of all but the backbone's batch norms, if these are frozen.

        Raises:
            ValueError: If the norms are folded (`mscsa.fold_norms`) and it is to train.
        """
        refuse_training(self, mode)
        super().train(mode)
        if self.backbone_norm == "frozen":
            for norm in self._norms_of_backbone():
                norm.eval()
        return self

    def _norms_of_backbone(self) -> list[_BatchNorm]:
        """Find the batch norms that belong to the backbone, not to a neck, an extractor or the head."""
        parts = self.weight_parts()
        others = tuple(prefix for part, prefix in parts.items() if part != "backbone")
        return [
            module
            for name, module in self.named_modules()
            if isinstance(module, _BatchNorm)
            and name.startswith(parts["backbone"])
            and not name.startswith(others)
        ]

    def weight_parts(self) -> dict[str, str]:
        """Say where the weights of each part are: part -> prefix of its keys."""
        inner: Any = self.backbone
        body = {part: f"backbone.{prefix}" for part, prefix in inner.weight_parts().items()}
        return {**body, "head": "decode_head."}

    def get_classifier(self) -> nn.Module:
        """Give the convolution that ends in the classes."""
        return self.decode_head.classifier

    @property
    def chosen_widths(self) -> Mapping[str, int]:
        """Widths of the head that no default says, by the options that set them."""
        return self.decode_head.chosen_widths

    def graphs(self, _size: Size) -> Graphs:
        """Give the one graph that it is exported as, for images of any size."""
        return Graphs(graphs=(image_graph(SegmentationGraph(self), ("logits",)),), step=self.size_divisor)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], float]:
        """Number the layers for timm's layer decay: the backbone's own; then neck and head as one.

        Raises:
            UserError: If timm names no layer groups for the backbone.
        """
        prefix = self.weight_parts()["backbone"]
        return layers_of_backbone(self.get_submodule(prefix.rstrip(".")), prefix, coarse)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the backbone spares from weight decay."""
        return prefixed_no_weight_decay(self.backbone, "backbone")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of backbone and neck in the backward pass."""
        self.backbone.set_grad_checkpointing(enable)


class SegmentationGraph(nn.Module):
    """A segmenter for sides that are multiples of its deepest stride: the padding is the runtime's."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.backbone, self.decode_head = segmenter.backbone, segmenter.decode_head

    def forward(self, images: Tensor) -> Tensor:
        logits = self.decode_head(self.backbone(images))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
