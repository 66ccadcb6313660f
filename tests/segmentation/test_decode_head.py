"""A made-up head of segmentation is a row of the table alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mscsa.cost.info_tables import cost_tables
from mscsa.cost.matched_control import matched_control
from mscsa.cost.model_info import describe_model
from mscsa.dense import levels_of
from mscsa.export.graphs import build_graphs
from mscsa.export.programs import trace
from mscsa.heads import COUNT, HEADS, Head
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import ModelSpec
from mscsa.segmentation import build_segmenter
from mscsa.segmentation.decode_head import DecodeHead
from mscsa.speed.steps import StepOptions, build_step

SIZE = (64, 96)


class Finest(DecodeHead):
    """Two 1x1 convolutions on the finest map."""

    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, width, 1)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.chosen_widths = {"width": width}

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.classifier(self.squeeze(maps[0]).relu())


def finest(pyramid: Any, num_classes: int, *, width: int | None = None) -> tuple[Any, Finest]:
    return pyramid, Finest(levels_of(pyramid)[0][0], num_classes, 256 if width is None else width)


@pytest.fixture(autouse=True)
def _finest(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Head(
        task="segmentation",
        builder=f"{__name__}:finest",
        options={"width": COUNT.or_none()},
        wider={"width": ()},
    )
    monkeypatch.setitem(HEADS, "finest", row)


def test_it_is_built_counted_and_timed() -> None:
    model = build_segmenter("finest", "mscsa_test_resnet", 5, fields={"pool_stride": 16}).eval()
    assert model(torch.rand(1, 3, 40, 60)).shape == (1, 5, 40, 60)
    assert model.get_classifier() is model.decode_head.classifier
    info = describe_model("test_resnet", head="finest", size=SIZE, fields={"pool_stride": 16})
    assert info.head_macs == SIZE[0] // 4 * SIZE[1] // 4 * 256 * (32 + 150)  # ADE20K's classes
    assert cost_tables(info)[0].rows[-2][0] == "finest"
    for mode in ("inference", "training"):
        build_step(model, mode, 2, SIZE, StepOptions())()


def test_it_has_a_control_of_the_same_cost() -> None:
    model = ModelSpec(name="test_resnet", head="finest", mscsa={"pool_stride": 16}, budget=0.1)
    found = matched_control(replace(RECIPES["scenes_semantic_fpn/mscsa_resnet10t"], model=model), 5)
    assert found.recipe is not None and found.recipe.model.head_kwargs["width"] > 256
    assert "width 256 -> " in found.note


def test_it_is_exported(tmp_path: Path) -> None:
    model = build_segmenter("finest", "test_resnet", 5).eval()
    graphs = build_graphs(model, SIZE)
    (graph,) = graphs.graphs
    program = trace(graph, SIZE, step=graphs.step)
    (images,) = graph.example(2, (96, 64))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), model(images))
