"""Batch norms in evaluation, folded into the convolutions beside them.

A norm in evaluation is y = a x + b for each channel, a = weight / sqrt(variance + eps) and b = bias - a mean.
Behind a convolution it scales the rows of its matrix; before a 1x1 convolution, which pads nothing, the
columns. New weights are computed in float64 and rounded once.

A module folds its norms in `fuse()` and gives itself back: the name and the contract by which timm's
`reparameterize_model` finds it.

Shapes, and the suffixes of tensors' names: O channels that a layer gives and I that it reads (of one group),
k k its window; a linear layer has none. A norm has C channels, which are the O or the I of its layer.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
"""What is folded: these and nothing that stands on them, which may do more."""


FOLDED = "this model's norms are folded into its convolutions, for inference alone"
"""The reason for which it refuses all else."""


class FoldedNorm(nn.Identity):
    """What is left of a norm whose work its neighbour does."""

    def train(self, mode: bool = True) -> FoldedNorm:
        """Refuse training: statistics and weights of the norm are gone.

        Raises:
            ValueError: If asked to train.
        """
        if mode:
            raise ValueError(f"{FOLDED}: train the model that it was folded from")
        super().train(False)
        return self


class NormedSequential(nn.Sequential):
    """Layers in a row, of which `fuse` folds every norm that comes straight behind a convolution."""

    def fuse(self) -> NormedSequential:
        """Fold the norms; the module is in evaluation mode afterwards."""
        return fuse_row(self)


Row = TypeVar("Row", bound=nn.Sequential)


def fuse_row(row: Row) -> Row:
    """Fold every norm of a `Sequential` that comes straight behind a convolution, in place."""
    names = list(row._modules)
    for first, second in zip(names, names[1:], strict=False):
        fold_behind(row, first, second)
    return row.eval()


def is_folded(model: nn.Module) -> bool:
    """Whether norms of a model are folded."""
    return any(isinstance(module, FoldedNorm) for module in model.modules())


def refuse_training(model: nn.Module, mode: bool) -> None:
    """Refuse training before any module of a folded model has changed its mode.

    Raises:
        ValueError: If asked to train, and norms are folded.
    """
    for module in model.modules():
        if isinstance(module, FoldedNorm):
            module.train(mode)


def fold_behind(owner: nn.Module, conv_name: str, norm_name: str) -> bool:
    """Fold a child that is a norm into the convolution that it reads, in place.

    Args:
        owner: Module that has both as children.
        conv_name: Convolution whose output nothing but the norm reads.
        norm_name: The norm.
    Returns:
        Whether they were a convolution and a norm with statistics of its own.
    """
    conv, norm = owner.get_submodule(conv_name), owner.get_submodule(norm_name)
    if not (is_plain_conv(conv) and is_plain_norm(norm)):
        return False
    fold_behind_conv(conv, norm)
    setattr(owner, norm_name, FoldedNorm().eval())
    return True


def fold_behind_conv(conv: nn.Module, norm: nn.Module) -> None:
    """Give a convolution the weights and bias with which it does the work of the norm behind it."""
    scale_O, shift_O = affine(norm)
    weight_OIkk, bias_O = _weight_of(conv), _bias_of(conv)
    bias_O = shift_O if bias_O is None else scale_O * bias_O + shift_O
    set_weights(conv, weight_OIkk * scale_O.reshape(-1, 1, 1, 1), bias_O)


def fold_before(owner: nn.Module, norm_name: str, *layers: nn.Module) -> bool:
    """Fold a child that is a norm into the 1x1 convolutions or linear layers that read it, in place.

    Args:
        owner: Module that has the norm as a child.
        norm_name: The norm, which nothing but the layers reads.
        layers: All that read it; they share its channels among them, in this order.
    Returns:
        Whether they were layers without padding and a norm with statistics of its own.
    """
    norm = owner.get_submodule(norm_name)
    if not is_plain_norm(norm) or not all(_is_pointwise(layer) for layer in layers):
        return False
    scale_C, shift_C = affine(norm)
    widths = [_weight_of(layer).shape[1] for layer in layers]
    parts = zip(layers, scale_C.split(widths), shift_C.split(widths), strict=True)
    for layer, scale_I, shift_I in parts:
        weight_OIkk, bias_O = _weight_of(layer), _bias_of(layer)  # (O, I, 1, 1), or (O, I)
        added_O = weight_OIkk.flatten(1) @ shift_I
        scaled_OIkk = weight_OIkk * scale_I.reshape(1, -1, *[1] * (weight_OIkk.ndim - 2))
        set_weights(layer, scaled_OIkk, added_O if bias_O is None else bias_O + added_O)
    setattr(owner, norm_name, FoldedNorm().eval())
    return True


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Give a and b of a norm in evaluation, each (C,), float64."""
    mean_C, variance_C = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    scale_C = (variance_C + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
    shift_C = -mean_C * scale_C
    if norm.weight is not None:
        weight_C, bias_C = norm.get_parameter("weight").double(), norm.get_parameter("bias").double()
        scale_C, shift_C = scale_C * weight_C, shift_C * weight_C + bias_C
    return scale_C.detach(), shift_C.detach()


def set_weights(layer: nn.Module, weight_OIkk: Tensor, bias_O: Tensor) -> None:
    """Give a layer new weights, of the type and in the memory layout of its own."""
    old_OIkk = layer.get_parameter("weight")
    fresh_OIkk = torch.empty_like(old_OIkk, requires_grad=False).copy_(weight_OIkk)
    layer.weight = nn.Parameter(fresh_OIkk, requires_grad=False)
    layer.bias = nn.Parameter(bias_O.to(old_OIkk.dtype), requires_grad=False)


def is_plain_conv(layer: nn.Module) -> bool:
    """Whether a module is a convolution and nothing more."""
    return type(layer) is nn.Conv2d and not has_hooks(layer)


def is_plain_norm(norm: nn.Module, also: tuple[type[nn.Module], ...] = ()) -> bool:
    """Whether a module is a batch norm (or one of other types) and nothing more, with its own statistics."""
    return type(norm) in (*_NORMS, *also) and norm.running_mean is not None and not has_hooks(norm)


def _is_pointwise(layer: nn.Module) -> bool:
    if type(layer) is nn.Linear:
        return not has_hooks(layer)
    # What pads would pad with zeros what comes out of the norm.
    plain = {"kernel_size": (1, 1), "groups": 1, "padding": (0, 0)}
    return is_plain_conv(layer) and all(getattr(layer, key) == value for key, value in plain.items())


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody reads or changes what goes in or comes out."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _weight_of(layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight").detach().double()


def _bias_of(layer: nn.Module) -> Tensor | None:
    return None if layer.bias is None else layer.get_parameter("bias").detach().double()
