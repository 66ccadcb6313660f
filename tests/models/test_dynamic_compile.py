"""One program of torch.compile serves ten sizes: of classifiers, in training too, and below detectors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import mscsa
from mscsa.folding import fold_norms
from tests.detection import small as detectors

SIDES = (97, 131, 128, 160, 224, 101, 333, 99, 192, 320, 111)
"""Ten sizes in pairs; of smaller images some maps are one pixel, for which torch compiles anew."""
P7_SIDES = tuple(side + 32 for side in SIDES)
"""For RetinaNet, whose coarsest map is half as large as Mask R-CNN's: from 129 px on."""


def count_programs(model: nn.Module, sides: tuple[int, ...], *, trains: bool = False) -> int:
    """Compile a model once, run it over all sizes, compare with the model itself, and count programs."""
    programs: list[Any] = []
    eager = torch._dynamo.lookup_backend("aot_eager")

    def count(graph: Any, inputs: Any) -> Any:
        programs.append(graph)
        return eager(graph, inputs)

    torch._dynamo.reset()
    compiled = torch.compile(model.train(trains), dynamic=True, fullgraph=True, backend=count)
    for size in pairwise(sides):
        image = torch.randn(2, 3, *size)
        with torch.set_grad_enabled(trains):
            found, expected = (tree_leaves(each(image)) for each in (compiled, model))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
        if trains:
            sum(each.square().mean() for each in found).backward()
    assert len(list(pairwise(sides))) == 10
    return len(programs)


@pytest.mark.parametrize(
    "trains",
    [
        pytest.param(False, marks=pytest.mark.slow, id="evaluation"),
        pytest.param(True, marks=pytest.mark.long, id="training"),
    ],
)
def test_a_classifier_is_two_programs_at_most(trains: bool) -> None:
    assert count_programs(mscsa.create_model("resnet10t", num_classes=5), SIDES, trains=trains) <= 2


@pytest.mark.long
def test_a_checkpointed_pyramid_is_two_programs_at_most() -> None:
    model: Any = mscsa.create_model("resnet10t", features_only=True)
    model.set_grad_checkpointing()
    assert count_programs(model, SIDES, trains=True) <= 2


@pytest.mark.long
@pytest.mark.parametrize(("name", "sides"), [("mask_rcnn", SIDES), ("retinanet", P7_SIDES)])
def test_the_pyramid_below_a_detector_is_two_programs_at_most(name: str, sides: tuple[int, ...]) -> None:
    pyramid = fold_norms(detectors.small(name, "mscsa_resnet10t")).pyramid
    assert count_programs(pyramid, sides) <= 2
