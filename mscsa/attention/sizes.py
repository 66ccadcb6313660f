"""Questions about sizes that may be numbers, symbols of a graph, or tensors of a trace."""

from __future__ import annotations

import torch

# Torch has no public name for it; the only place that imports it.
from torch.fx.experimental.symbolic_shapes import statically_known_true


def is_known(condition: object) -> bool:
    """Whether a comparison of sizes is true, for every size that the graph being made will see.

    Eager code gets the plain answer. In `torch.compile` and `torch.export` True means proven: the
    question adds no guard to the graph. A trace (`torch.jit.trace`), in which sizes are tensors that
    another input changes, knows nothing: False.

    Args:
        condition: A comparison such as `height == width`.
    """
    if torch.compiler.is_compiling():
        return statically_known_true(condition)  # type: ignore[arg-type]
    return condition is True
