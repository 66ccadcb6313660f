"""Whole models with batch norms folded into the convolutions beside them, for inference and for training.

For inference all are, and their weights with them: modules of ours and of timm say themselves how (`fuse`,
`reparameterize`); in what else there is, backbones above all, a norm is folded where one forward pass shows
that it alone reads what a convolution gives. In training those are that stay in evaluation mode, in each
step anew, so that both have their gradients.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter, defaultdict
from functools import partial
from typing import Any, TypeVar

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, conv2d_same
from timm.models import reparameterize_model
from timm.models._input import get_model_input_config
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.ops.misc import Conv2dNormActivation

from mscsa.attention.folding import (
    FoldedNorm,
    fold_behind_conv,
    fuse_row,
    has_hooks,
    is_folded,
    is_plain_norm,
)
from mscsa.models.pyramid import BackboneModel

logger = logging.getLogger(__name__)

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
"""Convolutions and nothing more; the second pads as TensorFlow does."""


def fold_norms(model: AnyModule) -> AnyModule:
    """Give a copy of a model for inference, with its batch norms folded into its convolutions.

    It computes the same, to rounding, of images of every size, in evaluation mode on the device of the model.
    It cannot be trained, nor can its weights be saved: they are no longer those of the model. What folds, and
    what it gains: docs/speed.md.

    Args:
        model: Classifier, pyramid, segmenter or detector, ours or timm's.
    Returns:
        The copy; of a folded model a plain one.
    """
    folded = copy.deepcopy(model).eval()
    unfold_frozen_norms(folded)
    if is_folded(folded):
        return folded
    owner: Any = nn.ModuleDict({"model": folded})  # timm asks children alone
    reparameterize_model(owner, inplace=True)
    folded = owner["model"]
    for module in folded.modules():
        if isinstance(module, Conv2dNormActivation):
            fuse_row(module)
    for part in image_models(folded):
        _fold_found(part)
    return folded.eval()


def fold_frozen_norms(model: nn.Module) -> int:
    """Let convolutions do the work of the frozen norms behind them while a model trains, in place.

    A norm in evaluation mode keeps its input for the backward pass, a map as large as its output. Scaling the
    convolution's weights in its place keeps weights alone: less memory for the same values and gradients, to
    rounding. Modules, weights and keys stay as they are, and a norm that is put into training mode normalises
    by the batch again. (The rewrite is MMEngine's "efficient conv-bn eval".)

    Args:
        model: Classifier, pyramid, segmenter or detector, in the modes in which it is to train.
    Returns:
        Number of norms whose work is done so.
    """
    unfold_frozen_norms(model)
    count = 0
    for part in image_models(model):
        if not any(_learns_frozen(module) for module in part.modules()):
            continue
        for conv_name, norm_name in _norms_behind_convolutions(part):
            conv: Any = part.get_submodule(conv_name)
            norm: Any = part.get_submodule(norm_name)
            if not norm.training:
                conv.forward = partial(_convolve_and_norm, conv, norm)
                norm.forward = partial(_behind_the_norm, norm)
                count += 1
    return count


def unfold_frozen_norms(model: nn.Module) -> None:
    """Undo `fold_frozen_norms`, in place."""
    for module in model.modules():
        forward = vars(module).get("forward")
        if isinstance(forward, partial) and forward.func in (_convolve_and_norm, _behind_the_norm):
            del module.forward


def _learns_frozen(module: nn.Module) -> bool:
    """Whether it is a norm in evaluation mode that has gradients."""
    is_norm = is_plain_norm(module, also=(BatchNormAct2d,))
    return is_norm and not module.training and any(p.requires_grad for p in module.parameters())


def _convolve_and_norm(conv: Any, norm: Any, x: Tensor) -> Any:
    """Run a convolution, and in evaluation mode of its norm that as well."""
    if norm.training:
        return type(conv).forward(conv, x)
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = norm.weight * scale
    shift = -norm.running_mean * scale if norm.bias is None else norm.bias - norm.running_mean * scale
    weight = conv.weight * scale.reshape(-1, 1, 1, 1)
    bias = shift if conv.bias is None else conv.bias * scale + shift
    is_same: bool = type(conv) is Conv2dSame
    if is_same:
        return conv2d_same(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    return conv._conv_forward(x, weight, bias)


def _behind_the_norm(norm: Any, x: Tensor) -> Any:
    """Run what a norm's module does beside the norm, which its convolution has done in evaluation mode."""
    if norm.training:
        return type(norm).forward(norm, x)
    return norm.act(norm.drop(x)) if type(norm) is BatchNormAct2d else x


def image_models(model: nn.Module) -> list[nn.Module]:
    """Find what takes images and has a backbone: parts of ours, or else the model, as timm's."""
    own: list[nn.Module] = [each for each in model.modules() if isinstance(each, BackboneModel)]
    return own or ([model] if hasattr(model, "pretrained_cfg") else [])


def _fold_found(model: nn.Module) -> None:
    """Fold the norms of a model that a forward pass shows behind convolutions, in place."""
    for conv_name, norm_name in _norms_behind_convolutions(model):
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        rest: nn.Module = FoldedNorm()
        if type(norm) is BatchNormAct2d:
            rest = nn.Sequential(rest, norm.drop, norm.act)
        fold_behind_conv(conv, norm)
        owner, _, name = norm_name.rpartition(".")
        setattr(model.get_submodule(owner), name, rest.eval())


def _norms_behind_convolutions(model: nn.Module) -> list[tuple[str, str]]:
    """List the names of convolutions and norms that can be one, as a run without data shows."""
    skeleton, image = without_data(model)
    backbone: Any = skeleton.backbone if isinstance(skeleton, BackboneModel) else skeleton
    readers = [
        skeleton,
        *([backbone.forward_intermediates] if hasattr(backbone, "forward_intermediates") else []),
    ]
    try:
        with torch.no_grad(), _Watch(skeleton) as watch:
            for read in readers:  # what another caller may read counts as read: maps of all levels
                watch.note(read(image))
    except Exception as error:  # what does not run without data stays as it is, which is right too
        logger.info("the convolutions of %s are not folded: %s", type(model).__name__, error)
        return []
    return watch.pairs()


def without_data(model: nn.Module, batch_size: int = 1) -> tuple[nn.Module, Tensor]:
    """Copy one of `image_models` onto the meta device, in its modes, and give images for it (B, 3, H, W)."""
    skeleton = copy.deepcopy(model).to("meta", torch.float32).requires_grad_(False)
    backbone: Any = skeleton
    if isinstance(skeleton, BackboneModel):
        backbone = skeleton.backbone
        skeleton.reading = None  # the backbone is to run, whatever gives its maps at other times
    return skeleton, torch.empty(batch_size, *get_model_input_config(backbone)["input_size"], device="meta")


class _Watch(TorchDispatchMode):
    """Who makes and who reads the memory of tensors, while a model runs; its hooks are taken off."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._reads: Counter[int] = Counter()
        self._kept: list[Tensor] = []  # memory that is freed would be given out again
        self._made_by: dict[int, str] = {}
        self._norm_of: dict[str, set[str | None]] = defaultdict(set)
        self._source_of: dict[str, set[str | None]] = defaultdict(set)
        for name, module in model.named_modules():
            is_conv = type(module) in _CONVOLUTIONS and not has_hooks(module)
            is_norm = is_plain_norm(module, also=(BatchNormAct2d,))
            module._forward_hooks.clear()  # others' are not to be called with what has no values
            module._forward_pre_hooks.clear()
            if is_conv:
                module.register_forward_hook(partial(self._convolved, name))
            elif is_norm:
                module.register_forward_pre_hook(partial(self._norming, name))

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation reads."""
        self.note((args, kwargs))
        return function(*args, **(kwargs or {}))

    def note(self, values: Any) -> None:
        """Count a reading of all tensors in nested values."""
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                self._kept.append(value)
                self._reads[_memory(value)] += 1

    def _convolved(self, name: str, _conv: nn.Module, _args: Any, out: Tensor) -> None:
        self._made_by[_memory(out)] = name
        self._kept.append(out)

    def _norming(self, name: str, _norm: nn.Module, args: tuple[Tensor]) -> None:
        source = self._made_by.get(_memory(args[0]))
        self._source_of[name].add(source)
        if source is not None:
            self._norm_of[source].add(name)

    def pairs(self) -> list[tuple[str, str]]:
        """List the convolutions and norms of which the second reads the first, and no other does."""
        shared = {name for memory, name in self._made_by.items() if self._reads[memory] != 1}
        return [
            (source, norm)
            for norm, sources in self._source_of.items()
            for source in sources
            if source is not None and len(sources) == len(self._norm_of[source]) == 1 and source not in shared
        ]


def _memory(value: Tensor) -> int:
    return value.untyped_storage()._cdata
