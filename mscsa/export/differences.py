"""How far an exported model is from the model itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mscsa.errors import UserError
from mscsa.graphs import Graph, Size
from mscsa_runtime.artifact import Artifact

TOLERANCE = 1e-3
"""Greatest difference that is taken for rounding, as a share of an output's largest value."""

BATCHES = (1, 3)


def check_sizes(
    artifact: Artifact, graphs: Sequence[Graph], sizes: Sequence[Size], tolerance: float = TOLERANCE
) -> float:
    """Compare all files with their graphs on random inputs, at several sizes and batches.

    Returns:
        The largest difference.
    Raises:
        UserError: If it is larger than the tolerance, or the runtime fails; names part, size and batch.
    """
    largest = 0.0
    for graph, size, batch in product(graphs, sizes, BATCHES):
        found = _difference(artifact, graph, batch, size)
        if not found <= tolerance:
            raise UserError(
                f"the part {graph.name!r} differs by {found:.2g} of the largest value from the model at "
                f"{size[0]}x{size[1]} px and batch {batch}, {tolerance:.2g} is allowed"
            )
        largest = max(largest, found)
    return largest


def difference_on(artifact: Artifact, graph: Graph, batches: Iterable[Mapping[str, NDArray[Any]]]) -> float:
    """Give the largest difference of the first file from its graph on given inputs."""
    found = [
        _compared(artifact, graph, [torch.from_numpy(each) for each in inputs.values()]) for inputs in batches
    ]
    return float(np.max(found, initial=0.0))  # which keeps what is no number


def _difference(artifact: Artifact, graph: Graph, batch: int, size: Size) -> float:
    try:
        return _compared(artifact, graph, graph.example(batch, size))
    except Exception as error:  # each runtime has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the part {graph.name!r} fails when run at {size[0]}x{size[1]} px and batch {batch} ({reason})"
        ) from error


def _compared(artifact: Artifact, graph: Graph, inputs: Sequence[Tensor]) -> float:
    given = {name: each.numpy() for name, each in zip(graph.axes, inputs, strict=True)}
    found = artifact.run_part(graph.name, given)
    with torch.no_grad():
        wanted = graph.module(*inputs)
    tensors = [wanted] if isinstance(wanted, Tensor) else list(wanted)
    return float(np.max([_largest(one, other.numpy()) for one, other in zip(found, tensors, strict=True)]))


def _largest(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Give the largest difference as a share of the largest value; infinite where the shapes differ."""
    if found.shape != wanted.shape:
        return float("inf")
    scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
    return float(np.abs(found - wanted).max(initial=0)) / scale
