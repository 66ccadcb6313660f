"""What torch and timm do to any module, done to MSCSA and its neck: each must leave it right.

Compiling, exporting and tracing (one graph, right at sizes that were not seen), recomputing, two backward
passes, freezing, copying, pickling, hooks.
"""

import copy
import pickle
from dataclasses import replace
from typing import get_args

import pytest
import torch
from timm.utils import freeze, unfreeze
from torch import nn
from torch.export import Dim
from torch.utils.tensorboard import SummaryWriter

from mscsa.attention import MSCSA, MSCSAConfig, MSCSANeck
from mscsa.attention.config import Downsampling
from tests.attention.pyramids import CHANNELS, STRIDES, pyramid
from tests.attention.weights import randomise

SMALL = MSCSAConfig(num_heads=2, head_dim=3, squeeze_ratio=0.5)
ANY_SIZES = [(96, 128), (97, 131), (250, 333), (64, 200), (135, 70)]


default_stride_fast = pytest.mark.parametrize(
    "pool_stride", [32, *(pytest.param(stride, marks=pytest.mark.long) for stride in (16, 64))]
)


def build(config: MSCSAConfig = SMALL) -> MSCSANeck:
    return randomise(MSCSANeck(CHANNELS, STRIDES, config))


both = pytest.mark.parametrize("kind", [MSCSA, MSCSANeck])


def build_kind(kind: type[nn.Module], config: MSCSAConfig = SMALL) -> nn.Module:
    return randomise(kind(CHANNELS, STRIDES, config))


def neck_of_two(config: MSCSAConfig = SMALL) -> MSCSANeck:
    """Of the finest and the deepest stage, a fourth of the kernels: what follows the token map has both."""
    return randomise(MSCSANeck(CHANNELS[::3], STRIDES[::3], config))


def as_list(outputs: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def loss_of(outputs: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return sum(x.square().sum() for x in as_list(outputs))


def assert_equal(
    ours: torch.Tensor | list[torch.Tensor], expected: torch.Tensor | list[torch.Tensor]
) -> None:
    for a, b in zip(as_list(ours), as_list(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("downsampling", get_args(Downsampling))
def test_compiles_to_one_graph(downsampling):
    torch._dynamo.reset()
    neck = neck_of_two(replace(SMALL, downsampling=downsampling))
    compiled = torch.compile(neck, fullgraph=True, backend="eager")
    maps = pyramid(96, 128)[::3]
    assert_equal(compiled(maps), neck(maps))


def test_training_step_compiles_to_one_graph():
    torch._dynamo.reset()
    neck = build(replace(SMALL, drop_path_rate=0.1)).train()
    compiled = torch.compile(neck, fullgraph=True, backend="eager")
    sum(x.sum() for x in compiled(pyramid(96, 128))).backward()
    assert all(p.grad is not None for p in neck.parameters() if p.requires_grad)


@pytest.mark.slow
@default_stride_fast
def test_one_dynamic_graph_serves_every_size(pool_stride):
    torch._dynamo.reset()
    neck = build(replace(SMALL, pool_stride=pool_stride))
    compiled = torch.compile(neck, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for batch, size in enumerate([(290, 417), (250, 333), (480, 512)], start=2):
            maps = pyramid(*size, batch=batch)
            assert_equal(compiled(maps), neck(maps))


@pytest.mark.long
def test_tiny_and_odd_sizes_compile_right():
    """A map of one token is another graph: it may compile anew, and must stay right."""
    torch._dynamo.reset()
    neck = neck_of_two()
    compiled = torch.compile(neck, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, size in enumerate(ANY_SIZES, start=1):
        maps = pyramid(*size, batch=batch)[::3]
        assert_equal(compiled(maps), neck(maps))


@pytest.mark.long
@pytest.mark.parametrize("dynamic", [False, True])
def test_inductor_is_right(dynamic):
    torch._dynamo.reset()
    neck = neck_of_two()
    compiled = torch.compile(neck, fullgraph=True, dynamic=dynamic)
    for size in ANY_SIZES[:2]:
        maps = pyramid(*size)[::3]
        assert_equal(compiled(maps), neck(maps))


@pytest.mark.slow
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


@pytest.mark.long
def test_a_size_too_small_for_an_exported_graph_is_refused():
    neck = build()
    free = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    exported = torch.export.export(neck, (pyramid(290, 417),), dynamic_shapes=([free] * 4,)).module()
    with pytest.raises(AssertionError, match="Guard failed"):
        exported(pyramid(64, 64))


@pytest.mark.long
def test_exports_with_multiples_of_32():
    neck = build()
    batch, height, width = Dim("batch"), Dim("height", min=4, max=40), Dim("width", min=4, max=40)
    shapes = [{0: batch, 2: k * height, 3: k * width} for k in (8, 4, 2)] + [{0: batch, 2: height, 3: width}]
    exported = torch.export.export(neck, (pyramid(160, 224),), dynamic_shapes=(shapes,)).module()
    for count, size in enumerate([(160, 224), (224, 224), (128, 320)], start=1):
        maps = pyramid(*size, batch=count)
        assert_equal(exported(maps), neck(maps))


class WithBackbone(nn.Module):
    """A module behind a backbone of strided convolutions, so that all sizes follow from the image's."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        widths = [3, 4, *CHANNELS]
        self.stages = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 3, 2, padding=1) for c_in, c_out in zip(widths, widths[1:], strict=False)
        )
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        maps = [x]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return self.module(maps[2:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pool_stride"),
    [
        (MSCSA, 32),
        *(pytest.param(MSCSANeck, stride, marks=pytest.mark.long) for stride in (32, 16)),
    ],
)
def test_exports_with_named_sizes(kind, pool_stride):
    """Which of two maps is the larger cannot be proven there, and is not asked.

    With a fixed batch: torch looks closely at a size that is the only unknown of a product.
    """
    module = WithBackbone(build_kind(kind, replace(SMALL, pool_stride=pool_stride))).double().eval()
    sizes = {2: Dim("height", min=128, max=512), 3: Dim("width", min=128, max=512)}
    program = torch.export.export(module, (torch.rand(2, 3, 160, 224).double(),), dynamic_shapes=(sizes,))
    exported = program.module()
    for size in [(160, 224), (250, 333), (290, 130)]:
        image = torch.rand(2, 3, *size).double()
        assert_equal(exported(image), module(image))


def test_an_export_checks_number_and_channels_of_maps():
    maps = pyramid(160, 224)
    for wrong, message in ((maps[:3], "3 maps of shapes"), (maps[::-1], "channels given")):
        with pytest.raises(ValueError, match=message):
            torch.export.export(build_kind(MSCSANeck), (wrong,))


@both
@default_stride_fast
def test_a_trace_is_right_at_other_sizes(kind, pool_stride):
    module = build_kind(kind, replace(SMALL, pool_stride=pool_stride))
    traced = torch.jit.trace(module, (pyramid(96, 128),), strict=False)
    for batch, size in enumerate(ANY_SIZES, start=1):
        maps = pyramid(*size, batch=batch)
        assert_equal(traced(maps), module(maps))


def test_a_trace_of_a_checkpointed_module_is_that_of_the_module():
    module = build_kind(MSCSA)
    module.set_grad_checkpointing()
    maps = pyramid(97, 131)
    assert_equal(torch.jit.trace(module, (pyramid(96, 128),))(maps), module(maps))


class OfFourMaps(nn.Module):
    """A module of a list of maps as one of four maps, which TensorBoard can call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean() for x in as_list(self.module(list(maps)))])


@both
def test_tensorboard_draws_its_graph(kind, tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(OfFourMaps(build_kind(kind)), pyramid(64, 64))
    assert any(path.stat().st_size > 10_000 for path in tmp_path.iterdir())


def trained(module: nn.Module, run, *, backwards: int = 1) -> nn.Module:
    """The module after one training step's backward passes over `run`."""
    module.train()
    torch.manual_seed(0)
    outputs = run(pyramid(96, 128))
    for i in range(backwards):
        loss_of(outputs).backward(retain_graph=i + 1 < backwards)
    return module


def assert_trained_alike(ours: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(ours.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-12, msg=name)
    for (name, p), q in zip(ours.named_parameters(), expected.named_parameters(), strict=True):
        torch.testing.assert_close(p.grad, q[1].grad, rtol=1e-9, atol=1e-9, msg=name)


def checkpointed(module: nn.Module) -> nn.Module:
    part = module.mscsa if isinstance(module, MSCSANeck) else module
    part.set_grad_checkpointing()
    return module


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MSCSA, pytest.param(MSCSANeck, marks=pytest.mark.long)])
def test_compiling_and_recomputing_together_train_alike(kind):
    torch._dynamo.reset()
    plain, saving = build_kind(kind), checkpointed(build_kind(kind))
    compiled = torch.compile(saving, fullgraph=True, backend="aot_eager")
    assert_trained_alike(trained(saving, compiled), trained(plain, plain))


@both
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_two_backward_passes(kind, is_checkpointed):
    plain, module = build_kind(kind), build_kind(kind)
    if is_checkpointed:
        checkpointed(module)
    trained(module, module, backwards=2)
    trained(plain, plain)
    for p in plain.parameters():
        p.grad = None if p.grad is None else 2 * p.grad
    assert_trained_alike(module, plain)


@both
def test_freezing_and_unfreezing(kind):
    """timm replaces the norms of what it freezes, as detectors of several libraries do."""
    module = build_kind(kind)
    maps = pyramid(96, 128)
    expected = module(maps)
    freeze(module)
    assert not any(p.requires_grad for p in module.parameters())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    module.train()
    assert_equal(module(maps), expected)
    unfreeze(module)
    assert all(p.requires_grad for p in module.parameters())
    assert_equal(module.eval()(maps), expected)


@both
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_whole_and_their_own(kind, duplicate):
    module = checkpointed(build_kind(kind))
    other = duplicate(module)
    maps = pyramid(96, 128)
    assert_equal(other(maps), module(maps))
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in module.parameters()]
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert all(p.any() for p in module.parameters())


@both
@pytest.mark.parametrize("size", [(32, 32), (97, 131)])
def test_hooks_of_every_layer_fire(kind, size):
    module = build_kind(kind)
    lists = (nn.ModuleList, nn.Sequential)
    layers = {name: m for name, m in module.named_modules() if not isinstance(m, lists)}
    seen: set[str] = set()
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: seen.add(name))
    module(pyramid(*size))
    assert seen == set(layers)
