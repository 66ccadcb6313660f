"""Artifacts that differ are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mscsa.errors import UserError
from mscsa.export.differences import check_sizes, difference_on
from mscsa.export.graphs import build_graphs
from mscsa_runtime.metadata import Sizes
from tests.export.eager import EagerArtifact
from tests.segmentation.small import small


def test_only_what_is_equal_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("semantic_fpn", "test_resnet").eval()
    graphs = build_graphs(model, (64, 64))
    artifact = EagerArtifact(
        graphs, model, "segmentation", Sizes(height=64, width=64, is_dynamic=True, step=32)
    )
    assert check_sizes(artifact, graphs.graphs, [(64, 64)]) == 0
    assert difference_on(artifact, graphs.graphs[0], []) == 0
    right = artifact.run_part

    def at_one_size_alone(name: str, inputs: Any) -> list[Any]:
        found = right(name, inputs)
        return [each * 1.01 for each in found] if inputs["images"].shape[2] == 96 else found

    monkeypatch.setattr(artifact, "run_part", at_one_size_alone)
    with pytest.raises(
        UserError, match="differs by 0.01 of the largest value from the model at 96x64 px and batch 1"
    ):
        check_sizes(artifact, graphs.graphs, [(64, 64), (96, 64)])
    nothing = np.full((1, 5, 64, 64), np.nan, np.float32)
    monkeypatch.setattr(artifact, "run_part", lambda *_: [nothing])
    with pytest.raises(UserError, match="differs by nan"):
        check_sizes(artifact, graphs.graphs, [(64, 64)])
