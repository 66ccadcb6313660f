"""torch.export's own file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from mscsa.graphs import Graph
from mscsa_runtime.metadata import KEY


def write(program: ExportedProgram, _graph: Graph, path: Path, metadata: str) -> None:
    """Write a program with its metadata beside it in the archive."""
    torch.export.save(program, path, extra_files={f"{KEY}.json": metadata})
