"""Loading the authors' checkpoints, in the authors' key layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from timm.models import pvt_v2
from timm.models._features import FeatureGetterNet
from timm.models.coat import CoaT
from torch import Tensor, nn

from mscsa.checkpoints import WRAPPERS, read_state_dict
from mscsa.errors import UserError

from .backbones import coat, p2t, shunted, topformer
from .segmentation import Segmenter, topformer_head
from .segmentation.dense_topformer import DenseTopFormer

KeyMap = Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]]


def pvt_v2_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official PVTv2 checkpoint to timm's model; the head is left out of a model without."""
    entries = pvt_v2.checkpoint_filter_fn(state_dict, model)
    has_head = any(key.startswith("head.") for key in model.state_dict())
    return {key: value for key, value in entries.items() if has_head or not key.startswith("head.")}


OFFICIAL_KEY_MAPS: dict[type[nn.Module], KeyMap] = {
    topformer.TopFormer: topformer.checkpoint_filter_fn,
    DenseTopFormer: topformer.checkpoint_filter_fn,
    Segmenter: topformer_head.checkpoint_filter_fn,
    p2t.P2T: p2t.checkpoint_filter_fn,
    shunted.Shunted: shunted.checkpoint_filter_fn,
    coat.SerialCoaT: coat.checkpoint_filter_fn,
    CoaT: coat.full_checkpoint_filter_fn,
    pvt_v2.PyramidVisionTransformerV2: pvt_v2_filter_fn,
}
"""Class of a backbone (subclasses included) -> function from (official entries, model) to the
entries of the model."""


def load_official(model: nn.Module, source: Mapping[str, Tensor] | str | Path) -> None:
    """Load an official checkpoint into a backbone, all of it or nothing.

    Strict: after the family's key map every entry must have a place of the same shape in the model,
    and every place an entry. What a map leaves out by design its docstring says, for instance the
    head where the model was built without one.

    Args:
        model: A backbone of a class in `OFFICIAL_KEY_MAPS`, as a classifier or, where timm wraps
            the whole model, with `features_only=True`; a segmenter of TopFormer; or a model that has
            such a backbone as its `backbone`, as those with MSCSA do, whose other parts stay as they are.
        source: Checkpoint, bare or under one of `mscsa.checkpoints.WRAPPERS` (`state_dict_ema`, ...,
            `model`); or its path (see `read_state_dict`).
    Raises:
        UserError: If the class has no official layout or the checkpoint does not fit; the model is
            then unchanged.
    """
    if isinstance(model, FeatureGetterNet):
        model = model.model
    key_map = _key_map(model)
    inner = getattr(model, "backbone", None)
    if key_map is None and isinstance(inner, nn.Module):
        model, key_map = inner, _key_map(inner)
    if key_map is None:
        known = ", ".join(cls.__name__ for cls in OFFICIAL_KEY_MAPS)
        raise UserError(f"no official key layout is known for {type(model).__name__}: give one of {known}")
    entries = key_map(_read(source), model)
    problems = _mismatches(model.state_dict(), entries)
    if problems:
        origin = source if isinstance(source, (str, Path)) else "the checkpoint"
        raise UserError(
            f"{origin} does not fit {type(model).__name__}: {'; '.join(problems)}; "
            "build the model in the size and with the num_classes of the checkpoint"
        )
    model.load_state_dict(entries)


def _key_map(model: nn.Module) -> KeyMap | None:
    return next((f for cls, f in OFFICIAL_KEY_MAPS.items() if isinstance(model, cls)), None)


def _read(source: Mapping[str, Tensor] | str | Path) -> Mapping[str, Tensor]:
    """Read a path; take a checkpoint out of the dictionary it was saved in."""
    if isinstance(source, (str, Path)):
        return read_state_dict(source)[0]
    checkpoint: Mapping[str, Any] = source
    return next((checkpoint[key] for key in WRAPPERS if isinstance(checkpoint.get(key), Mapping)), source)


def _mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Say what keeps `given` from being the state dict of a model that expects `expected`."""
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    misshapen = [
        f"{key} {_shape(given[key])} instead of {_shape(expected[key])}"
        for key in expected
        if key in given and _shape(given[key]) != _shape(expected[key])
    ]
    named = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    return [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in named.items()
        if names
    ]


def _shape(value: object) -> tuple[int, ...] | str:
    """Shape of a tensor; the type of anything else that a checkpoint may hold."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
