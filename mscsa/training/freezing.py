"""Keeping parts of a model as they are: parameters without gradient, modules in eval mode."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from mscsa.errors import UserError
from mscsa_runtime.errors import nearest


def freeze(model: nn.Module, prefixes: Iterable[str]) -> list[str]:
    """Fix the parameters under each prefix, which is a whole dotted name (`backbone.stages.0`).

    Returns:
        Names of the modules under the prefixes; `hold_in_eval` keeps their statistics and dropout
        fixed too.
    Raises:
        UserError: If a prefix holds no parameter; names the nearest, and what there is at the top.
    """
    held: list[str] = []
    for prefix in prefixes:
        parameters = [p for name, p in model.named_parameters() if _is_under(name, prefix)]
        if not parameters:
            raise UserError(f"model.freeze {prefix!r} names no parameter: {_hint(model, prefix)}")
        for parameter in parameters:
            parameter.requires_grad_(False)
        held += [name for name, _ in model.named_modules() if _is_under(name, prefix)]
    return held


def hold_in_eval(model: nn.Module, held: Iterable[str]) -> None:
    """Put the held modules in eval mode; to be called after each `model.train()`."""
    for name in held:
        model.get_submodule(name).training = False


def _is_under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _hint(model: nn.Module, prefix: str) -> str:
    names = [
        name for name, module in model.named_modules() if name and any(True for _ in module.parameters())
    ]
    parts = f"the model's parts are {', '.join(name for name, _ in model.named_children())}"
    return nearest(prefix, names, all_names=parts)
