"""Deformable DETR by transformers, under torchvision's contract.

Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021,
https://arxiv.org/abs/2010.04159. transformers leaves out the loss of the encoder's proposals (two-stage),
shares the box heads of all layers even where each is to refine the one before, drops out less and starts
from other values: these follow the paper's own training here.
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
from transformers.modeling_outputs import BackboneOutput

from mscsa.dense import Pyramid, levels_of
from mscsa.detection.boxes import keep_precision
from mscsa.detection.fpn import BatchImages
from mscsa.detection.network import Network
from mscsa.detection.query_graph import QueryGraph
from mscsa.detection.set_loss import Objects, count_objects, set_losses
from mscsa.errors import UserError
from mscsa.graphs import IMAGES, Graph, Graphs, Size, random_images, uneven_sizes

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

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput:
        """Map images (B, 3, H, W) to the pyramid's maps; the other arguments are without effect."""
        return BackboneOutput(feature_maps=tuple(self.body(pixel_values)))


AutoConfig.register(PyramidConfig.model_type, PyramidConfig, exist_ok=True)
AutoBackbone.register(PyramidConfig, PyramidBackbone, exist_ok=True)


class DeformableDETR(Network):
    """transformers' Deformable DETR with torchvision's images, targets, losses and detections."""

    first_label = 0
    body = "transformer.model.backbone.model.body"
    of_classes = ("class_embed",)
    slow = ("sampling_offsets", "reference_points")

    def __init__(
        self, pyramid: Pyramid, config: DeformableDetrConfig, *, detections_per_img: int = 100
    ) -> None:
        """Build it on a pyramid.

        Args:
            pyramid: Its parts are taken over.
            config: transformers' own, of a `PyramidConfig` with the pyramid's channels.
            detections_per_img: Most objects found in an image.
        """
        super().__init__()
        self.config = config
        self.transformer: Any = DeformableDetrForObjectDetection(config)
        self.transformer.model.backbone.model.body = pyramid
        self.num_classes = config.num_labels
        self.detections_per_img = detections_per_img
        self.transform = BatchImages.of(pyramid)
        self._follow_paper()

    def _follow_paper(self) -> None:
        """Undo what transformers does otherwise than the paper's own training."""
        model, decoder = self.transformer.model, self.transformer.model.decoder
        model.encoder.dropout = 0.0  # of the maps themselves; the layers have their own
        if self.config.with_box_refine:
            decoder.bbox_embed = self.transformer.bbox_embed
        if self.config.two_stage:
            decoder.class_embed = self.transformer.class_embed
            model.encoder.register_forward_hook(_limit_proposals)
        else:
            keep_precision(model.reference_points)
        keep_precision(*self.transformer.class_embed, *self.transformer.bbox_embed)
        self._start_layers()
        self._start_heads()

    def _start_layers(self) -> None:
        """Start encoder, decoder and queries; without spread the queries would all look at one point."""
        model = self.transformer.model
        linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        for name, layer in linear:
            if name.startswith(("encoder.layers.", "decoder.layers.", "enc_output", "pos_trans")):
                if name.endswith(("sampling_offsets", "attention_weights")):
                    continue  # as in the paper already
                # PyTorch's attention keeps these three in one matrix and starts it as one.
                is_third = name.endswith(("q_proj", "k_proj", "v_proj"))
                nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(0.5) if is_third else 1.0)
        for convolution, _ in model.input_proj:
            nn.init.xavier_uniform_(convolution.weight)
        if not self.config.two_stage:
            nn.init.normal_(model.query_position_embeddings.weight)

    def _start_heads(self) -> None:
        """Start the heads: few objects, and boxes that are small (or the proposals) and in place."""
        for head in self.transformer.class_embed:
            head.reset_parameters()
            nn.init.constant_(head.bias, -math.log((1 - _PRIOR) / _PRIOR))
        for i, head in enumerate(self.transformer.bbox_embed):
            for layer in head.layers:
                layer.reset_parameters()
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
        pixels = batch.tensors
        own = next(self.parameters()).dtype
        if own in (torch.float16, torch.bfloat16):  # transformers' sampling is in float32
            raise UserError(
                f"a Deformable DETR in {own}: it samples in float32; leave the model in that, and "
                "run it under torch.autocast"
            )
        mask = torch.zeros(len(sizes), *pixels.shape[-2:], dtype=torch.long, device=pixels.device)
        for i, (height, width) in enumerate(sizes):
            mask[i, :height, :width] = 1
        inner = self.transformer.model(pixels, pixel_mask=mask)
        logits, boxes = self._predict(inner)
        if not self.training:
            return self._detections(logits[-1], boxes[-1], sizes)
        if targets is None:
            raise UserError("images without targets: training needs one for each image")
        return self._losses(logits, boxes, inner, targets, sizes)

    def layers(self, images: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Give each decoder layer's logits (B, Q, K) and boxes (B, Q, 4), as shares of the image.

        Args:
            images: Normalised and padded, (B, 3, H, W).
            mask: 1 where there is image, 0 where there is padding, (B, H, W).
        """
        return self._predict(self.transformer.model(images, pixel_mask=mask))

    def graphs(self, size: Size) -> Graphs:
        """Give the graph up to the logits and boxes of the last layer, which takes the images' sizes too."""
        graph = Graph(
            name="model",
            module=QueryGraph(self, size),
            axes={"images": IMAGES, "sizes": {0: "batch"}},
            outputs=("logits", "boxes"),
            example=lambda batch, of_size: (*random_images(batch, of_size), uneven_sizes(batch, of_size)),
        )
        how = {"kind": "queries", "takes_sizes": True, "detections_per_img": self.detections_per_img}
        return Graphs(graphs=(graph,), has_one_size=True, selection=how)

    def _predict(self, inner: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Give each layer's logits (B, Q, K) and boxes (B, Q, 4), centre and size as shares of the image."""
        logits, boxes = [], []
        reference = inner.init_reference_points
        for i in range(inner.intermediate_hidden_states.shape[1]):
            hidden = inner.intermediate_hidden_states[:, i]
            offsets = self.transformer.bbox_embed[i](hidden)
            known = torch.special.logit(reference, eps=1e-5)
            size = known.shape[-1]  # 2 where only the centre is known
            offsets = torch.cat([offsets[..., :size] + known, offsets[..., size:]], -1)
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
        """Give the weighted losses of each decoder layer, and of the encoder's proposals."""
        objects = []
        for target, (height, width) in zip(targets, sizes, strict=True):
            known = target["boxes"]
            shares = box_convert(known, "xyxy", "cxcywh") / known.new_tensor([width, height, width, height])
            objects.append((target["labels"], shares))
        self.loss_count = count = count_objects(objects)
        losses: dict[str, Tensor] = {}
        for i, (of_layer, box) in enumerate(zip(logits, boxes, strict=True)):
            found = set_losses(of_layer, box, objects, count)
            losses |= {f"{name}_{i}": value for name, value in found.items()}
        if self.config.two_stage:
            # Whether there is an object at all: class 0 stands for it.
            whether: list[Objects] = [(torch.zeros_like(labels), known) for labels, known in objects]
            proposed = inner.enc_outputs_coord_logits.sigmoid()
            found = set_losses(inner.enc_outputs_class, proposed, whether, count)
            losses |= {f"{name}_proposals": value for name, value in found.items()}
        return losses

    def _detections(
        self, logits: Tensor, boxes: Tensor, sizes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Take the surest pairs of query and class."""
        found = []
        for of_image, box, (height, width) in zip(logits.sigmoid(), boxes, sizes, strict=True):
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


def deformable_detr(
    pyramid: Pyramid,
    num_classes: int,
    *,
    num_queries: int = 300,
    encoder_layers: int = 6,
    decoder_layers: int = 6,
    box_refine: bool = False,
    two_stage: bool = False,
    dropout: float = 0.1,
    detections_per_img: int = 100,
) -> DeformableDETR:
    """Build Deformable DETR on a pyramid.

    Args:
        pyramid: Of strides 8, 16 and 32, to which a convolution adds a coarser level; its parts are taken
            over.
        num_classes: K.
        num_queries: Objects that it looks for; in two stages no more than the maps have places.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        box_refine: Each decoder layer moves the boxes of the one before.
        two_stage: The encoder proposes the queries' boxes; implies `box_refine`.
        dropout: Rate in encoder and decoder.
        detections_per_img: Most objects found in an image.
    """
    options: dict[str, Any] = dict(
        backbone_config=PyramidConfig(levels_of(pyramid)[0]),
        num_labels=num_classes,
        num_queries=num_queries,
        two_stage_num_proposals=num_queries,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        with_box_refine=box_refine or two_stage,
        two_stage=two_stage,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        # Without refinement all layers share their heads; transformers refuses to tie those of one layer.
        tie_word_embeddings=decoder_layers > 1 and not (box_refine or two_stage),
    )
    return DeformableDETR(pyramid, DeformableDetrConfig(**options), detections_per_img=detections_per_img)


def _limit_proposals(encoder: Any, _args: Any, output: Any) -> None:
    """Let a small image, whose maps have fewer places than there are queries, propose one box for each."""
    config = encoder.config  # the whole model's
    config.two_stage_num_proposals = min(config.num_queries, output.last_hidden_state.shape[1])
