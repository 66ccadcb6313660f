"""One graph from `torch.compile` and `torch.export`, right at sizes that were not traced."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.export import Dim

from mscsa.attention import MSCSAConfig, MSCSANeck
from mscsa.attention.config import Downsampling
from tests.attention.pyramids import CHANNELS, STRIDES, pyramid
from tests.attention.weights import randomise

SMALL = MSCSAConfig(num_heads=2, head_dim=3, squeeze_ratio=0.5)
ANY_SIZES = [(96, 128), (97, 131), (250, 333), (64, 200), (135, 70)]


default_stride_fast = pytest.mark.parametrize(
    "pool_stride", [32, *(pytest.param(stride, marks=pytest.mark.slow) for stride in (16, 64))]
)


def build(config: MSCSAConfig = SMALL) -> MSCSANeck:
    return randomise(MSCSANeck(CHANNELS, STRIDES, config))


def assert_equal(ours: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("downsampling", get_args(Downsampling))
def test_compiles_to_one_graph(downsampling):
    torch._dynamo.reset()
    neck = build(replace(SMALL, downsampling=downsampling))
    compiled = torch.compile(neck, fullgraph=True, backend="eager")
    maps = pyramid(96, 128)
    assert_equal(compiled(maps), neck(maps))


def test_training_step_compiles_to_one_graph():
    torch._dynamo.reset()
    neck = build(replace(SMALL, drop_path_rate=0.1)).train()
    compiled = torch.compile(neck, fullgraph=True, backend="eager")
    sum(x.sum() for x in compiled(pyramid(96, 128))).backward()
    assert all(p.grad is not None for p in neck.parameters())


@default_stride_fast
def test_one_dynamic_graph_serves_every_size(pool_stride):
    torch._dynamo.reset()
    neck = build(replace(SMALL, pool_stride=pool_stride))
    compiled = torch.compile(neck, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for batch, size in enumerate([(290, 417), (250, 333), (480, 512)], start=2):
            maps = pyramid(*size, batch=batch)
            assert_equal(compiled(maps), neck(maps))


@pytest.mark.slow
def test_tiny_and_odd_sizes_compile_right():
    """A map of one token is another graph: it may compile anew, and must stay right."""
    torch._dynamo.reset()
    neck = build()
    compiled = torch.compile(neck, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, size in enumerate(ANY_SIZES, start=1):
        maps = pyramid(*size, batch=batch)
        assert_equal(compiled(maps), neck(maps))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_inductor_is_right(dynamic):
    torch._dynamo.reset()
    neck = build()
    compiled = torch.compile(neck, fullgraph=True, dynamic=dynamic)
    for size in ANY_SIZES[:3]:
        maps = pyramid(*size)
        assert_equal(compiled(maps), neck(maps))


@default_stride_fast
def test_exports_with_any_sizes(pool_stride):
    """Batch, height and width are free, so the pooling windows need not divide.

    From four tokens on: torch treats a size of 1, here of X_2, as another graph.
    """
    neck = build(replace(SMALL, pool_stride=pool_stride))
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    example = (pyramid(290, 417, batch=2),)
    program = torch.export.export(neck, example, dynamic_shapes=([free] * 4,))
    assert "adaptive" not in str(program.graph)  # the ONNX exporter freezes its windows
    exported = program.module()
    for batch, size in enumerate([(250, 333), (224, 224), (193, 480), (515, 258)], start=1):
        maps = pyramid(*size, batch=batch)
        assert_equal(exported(maps), neck(maps))


@pytest.mark.slow
def test_a_size_too_small_for_an_exported_graph_is_refused():
    neck = build()
    free = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    exported = torch.export.export(neck, (pyramid(290, 417),), dynamic_shapes=([free] * 4,)).module()
    with pytest.raises(AssertionError, match="Guard failed"):
        exported(pyramid(64, 64))


def test_exports_with_multiples_of_32():
    neck = build()
    batch, height, width = Dim("batch"), Dim("height", min=4, max=40), Dim("width", min=4, max=40)
    shapes = [{0: batch, 2: k * height, 3: k * width} for k in (8, 4, 2)] + [{0: batch, 2: height, 3: width}]
    exported = torch.export.export(neck, (pyramid(160, 224),), dynamic_shapes=(shapes,)).module()
    for count, size in enumerate([(160, 224), (224, 224), (128, 320)], start=1):
        maps = pyramid(*size, batch=count)
        assert_equal(exported(maps), neck(maps))
