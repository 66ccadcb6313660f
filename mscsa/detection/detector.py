"""One contract for all detectors: torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mscsa.attention.folding import refuse_training
from mscsa.dense import NormMode, check_norm_mode, layers_of_backbone, refuse_one_value
from mscsa.detection.mask_head import paste_masks
from mscsa.detection.network import Network
from mscsa.errors import UserError
from mscsa.graphs import Graphs, Size
from mscsa.models.pyramid import prefixed_no_weight_decay

Target = Mapping[str, Tensor]
"""Boxes (N, 4), labels (N,) and, for instance segmentation, masks (N, H, W) of an image."""


class Detector(nn.Module):
    """A network that finds objects, with labels 1..K for K classes and 0 for what is none.

    In training it maps images and targets to a dict of losses, whose sum is to be minimised. In evaluation
    it maps images to a list of dicts, the surest objects first: `boxes` (N, 4), x1 y1 x2 y2 in pixels of the
    input; `labels` (N,); `scores` (N,) in 0..1; and of the mask detectors `masks` (N, 1, H, W), as
    probabilities.
    """

    def __init__(
        self,
        net: Network,
        num_classes: int,
        *,
        has_masks: bool,
        cfg: dict[str, Any],
        backbone_norm: NormMode = "frozen",
        mscsa_norm: NormMode = "live",
    ) -> None:
        """Wrap a network.

        Args:
            net: What finds the objects.
            num_classes: K.
            has_masks: Whether it gives masks, and needs them to train.
            cfg: timm's description of the backbone's input (mean, std, ...).
            backbone_norm: Of the backbone. `frozen` keeps the statistics of its pre-training: one or two
                images of a process are too few for new ones. From scratch it must be `live`.
            mscsa_norm: Of the neck, MSCSA or any other in its place. `live`: a neck starts without
                statistics, and one image of 800 px has a thousand tokens; `run.sync_batchnorm` joins the
                processes.
        Raises:
            UserError: If a norm's mode is not known.
        """
        super().__init__()
        self.net = net
        self.num_classes = num_classes
        self.body = f"net.{net.body}."
        self.has_masks = has_masks
        self.pretrained_cfg = cfg
        self.norm_modes: dict[str, NormMode] = {"backbone": backbone_norm, "mscsa": mscsa_norm}
        for name, mode in self.norm_modes.items():
            check_norm_mode(f"{name}_norm", mode)
        self.train()

    @property
    def pyramid(self) -> Any:
        """The backbone, with a neck or without."""
        return self.get_submodule(self.body.rstrip("."))

    @property
    def detections_per_img(self) -> int:
        """Most objects that it gives for an image."""
        return int(self.net.detections_per_img)

    @property
    def size_divisor(self) -> int:
        """The deepest stride: images are padded to multiples of it."""
        return int(self.net.transform.size_divisible)

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """Names of the head's parameters, which may learn at another rate."""
        names = [name for name, _ in self.named_parameters()]
        return tuple(
            name
            for name in names
            if not name.startswith(self.body) and not any(part in name for part in self.net.slow)
        )

    def take_normalized(self) -> None:
        """Leave the values of images as they are from now on: who gives them has normalised them."""
        transform = self.net.transform
        transform.image_mean = [0.0] * len(transform.image_mean)
        transform.image_std = [1.0] * len(transform.image_std)

    @property
    def loss_count(self) -> Tensor | None:
        """What the last losses were divided by, if a count: see `Network.loss_count`."""
        return self.net.loss_count

    @property
    def chosen_widths(self) -> Mapping[str, int]:
        """Widths of the head that no default says, by the options that set them."""
        return self.net.chosen_widths

    def run_fixed(self, images: Tensor) -> None:
        """Run the network as it is counted, in evaluation mode; what it finds is lost.

        As MMDetection 2 counts (`forward_dummy`): backbone, neck and head whole, but of a two-stage detector
        the box head on 1000 boxes of each image and the mask head on 100 of them, in a cascade all of its
        stages. What picks, cuts out and pastes boxes has no convolution or matrix product and is left out
        there, so that it runs on the meta device.

        Args:
            images: (B, 3, H, W).
        """
        self.net.run_fixed(images)

    def fix_workload(self, num_objects: int) -> None:
        """Make it do the same work for any image, whatever its weights, to time it; it spoils the detections.

        With random weights no score passes the threshold, so that a mask head would never run, and chance
        decides how many boxes overlap. So one class gets a sure score and no box is dropped for overlap:
        two-stage detectors then have all `proposals` and all find `detections_per_img` objects. In training
        the mask head gets as many boxes as there are objects, not those too which happen to lie on one.

        Args:
            num_objects: Of each training image.
        """
        self.net.fix_workload(num_objects)

    def graphs(self, size: Size) -> Graphs:
        """Give the graphs that it is exported as, for images of (H, W) pixels.

        Raises:
            UserError: If it is of a kind that has none.
        """
        return self.net.graphs(size)

    def weight_parts(self) -> dict[str, str]:
        """Say where the weights of each part are: part -> prefix of its keys."""
        body = {part: self.body + prefix for part, prefix in self.pyramid.weight_parts().items()}
        return {**body, "head": "net."}

    def get_classifier(self) -> nn.ModuleList:
        """Give the layers whose shape depends on the number of classes."""
        named = self.net.named_modules()
        return nn.ModuleList(layer for name, layer in named if name.split(".")[-1] in self.net.of_classes)

    def train(self, mode: bool = True) -> Detector:
        """Set the mode of all but the batch norms that are frozen.

        Raises:
            ValueError: If the norms are folded (`mscsa.fold_norms`) and it is to train.
        """
        refuse_training(self, mode)
        super().train(mode)
        for norm in self._frozen_norms():
            norm.eval()
        return self

    def _frozen_norms(self) -> list[_BatchNorm]:
        pyramid = self.pyramid
        frozen = [pyramid.backbone] if self.norm_modes["backbone"] == "frozen" else []
        if self.norm_modes["mscsa"] == "frozen":
            frozen += [part for name, part in pyramid.named_children() if name != "backbone"]
        return [each for part in frozen for each in part.modules() if isinstance(each, _BatchNorm)]

    def forward(self, images: Sequence[Tensor] | Tensor, targets: Sequence[Target] | None = None) -> Any:
        """Find the objects in images of any sizes, or give the losses.

        Args:
            images: (3, H, W) each, or (B, 3, H, W), of values in 0..1; normalised and padded here, not
                resized.
            targets: In training, of each image: `boxes` (N, 4), x1 y1 x2 y2 in pixels, `labels` (N,), int64
                in 1..K, and for mask detectors `masks` (N, H, W); N may be 0.
        Raises:
            UserError: If there is no image, one has other channels or no floats, a target is missing or not
                possible, or a single tiny image leaves a batch norm nothing to average over.
        """
        if not self.training:
            return [
                {
                    **each,
                    "masks": paste_masks(each["masks"], each["boxes"], (image.shape[-2], image.shape[-1])),
                }
                if self.has_masks
                else each
                for each, image in zip(self.find(images), images, strict=True)
            ]
        self._check_images(images)
        shifted = self._check(images, targets)
        try:
            return self.net(list(images), shifted)
        except ValueError as error:
            frozen = "or backbone_norm='frozen' and mscsa_norm='frozen'"
            refuse_one_value(error, "one image this small", frozen)
            raise

    def find(self, images: Sequence[Tensor] | Tensor) -> list[dict[str, Tensor]]:
        """Find the objects in images as `forward` does in evaluation, but leave each mask in its box.

        Who wants masks at another size pastes them there (`paste_masks`) instead of resizing pasted ones.

        Args:
            images: As of `forward`.
        Returns:
            What `forward` gives, but for `masks`: probabilities inside the boxes, (N, 1, 28, 28).
        """
        self._check_images(images)
        shift = 1 - self.net.first_label
        return [{**each, "labels": each["labels"] + shift} for each in self.net(list(images))]

    def _check_images(self, images: Sequence[Tensor] | Tensor) -> None:
        """Refuse images of another kind than they are given for; their values are not looked at."""
        channels = len(self.net.transform.image_mean)
        is_many = images.ndim > 0 if isinstance(images, Tensor) else isinstance(images, Sequence)
        if not is_many or not len(images):
            given = "no" if is_many else f"a value of {type(images)} for"
            raise UserError(f"{given} images given: give a list of tensors ({channels}, H, W), one or more")
        for i, image in enumerate(images):
            if not isinstance(image, Tensor):
                raise UserError(f"image {i} is of {type(image)}: give a tensor ({channels}, H, W)")
            if image.ndim != 3 or image.shape[0] != channels or not image.is_floating_point():
                raise UserError(
                    f"image {i} is {tuple(image.shape)}, {image.dtype}: give ({channels}, H, W), floats in "
                    "0..1; what is in 0..255 is to be divided by 255"
                )

    def _check(
        self, images: Sequence[Tensor] | Tensor, targets: Sequence[Target] | None
    ) -> list[dict[str, Tensor]]:
        """Refuse impossible targets, and give them with the network's own labels."""
        if not isinstance(targets, Sequence) or len(targets) != len(images):
            given = (
                "none" if targets is None else str(len(targets) if isinstance(targets, Sequence) else targets)
            )
            raise UserError(f"{len(images)} images with {given} targets: training needs one for each image")
        needed = ("boxes", "labels", *(("masks",) if self.has_masks else ()))
        shifted = []
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            if not isinstance(target, Mapping):
                raise UserError(f"target {i} is of {type(target)}: give a dictionary of {', '.join(needed)}")
            missing = [key for key in needed if key not in target]
            if missing:
                raise UserError(f"target {i} has no {', '.join(missing)}: give {', '.join(needed)}")
            untensored = [key for key in needed if not isinstance(target[key], Tensor)]
            if untensored:
                kind = type(target[untensored[0]]).__name__
                raise UserError(f"target {i} has {untensored[0]} of type {kind}: give a tensor")
            _check_objects(i, target, self.num_classes)
            wanted = (len(target["labels"]), *image.shape[-2:])
            if self.has_masks and target["masks"].shape != wanted:
                raise UserError(
                    f"target {i} has masks of shape {tuple(target['masks'].shape)}: give {wanted}, one for "
                    "each box, of the image's size"
                )
            if self.has_masks and len(target["masks"]) and not _are_masks(target["masks"]):
                raise UserError(
                    f"target {i} has masks of values beyond 0 to 1: divide those of 0 and 255 by 255"
                )
            # Boxes take part in the losses in the precision of the images, but never in less than float32.
            boxes = target["boxes"].to(torch.promote_types(image.dtype, torch.float32))
            labels = target["labels"] + (self.net.first_label - 1)
            shifted.append({key: target[key] for key in needed} | {"boxes": boxes, "labels": labels})
        return shifted

    def group_matcher(self, coarse: bool = False) -> Callable[[str], float]:
        """Number the layers for timm's layer decay: the backbone's own; then neck, FPN and heads as one.

        Raises:
            UserError: If timm names no layer groups for the backbone.
        """
        return layers_of_backbone(self.pyramid.backbone, f"{self.body}backbone.", coarse)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the backbone spares from weight decay."""
        return prefixed_no_weight_decay(self.pyramid, self.body.rstrip("."))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of backbone and neck in the backward pass."""
        self.pyramid.set_grad_checkpointing(enable)


def _are_masks(masks: Tensor) -> bool:
    """Whether masks are shares of inside: beyond 0..1 cross-entropy has no lower bound."""
    if masks.dtype == torch.bool:
        return True
    if masks.dtype == torch.uint8:  # as the data sets give them
        return bool(masks.max() <= 1)
    least, most = masks.aminmax()
    return bool((least >= 0) & (most <= 1))


def _check_objects(i: int, target: Target, num_classes: int) -> None:
    """Refuse boxes and labels that the image `i` of a batch cannot have."""
    boxes, labels = target["boxes"], target["labels"]
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise UserError(
            f"target {i} has labels of shape {tuple(labels.shape)} and {labels.dtype}: give (N,), torch.int64"
        )
    if boxes.shape != (len(labels), 4):
        raise UserError(
            f"target {i} has boxes of shape {tuple(boxes.shape)} for {len(labels)} labels: give (N, 4)"
        )
    if not len(labels):
        return
    least, most = int(labels.min()), int(labels.max())
    if least < 1 or most > num_classes:
        raise UserError(
            f"target {i} has labels from {least} to {most}: give 1 to {num_classes}; 0 is what is no object"
        )
    if not bool(((boxes[:, 2:] > boxes[:, :2]) & boxes[:, 2:].isfinite() & boxes[:, :2].isfinite()).all()):
        raise UserError(
            f"target {i} has a box without width or height, or of no number: give x1 < x2 and y1 < y2"
        )
