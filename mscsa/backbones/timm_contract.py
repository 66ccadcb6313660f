"""What timm asks of every model, written once for the backbones here.

Building with timm's keywords, the description of the input, and the checks at the boundary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import get_device_dtype
from timm.models import build_model_with_cfg, generate_default_cfgs, register_notrace_function
from timm.models._pretrained import DefaultCfg
from torch import Tensor, nn

from mscsa.attention.pooling import adaptive_average_pool, token_map_size
from mscsa.attention.sizes import is_known
from mscsa.backbones.layers import init_small
from mscsa.errors import UserError

BackboneT = TypeVar("BackboneT", bound=nn.Module)
P = ParamSpec("P")

KeyMap = Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]
"""(entries by official key, model) -> entries for `model.load_state_dict`."""


def describe_sizes(
    names: Iterable[str], *, first_conv: str, classifier: str, **others: Any
) -> dict[str, DefaultCfg]:
    """Describe the models of a family for timm's registry: ImageNet's 1000 classes at 224 px.

    Args:
        names: Of the models.
        first_conv: Name of the convolution that reads the image.
        classifier: Name of the linear layer that gives the logits.
        **others: Further entries of timm's `pretrained_cfg`, or other values of those set here.
    """
    cfg = {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": first_conv,
        "classifier": classifier,
        **others,
    }
    return generate_default_cfgs({name: dict(cfg) for name in names})


def create_backbone(
    model_class: type[BackboneT],
    sizes: Mapping[str, Mapping[str, Any]],
    key_map: KeyMap,
    name: str,
    pretrained: bool,
    *,
    flatten_sequential: bool = True,
    **kwargs: Any,
) -> BackboneT:
    """Build a registered model through timm, which takes care of weights and `features_only`.

    Args:
        model_class: Its class, of four levels.
        sizes: Registered model -> the arguments of its size, which `kwargs` may replace.
        key_map: Fits a checkpoint in the official keys to the model.
        name: Name it is registered under.
        pretrained: Load the weights that its `pretrained_cfg` names.
        flatten_sequential: Whether the levels are children of a child `nn.Sequential`, which timm's "list"
            and "dict" readers (`feature_cls`) can take apart.
        **kwargs: timm's keywords (`features_only`, `out_indices`, `device`, `dtype`, ...) and those of
            the class.
    Raises:
        TypeError: If the class does not know a keyword.
    """
    out_indices = kwargs.pop("out_indices", (0, 1, 2, 3))
    return build_model_with_cfg(
        functools.partial(_construct, model_class),
        name,
        pretrained,
        pretrained_filter_fn=key_map,
        feature_cfg={
            "out_indices": out_indices,
            "feature_cls": "getter",
            "flatten_sequential": flatten_sequential,
        },
        **{**sizes[name], **kwargs},
    )


def _construct(
    model_class: type[BackboneT],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> BackboneT:
    """Build on a device; parameters are drawn in the default dtype and cast, so that a seed says more."""
    with nullcontext() if device is None else torch.device(device):
        model = model_class(**kwargs)
    return model if dtype is None else model.to(dtype)


def check_classes(value: Any) -> None:
    """Refuse what is no number of classes; 0 is one.

    Raises:
        UserError: Says what is.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
        raise UserError(f"num_classes={value!r} given: give 1 or more, or 0 for the features")


def chosen_pooling(given: str | None, current: str, num_classes: int) -> str:
    """Choose the pooling of a new classifier.

    Args:
        given: "avg", "" for the map itself, or None for what the model has; but classes need "avg".
        current: What the model has.
        num_classes: Of the new classifier; 0 for none.
    Raises:
        UserError: If the pooling is unknown, or off while there are classes, or the classes are no number.
    """
    check_classes(num_classes)
    pooling = given if given is not None else "avg" if num_classes else current
    if pooling not in ("avg", "") or (num_classes > 0 and not pooling):
        raise UserError(
            f"global_pool={pooling!r} given with num_classes={num_classes}: "
            "give 'avg', or '' with num_classes=0"
        )
    return pooling


def replace_classifier(
    model: Any, num_classes: int, global_pool: str | None, build: Callable[[], nn.Module]
) -> None:
    """Give a model a new classifier as its `head`, and set `global_pool` and `num_classes`.

    Args:
        model: One that pools by `global_pool` and then classifies by `head`.
        num_classes: Of the new classifier; 0 for none.
        global_pool: As `given` of `chosen_pooling`.
        build: Builds the classifier, which then goes where the model is.
    Raises:
        UserError: As `chosen_pooling`.
    """
    model.global_pool = chosen_pooling(global_pool, model.global_pool, num_classes)
    model.num_classes = num_classes
    head = build().to(**get_device_dtype(model)) if num_classes > 0 else nn.Identity()
    model.head = head.train(model.training)


def start_small(classifier: Any, num_classes: int) -> None:
    """Start the layers that give the logits as the paper's backbones do: N(0, 0.02), truncated, bias 0.

    Args:
        classifier: A layer, linear or a convolution, or several: what timm's `get_classifier` gives.
        num_classes: As many rows as those layers have; others, as the first of an MLP, stay as they are.
    """
    for part in classifier if isinstance(classifier, (tuple, list)) else (classifier,):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) and len(module.weight) == num_classes:
                init_small(module)


def check_output_format(output_fmt: str) -> None:
    """Raise a UserError unless maps are asked for as "NCHW"."""
    if output_fmt != "NCHW":
        raise UserError(f"output_fmt={output_fmt!r} is not allowed: give 'NCHW'")


def boundary_check(check: Callable[P, None]) -> Callable[P, None]:
    """Keep a check of sizes out of traced graphs (`torch.jit.trace`, `torch.fx`).

    They serve images of other sizes too, and while they are drawn a size is no number.
    """

    @functools.wraps(check)
    def outside_traces(*args: P.args, **kwargs: P.kwargs) -> None:
        # torch.fx wraps a registered function only where a module is called, not within one of its methods.
        is_drawn = torch.jit.is_tracing() or any(isinstance(value, torch.fx.Proxy) for value in args)
        if not is_drawn:
            check(*args, **kwargs)

    return register_notrace_function(outside_traces)


@boundary_check
def check_image(x: Tensor, in_chans: int) -> None:
    """Raise a UserError unless `x` is a batch of images, (B, in_chans, H, W)."""
    if x.ndim != 4 or x.shape[1] != in_chans:
        raise UserError(
            f"an input of shape {tuple(x.shape)} given: give a batch of images, (B, {in_chans}, H, W), "
            "or build the model with another in_chans"
        )


def too_few_values() -> UserError:
    """Make the error for a batch norm that is to be trained on one value per channel."""
    return UserError(
        "batch norm needs more than 1 value per channel when training, and a batch of 1 image gives 1 "
        "here: give 2 images or more"
    )


@boundary_check
def check_batch_values(x: Tensor, stride: int, has_live_norms: bool) -> None:
    """Raise a UserError unless batch norms have the two values per channel that training needs.

    Args:
        x: What is to be normed, (B, C) or (B, C, H, W); or the input of layers that reduce it first.
        stride: By how much they do, sizes rounded up.
        has_live_norms: Whether a norm takes statistics from this batch (`takes_batch_statistics`).
    """
    values = x.shape[0]
    for side in x.shape[2:]:  # no `math.prod`, which torch.compile cannot follow
        values = values * ((side + stride - 1) // stride)
    if has_live_norms and is_known(values == 1):
        raise too_few_values()


# Both choose by size, which torch.fx cannot follow: one node each.
register_notrace_function(adaptive_average_pool)
register_notrace_function(token_map_size)
