"""The graphs of an export as an artifact, run by torch as they are: what a file would give, in no time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mscsa.graphs import Graphs
from mscsa_runtime import Artifact, Metadata
from mscsa_runtime.metadata import Sizes, Task


class EagerArtifact(Artifact):
    """Graphs in the place of opened files."""

    def __init__(self, graphs: Graphs, model: nn.Module, task: Task, sizes: Sizes, **others: Any) -> None:
        self.path = Path("model.onnx")
        cfg: Any = model.pretrained_cfg
        self.metadata = Metadata(
            task=task,
            parts=("model.onnx",),
            identity="0",
            sizes=sizes,
            outputs=graphs.graphs[0].outputs,
            mean=tuple(cfg["mean"]),
            std=tuple(cfg["std"]),
            selection=dict(graphs.selection or {}),
            **others,
        )
        self.graphs = {graph.name: graph for graph in graphs.graphs}

    def run_part(self, name: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        graph = self.graphs[name]
        assert list(inputs) == list(graph.axes), "torch.export's files take them by their order"
        with torch.no_grad():
            given = (torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in graph.axes)
            found = graph.module(*given)
        return [each.numpy() for each in ([found] if isinstance(found, Tensor) else found)]
