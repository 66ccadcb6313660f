"""A timm backbone with MSCSA: one model, as a classifier or as a pyramid, under timm's contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from timm.models import register_notrace_module
from timm.models._input import get_model_args
from torch import Tensor, nn

from mscsa.attention.config import MSCSAConfig
from mscsa.attention.folding import FOLDED, is_folded
from mscsa.attention.fusion import PyramidFusion
from mscsa.attention.module import MSCSA, takes_batch_statistics
from mscsa.backbones.timm_contract import check_batch_values, chosen_pooling, start_small
from mscsa.backbones.timm_pyramid import attended_levels, check_rates, pyramid_levels, read_features
from mscsa.errors import UserError
from mscsa.models.pyramid import BackboneModel, positions_in, resolve_out_indices

Features = Tensor | tuple[Tensor, Tensor]
"""A token map (B, D, h, w); or what a backbone's own classifier reads, and the token map."""

ANY_BACKBONE = "mscsa"
"""Registered name of MSCSA on the backbone that its argument `backbone` names."""

# Their shapes are read to choose a path, which torch.fx cannot follow: leaves of a traced graph.
register_notrace_module(MSCSA)
register_notrace_module(PyramidFusion)


class MSCSAModel(BackboneModel):
    """Backbone + MSCSA. A classifier pools the token map; a pyramid gives back fused maps.

    The paper classifies by the token map alone, which a pretrained classifier has no use for. With
    `keep_classifier` the backbone's own stays, and logits of the tokens, 0 at the start, are added to its.

    Both forms share the keys `backbone.*` and `mscsa.*`, so that a classifier's checkpoint starts a
    pyramid (and back). The classifier adds `norm` and `head`, the pyramid `fusion`.

    timm's `create_feature_extractor` traces it by `torch.fx` where it traces the backbone's
    `forward_intermediates`: with what timm keeps whole as leaves, MSCSA and the fusion among it, which a bare
    `torch.fx.symbolic_trace` does not know. `torch.jit.script` is not promised (the layouts that MSCSA
    chooses between are not scriptable): export with `torch.export`.
    """

    norm: nn.Module
    head: nn.Module
    pretrained_model_args: dict[str, Any]

    def __init__(
        self,
        backbone: Any,
        config: MSCSAConfig,
        *,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        out_indices: int | Sequence[int] | None = None,
        features_only: bool = False,
        fuse: bool = True,
        keep_classifier: bool = False,
        pool_first: bool = False,
        name: str | None = None,
    ) -> None:
        """Compose the model from a built backbone.

        Args:
            backbone: A timm model with `feature_info` and `forward_intermediates`; loses its classifier.
            config: Configuration of MSCSA.
            num_classes: Of the classifier; a kept one of others is replaced. 0 gives the pooled features.
            global_pool: "avg"; or "" with 0 classes for the token map itself. A kept one pools as it does.
            drop_rate: Dropout before the classifier.
            out_indices: Levels of the pyramid form, as in timm: indices among all levels of the
                backbone, or the number of last ones. None gives all.
            features_only: Build the pyramid form.
            fuse: Build its fusions; else it gives the backbone's own maps, for a head that takes the tokens.
            keep_classifier: Keep the backbone's own classifier and add the logits of MSCSA's tokens to its.
            pool_first: Classify as TopFormer does: pool, batch norm, linear; else norm before pooling.
            name: What error messages call the backbone.
        Raises:
            UserError: If the backbone has no pyramid, `out_indices` names a level it does not have, or there
                is no classifier to keep.
            ValueError: If the configuration does not fit.
        """
        _check_form(features_only, out_indices, global_pool)
        check_rates(drop_rate=drop_rate)
        levels = pyramid_levels(backbone)
        attended = attended_levels(levels, name or type(backbone).__name__)
        super().__init__(backbone, resolve_out_indices(levels, out_indices) if features_only else ())
        self.keeps_classifier = keep_classifier
        self._attended = [level.index for level in attended]
        if keep_classifier:
            self._check_kept(num_classes, global_pool)
        else:
            backbone.prune_intermediate_layers(indices=[level.index for level in levels], prune_norm=True)
        channels, strides = zip(*((level.channels, level.stride) for level in attended), strict=True)
        self.mscsa: MSCSA | None = MSCSA(channels, strides, config)
        self.num_features = self.head_hidden_size = self.mscsa.num_features
        self.drop_rate = float(drop_rate)
        if features_only:
            fused = positions_in(attended, self.out_indices, "MSCSA")
            self.fusion = PyramidFusion(self.mscsa, fused if fuse else ())
            self.num_classes = 0
        else:
            self.pool_first = pool_first
            self.global_pool = "avg"
            self.norm = (nn.BatchNorm1d if pool_first else nn.BatchNorm2d)(self.num_features)
            self.head_drop = nn.Dropout(drop_rate)
            self._set_classifier(num_classes, global_pool)

    def _check_kept(self, num_classes: int, global_pool: str) -> None:
        """Give a kept classifier its classes; refuse to keep one that is not there."""
        backbone = self.backbone
        reason = "a pyramid has no classifier" if self.is_pyramid else None
        if not hasattr(backbone, "forward_head") or not hasattr(backbone, "reset_classifier"):
            reason = f"{type(backbone).__name__} has no classifier"
        elif global_pool != "avg":
            reason = f"with global_pool={global_pool!r}, but a kept classifier pools as it does"
        elif get_model_args(backbone).get("global_pool") == "":
            reason = f"this {type(backbone).__name__} does not pool its features (global_pool='')"
        if reason is not None:
            raise UserError(f"keep_classifier=True given: {reason}; leave one out")
        if backbone.num_classes != num_classes:
            backbone.reset_classifier(num_classes)

    def weight_parts(self) -> dict[str, str]:
        """Say where the weights of each part are: part -> prefix of its keys."""
        own = ("fusion",) if self.is_pyramid else ("norm", "head")
        added = ("mscsa", *own) if self.mscsa is not None else own
        return {part: f"{part}." for part in ("backbone", *added)}

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Classify, or give the fused pyramid.

        Args:
            x: Images, (B, in_chans, H, W).
        Returns:
            Logits (B, num_classes); in the pyramid form one map (B, C_i, H_i, W_i) per out index.
        """
        if self.is_pyramid:
            return self.forward_intermediates(x, intermediates_only=True)
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Features:
        """Give the token map, (B, num_features, h, w), normed where the classifier norms before pooling.

        With a kept classifier a pair: what that reads, and the token map.
        """
        if self.mscsa is None:  # pruned to a level that MSCSA is not needed for
            return self.read(x, [self.levels[-1].index])[0]
        own, by_level = self._read_levels(x, self._attended)
        return self._features(own, self.mscsa([by_level[i] for i in self._attended]))

    def _read_levels(self, x: Tensor, indices: Iterable[int]) -> tuple[Tensor | None, dict[int, Tensor]]:
        """Give what a kept classifier reads, or None, and the maps of levels."""
        read = sorted(set(indices))
        own, maps = (
            read_features(self.backbone, x, read) if self.keeps_classifier else (None, self.read(x, read))
        )
        return own, dict(zip(read, maps, strict=True))

    def _features(self, own: Tensor | None, tokens: Tensor) -> Features:
        """Give what `forward_head` takes.

        Raises:
            UserError: If one image leaves the norm nothing to average over in training.
        """
        if not self.is_pyramid and not self.pool_first:
            check_batch_values(tokens, 1, takes_batch_statistics(self.norm))
            tokens = self.norm(tokens)
        return tokens if own is None else (own, tokens)

    def forward_head(self, x: Features, pre_logits: bool = False) -> Tensor:
        """Pool the token map and classify: (B, num_features, h, w) to (B, num_classes).

        With a kept classifier, of a pair as `forward_features` gives it: the sum of both logits; before
        them, the features of both one after the other.

        Raises:
            UserError: If one image leaves a norm behind the pooling nothing to average over in training.
        """
        own, tokens = x if isinstance(x, tuple) else (None, x)
        if self.global_pool:
            tokens = tokens.mean(dim=(2, 3))
            if self.pool_first:
                check_batch_values(tokens, 1, takes_batch_statistics(self.norm))
                tokens = self.norm(tokens)
        tokens = self.head_drop(tokens)
        if own is None:
            return tokens if pre_logits else self.head(tokens)
        if pre_logits or self.num_classes == 0:
            return torch.cat([self.backbone.forward_head(own, pre_logits=True), tokens], dim=1)
        return self.backbone.forward_head(own) + self.head(tokens)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Give the token map and the maps of single levels.

        The pyramid form gives its fused maps. The classifier has no fusion and gives the backbone's.

        Args:
            x: Images, (B, in_chans, H, W).
            indices: Levels, as `out_indices`; None gives all that the form has.
            norm: The token map is what `forward_features` gives, always; single maps have no norm.
            stop_early: MSCSA reads all levels; without effect but where the maps alone are asked for.
            output_fmt: Only "NCHW".
            intermediates_only: Give the list of maps alone.
        Returns:
            What `forward_features` gives and a list of maps (B, C_i, H_i, W_i); or the list alone.
        Raises:
            UserError: If `indices` names a level that the model does not have, or another format is
                asked for.
        """
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt={output_fmt!r} given: only 'NCHW' is possible")
        available = self.out_indices or tuple(level.index for level in self.levels)
        chosen = list(available) if indices is None else resolve_out_indices(self.levels, indices)
        if not set(chosen) <= set(available):
            raise UserError(f"levels {chosen} asked for: this model was built for {list(available)}")
        if self.mscsa is None or (intermediates_only and not self.is_pyramid):
            maps = self.read(x, chosen)
            return maps if intermediates_only else (self.forward_features(x), maps)
        own, by_level = self._read_levels(x, {*self._attended, *chosen})
        attended = [by_level[i] for i in self._attended]
        tokens = self.mscsa(attended)
        if self.is_pyramid:
            fused = self.fusion(tokens, attended)
            by_level.update(
                {self._attended[level]: x for level, x in zip(self.fusion.levels, fused, strict=True)}
            )
        intermediates = [by_level[i] for i in chosen]
        return intermediates if intermediates_only else (self._features(own, tokens), intermediates)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the backbone's maps of some levels do not need (timm's contract).

        MSCSA reads all levels: it stays where the deepest level does, and goes where that is cut off.

        Args:
            indices: Levels, as `out_indices`.
            prune_norm: Remove the norm before the classifier.
            prune_head: Remove the classifier and its pooling.
        Returns:
            The levels as ascending indices.
        Raises:
            UserError: In the pyramid form, whose levels are chosen where it is built; with a kept classifier;
                or if a level is not there.
        """
        if self.is_pyramid:
            raise UserError("a pyramid (features_only=True) is built for its levels: give it out_indices")
        if self.keeps_classifier:
            raise UserError("a model with keep_classifier=True is not pruned: build it without, or a pyramid")
        chosen = resolve_out_indices(self.levels, indices)
        is_cut = chosen[-1] < self.levels[-1].index
        if prune_norm or is_cut:
            self.norm = nn.Identity().train(self.training)
        if prune_head or is_cut:
            self.reset_classifier(0, "")
        if is_cut:
            kept = [level.index for level in self.levels if level.index <= chosen[-1]]
            self.backbone.prune_intermediate_layers(indices=kept, prune_norm=True)
            self.levels = self.levels[: len(kept)]
            self.feature_info = self.feature_info[: len(kept)]
            self.num_features = self.head_hidden_size = self.levels[-1].channels
            self.mscsa, self._attended = None, []
        return chosen

    @property
    def classifier_names(self) -> str | tuple[str, ...]:
        """What timm calls `classifier` in a `pretrained_cfg`: where the layers of the classes are."""
        if not self.keeps_classifier:
            return "head"
        own = (getattr(self.backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
        return ("head", *(f"backbone.{name}" for name in ((own,) if isinstance(own, str) else own)))

    def get_classifier(self) -> nn.Module:
        """Give the classifier, or a `ModuleList` of the kept one and ours; nothing in the pyramid form."""
        if self.is_pyramid:
            return nn.Identity()
        if not self.keeps_classifier:
            return self.head
        own = self.backbone.get_classifier()
        return nn.ModuleList([*(own if isinstance(own, (tuple, list)) else (own,)), self.head])

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and a kept one, by a new one for `num_classes`; 0 leaves the features.

        Args:
            num_classes: Number of classes.
            global_pool: "avg"; or "" with 0 classes for the token map itself; None keeps what it is, but
                classes need the average.
        Raises:
            UserError: In the pyramid form, or if the classes or the pooling are not possible.
        """
        if self.is_pyramid:
            raise UserError(
                "a pyramid (features_only=True) has no classifier to reset: build the classifier form"
            )
        if self.keeps_classifier and global_pool == "":
            raise UserError("global_pool='' given: a kept classifier pools as it does; leave it out")
        self._set_classifier(num_classes, global_pool)
        if self.keeps_classifier:
            self.backbone.reset_classifier(num_classes)

    def _set_classifier(self, num_classes: int, global_pool: str | None) -> None:
        self.global_pool = chosen_pooling(global_pool, self.global_pool, num_classes)
        self.num_classes = num_classes
        self.head_hidden_size = self.num_features
        if self.keeps_classifier:
            self.head_hidden_size += self.backbone.head_hidden_size
        if num_classes == 0:
            self.head = nn.Identity().train(self.training)
            return
        reference = next(self.parameters())
        head = nn.Linear(self.num_features, num_classes, device=reference.device, dtype=reference.dtype)
        start_small(head, num_classes)
        if self.keeps_classifier:
            nn.init.zeros_(head.weight)
        self.head = head.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of backbone and MSCSA in the backward pass.

        Raises:
            UserError: If timm cannot recompute those of the backbone; nothing is changed then.
        """
        super().set_grad_checkpointing(enable)
        if self.mscsa is not None:
            self.mscsa.set_grad_checkpointing(enable)

    @property
    def _model_args(self) -> dict[str, Any]:
        """What timm writes beside saved weights: the arguments that build a model of this structure again.

        Read off the model, so that a budget or a preset means tomorrow what it means today. timm adds the
        current classes, channels and pooling by itself, and leaves out the rates of dropout and stochastic
        depth, which no weights depend on: to train on, give them again.

        Raises:
            UserError: If the backbone was not built by timm, which then cannot build it again, or norms are
                folded.
        """
        of_backbone = getattr(self.backbone, "pretrained_cfg", None) or {}
        if is_folded(self):
            raise UserError(f"{FOLDED}: save the model that it was folded from")
        if (
            self.mscsa is None
            or (self.is_pyramid and not len(self.fusion))
            or "architecture" not in of_backbone
            or not hasattr(self.backbone, "_model_args")
        ):
            raise UserError(
                f"timm cannot build this {type(self.backbone).__name__} with MSCSA again: it was built or "
                "pruned by hand; save its weights with mscsa.save_weights or mscsa.save_addon"
            )
        arguments: dict[str, Any] = asdict(self.mscsa.config)
        # A kept classifier pools as it does; what timm writes as the pooling is that of the tokens.
        said_once = {"num_classes", "in_chans", "features_only", "out_indices"}
        said_once |= set() if self.keeps_classifier else {"global_pool"}
        arguments["backbone_kwargs"] = {
            key: value for key, value in get_model_args(self.backbone).items() if key not in said_once
        }
        if self.pretrained_cfg.get("architecture") == ANY_BACKBONE:
            arguments["backbone"] = of_backbone["architecture"]
        return arguments | self._form_args()

    @_model_args.setter
    def _model_args(self, arguments: dict[str, Any]) -> None:
        """Leave what timm notes about the call that built the model: `_model_args` reads the model."""

    def _form_args(self) -> dict[str, Any]:
        """Give the arguments that choose the form of the model."""
        if self.is_pyramid:
            return {"features_only": True, "out_indices": list(self.out_indices)}
        return {"keep_classifier": True} if self.keeps_classifier else {}


def _check_form(features_only: bool, out_indices: int | Sequence[int] | None, global_pool: str) -> None:
    """Refuse what the form asked for does not have."""
    if features_only and global_pool not in ("avg", ""):
        raise UserError(f"global_pool={global_pool!r} given for a pyramid, which pools nothing; leave it out")
    if out_indices is not None and not features_only:
        raise UserError(
            f"out_indices={out_indices} given for a classifier: it has no levels to choose; build the "
            "pyramid form with features_only=True"
        )


def token_map_at(config: MSCSAConfig, input_size: Sequence[int]) -> tuple[int, int]:
    """Size (h, w) of the token map that a classifier pools, for an image (..., H, W)."""
    height, width = input_size[-2:]
    stride = config.pool_stride
    return (height + stride - 1) // stride, (width + stride - 1) // stride
