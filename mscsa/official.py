"""Loading the authors' checkpoints, in the authors' key layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import pvt_v2
from timm.models._features import FeatureGetterNet
from timm.models.coat import CoaT
from torch import Tensor, nn

from mscsa.backbones import FAMILIES, coat, topformer
from mscsa.backbones.timm_contract import KeyMap
from mscsa.backbones.topformer_parts import TokenPyramid
from mscsa.checkpoints.loading import fit, read_source
from mscsa.checkpoints.parts import BACKBONE, HasParts
from mscsa.checkpoints.policies import POLICIES
from mscsa.checkpoints.report import LoadReport
from mscsa.errors import UserError
from mscsa.segmentation import topformer_head
from mscsa.segmentation.dense_topformer import DenseTopFormer
from mscsa.segmentation.segmenter import Segmenter


def pvt_v2_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official PVTv2 checkpoint to timm's model; the head is left out of a model without."""
    entries = pvt_v2.checkpoint_filter_fn(state_dict, model)
    has_head = any(key.startswith("head.") for key in model.state_dict())
    return {key: value for key, value in entries.items() if has_head or not key.startswith("head.")}


OFFICIAL_KEY_MAPS: dict[type[nn.Module], KeyMap] = {
    DenseTopFormer: topformer.checkpoint_filter_fn,
    Segmenter: topformer_head.checkpoint_filter_fn,
    CoaT: coat.full_checkpoint_filter_fn,
    pvt_v2.PyramidVisionTransformerV2: pvt_v2_filter_fn,
}
"""Class of a model outside our own families (subclasses included) -> function from (official entries, model)
to the entries of the model. A family's own is the `checkpoint_filter_fn` of its module."""


def load_official(model: nn.Module, source: Mapping[str, Any] | str | Path) -> LoadReport:
    """Load an official checkpoint into a backbone, all of it or nothing.

    Strict: after the family's key map every entry must have a place of the same shape in the model,
    and every place an entry. What a map leaves out by design its docstring says, for instance the
    head where the model was built without one.

    Args:
        model: A backbone of one of our `FAMILIES` or of a class in `OFFICIAL_KEY_MAPS`, as a classifier or,
            where timm wraps the whole model, with `features_only=True`; a segmenter of TopFormer; or a model
            on such a backbone, as those with MSCSA, segmenters and detectors are, whose other parts stay as
            they are.
        source: Path (see `read_state_dict`) or state dict, bare or as in such a file.
    Returns:
        What was filled, by the keys of the backbone.
    Raises:
        UserError: If the class has no official layout or the checkpoint does not fit; the model is
            then unchanged.
    """
    if isinstance(model, FeatureGetterNet):
        model = model.model
    key_map = _key_map(model)
    if isinstance(model, HasParts) and (key_map is None or _is_of_another_backbone(model)):
        model = model.get_submodule(model.weight_parts()[BACKBONE].rstrip("."))
        key_map = _key_map(model)
    if key_map is None:
        families = (family.__name__.rpartition(".")[2] for family in FAMILIES)
        known = ", ".join((*families, *(cls.__name__ for cls in OFFICIAL_KEY_MAPS)))
        raise UserError(f"no official key layout is known for {type(model).__name__}: give one of {known}")
    (state, _), name = read_source(source)
    entries, report = fit(model, key_map(state, model), POLICIES["exact"], name)
    model.load_state_dict(entries)
    return report


def _is_of_another_backbone(model: nn.Module) -> bool:
    """Whether a model is a segmenter that TopFormer's authors have no files of."""
    dense = model.backbone if isinstance(model, Segmenter) else model
    is_topformer = isinstance(dense, DenseTopFormer) and isinstance(dense.tpm, TokenPyramid)
    return isinstance(model, (Segmenter, DenseTopFormer)) and not is_topformer


def _key_map(model: nn.Module) -> KeyMap | None:
    """Find the key map of a model's class, or of the family that the class is written in."""
    found = next((f for cls, f in OFFICIAL_KEY_MAPS.items() if isinstance(model, cls)), None)
    modules = {cls.__module__ for cls in type(model).__mro__}
    family = next((family for family in FAMILIES if family.__name__ in modules), None)
    return found or (family.checkpoint_filter_fn if family is not None else None)
