"""Copies of models without data, on the meta device: of what runs there only shapes are known."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def without_data(model: ModuleT) -> ModuleT:
    """Copy a model without the data of its parameters and buffers; no parameter of the copy wants a gradient.

    A copy that is moved to the meta device afterwards needs the memory of the model a second time first.
    """
    tensors = (*model.parameters(), *model.buffers())
    skeletons = {
        id(each): nn.Parameter(each.to("meta"), False) if isinstance(each, nn.Parameter) else each.to("meta")
        for each in tensors
    }
    # What is in its memo, `deepcopy` takes for copied.
    return copy.deepcopy(model, skeletons)
