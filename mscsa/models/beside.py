"""MSCSA beside a classifier that stays: logits of its tokens are added to the backbone's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mscsa.attention import MSCSAConfig
from mscsa.backbones.timm_pyramid import read_features
from mscsa.errors import UserError
from mscsa.models.model import MSCSAModel


class MSCSABesideClassifier(MSCSAModel):
    """A timm classifier, unchanged, and a second one on MSCSA's token map; their logits are added.

    The paper classifies by the token map alone, which a pretrained classifier has no use for. Here the second
    classifier starts at 0: with pretrained weights the model says at step 0 what it said without MSCSA.

    >>> plain = timm.create_model("tf_efficientnet_lite0", pretrained=True).eval()
    >>> model = mscsa.create_model("tf_efficientnet_lite0", pretrained=True, keep_classifier=True).eval()
    >>> torch.equal(model(image), plain(image))
    True
    """

    def __init__(
        self, backbone: Any, config: MSCSAConfig, *, num_classes: int = 1000, **of_classifier: Any
    ) -> None:
        """Compose the model from a built backbone.

        Args:
            backbone: A timm model with `feature_info`, `forward_intermediates` and `forward_head`.
            config: Configuration of MSCSA.
            num_classes: Classes; the backbone gets a new classifier if it has others. 0 gives the pooled
                features, the backbone's and then MSCSA's.
            **of_classifier: As `MSCSAModel`; `global_pool` is the backbone's own.
        Raises:
            UserError: If the backbone has no pyramid or no classifier.
            ValueError: If the configuration does not fit.
        """
        if not hasattr(backbone, "forward_head") or not hasattr(backbone, "reset_classifier"):
            raise UserError(
                f"keep_classifier=True given: {type(backbone).__name__} has no classifier; leave it out"
            )
        if backbone.num_classes != num_classes:
            backbone.reset_classifier(num_classes)
        super().__init__(backbone, config, num_classes=num_classes, **of_classifier)

    def _prune_backbone(self) -> None:
        """Leave the backbone whole."""

    def _new_head(self, num_classes: int) -> nn.Module:
        head = super()._new_head(num_classes)
        if isinstance(head, nn.Linear):
            nn.init.zeros_(head.weight)
        self.head_hidden_size = self.backbone.head_hidden_size + self.num_features
        return head

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Give what the backbone's own classifier reads, and the token map (B, num_features, h, w)."""
        own, maps = read_features(self.backbone, x, self._attended)
        return own, self._tokens(maps)

    def forward_head(self, x: tuple[Tensor, Tensor], pre_logits: bool = False) -> Tensor:  # type: ignore[override]
        """Add the logits of both classifiers: (B, num_classes)."""
        own, tokens = x
        pooled = super().forward_head(tokens, pre_logits=True)
        if pre_logits or self.num_classes == 0:
            return torch.cat([self.backbone.forward_head(own, pre_logits=True), pooled], dim=1)
        return self.backbone.forward_head(own) + self.head(pooled)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Give what `forward_features` gives, and the backbone's maps of single levels; as `MSCSAModel`."""
        chosen = self._levels_asked(indices, output_fmt)
        if intermediates_only:
            return self.read(x, chosen)
        read = sorted({*self._attended, *chosen})
        own, maps = read_features(self.backbone, x, read)
        by_level = dict(zip(read, maps, strict=True))
        tokens = self._tokens([by_level[i] for i in self._attended])
        return (own, tokens), [by_level[i] for i in chosen]

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Refuse: what stays here is what timm's pruning removes.

        Raises:
            UserError: Always.
        """
        raise UserError("a model with keep_classifier=True is not pruned: build it without, or a pyramid")

    @property
    def classifier_names(self) -> tuple[str, ...]:
        """Where the layers of the classes are, ours and the backbone's."""
        own = (getattr(self.backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
        return ("head", *(f"backbone.{name}" for name in ((own,) if isinstance(own, str) else own)))

    def get_classifier(self) -> nn.ModuleList:
        """Give both classifiers."""
        own = self.backbone.get_classifier()
        return nn.ModuleList([*(own if isinstance(own, (tuple, list)) else (own,)), self.head])

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace both classifiers by new ones for `num_classes`; 0 leaves the features of both.

        Raises:
            UserError: If the classes or the pooling are not possible; it stays the backbone's own.
        """
        if global_pool not in (None, "avg"):
            raise UserError(
                f"global_pool={global_pool!r} given: the kept classifier pools as it does; leave it out"
            )
        super().reset_classifier(num_classes, "avg")
        self.backbone.reset_classifier(num_classes)

    def _form_args(self) -> dict[str, Any]:
        return {"keep_classifier": True}
