"""From the keys of the authors' checkpoints to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

Renaming = tuple[str, Callable[[re.Match[str]], str]]
"""Pattern in an official key, and what to put in its place."""


def rename_official(
    state_dict: Mapping[str, Tensor], model: nn.Module, renamings: Sequence[Renaming]
) -> dict[str, Tensor]:
    """Bring an official checkpoint into the keys of `model`; keys that are ours already stay.

    Left out are the head of a model without classes and the stages that were pruned.

    Args:
        state_dict: Entries by official key.
        model: A `StagedBackbone`.
        renamings: Applied to each key, one after the other.
    Returns:
        Entries for `model.load_state_dict`.
    """
    own_parts = {part_of(key, row="stages") for key in model.state_dict()}
    entries = {}
    for key, value in state_dict.items():
        for pattern, replacement in renamings:
            key = re.sub(pattern, replacement, key)
        if part_of(key, row="stages") in own_parts or not key.startswith(("stages.", "head.")):
            entries[key] = value
    return entries


def part_of(key: str, *, row: str) -> str:
    """Name the part of a model that a state-dict key belongs to.

    Args:
        key: Key such as `stages.2.blocks.0.norm1.weight`.
        row: The child whose own children count singly: `stages.2`.
    """
    names = key.split(".")
    return ".".join(names[:2]) if names[0] == row else names[0]
