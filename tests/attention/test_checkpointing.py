"""Gradient checkpointing: the same run as without it, in every way of running a model."""

import copy

import pytest
import torch
from torch import nn

from mscsa.attention.checkpointing import HeldStatistics, checkpoint_module
from tests.necks.pyramids import maps_of, sizes_at, small_neck


class Saving(nn.Module):
    """Calls its part with or without recomputation."""

    def __init__(self, part: nn.Module, *, is_saving: bool) -> None:
        super().__init__()
        self.part = part
        self.is_saving = is_saving

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint_module(self.part, x) if self.is_saving else self.part(x)


def norms_of(momentum: float | None = 0.1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4, momentum=momentum),
        nn.Hardswish(),
        nn.Dropout(0.3),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.Hardswish(),
    )


def pair(momentum: float | None = 0.1) -> tuple[Saving, Saving]:
    """The same module, plain and recomputing."""
    torch.manual_seed(0)
    plain = Saving(norms_of(momentum), is_saving=False).double()
    saving = copy.deepcopy(plain)
    saving.is_saving = True
    return plain, saving


def image(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_equal_state(ours: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(ours.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0, msg=name)


def assert_equal_gradients(ours: nn.Module, expected: nn.Module) -> None:
    for (name, p), q in zip(ours.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-14, msg=name)


def calls_of(module: nn.Module) -> list[int]:
    """A list that grows by one with each call of `module`."""
    calls: list[int] = []
    module.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("is_training", [True, False])
def test_changes_nothing(is_training, momentum):
    plain, saving = pair(momentum)
    for module in (plain, saving):
        module.train(is_training)
        for step in range(2):
            torch.manual_seed(step)
            module(image()).square().sum().backward()
    assert_equal_state(saving, plain)
    assert_equal_gradients(saving, plain)


def test_norms_that_synchronise_are_recomputed():
    """They refuse to run without a counter; in one process they need no group and no GPU."""
    plain, saving = (nn.SyncBatchNorm.convert_sync_batchnorm(module) for module in pair())
    assert isinstance(saving.part[1], nn.SyncBatchNorm)
    for module in (plain, saving):
        for step in range(2):
            torch.manual_seed(step)
            module(image()).square().sum().backward()
    assert saving.part[1].num_batches_tracked == 2
    assert_equal_state(saving, plain)
    assert_equal_gradients(saving, plain)


@pytest.mark.parametrize("name", ["mscsa", "pafpn", "bifpn", "topformer"])
def test_necks_with_norms_that_synchronise_are_recomputed(name):
    plain = nn.SyncBatchNorm.convert_sync_batchnorm(small_neck(name)).train()
    saving = copy.deepcopy(plain)
    maps = [x.requires_grad_() for x in maps_of(sizes_at((64, 64)))]
    for mixed in (plain(maps), checkpoint_module(saving, maps)):
        sum(x.square().sum() for x in mixed).backward()
    assert_equal_state(saving, plain)
    assert_equal_gradients(saving, plain)


def test_two_backward_passes_recompute_twice():
    plain, saving = pair()
    calls = calls_of(saving.part)
    for module in (plain, saving):
        torch.manual_seed(0)
        out = module(image())
        out.square().sum().backward(retain_graph=True)
        out.sum().backward()
    assert len(calls) == 3
    assert_equal_state(saving, plain)
    assert_equal_gradients(saving, plain)


@pytest.mark.slow
def test_compiles():
    """With `aot_eager`: the backend `eager` refuses torch's own checkpoint of any batch norm."""
    torch._dynamo.reset()
    plain, saving = pair()
    for module in (plain, saving):
        module.part[3].p = 0.0
    plain(image()).square().sum().backward()
    torch.compile(saving, backend="aot_eager", fullgraph=True)(image()).square().sum().backward()
    for (name, value), other in zip(saving.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-12, msg=name)
    assert_equal_gradients(saving, plain)


@pytest.mark.parametrize("is_training", [True, False])
def test_recomputes_whenever_there_are_gradients(is_training):
    _, saving = pair()
    calls = calls_of(saving.train(is_training).part)
    saving(image()).sum().backward()
    assert len(calls) == 2


def test_without_gradients_the_call_is_plain():
    _, saving = pair()
    calls = calls_of(saving.part)
    with torch.no_grad():
        assert not saving(image()).requires_grad
    assert len(calls) == 1


def test_exports_and_traces_without_a_trace_of_it():
    plain, saving = pair()
    plain.eval(), saving.eval()
    program = torch.export.export(saving, (image(),))
    assert "checkpoint" not in str(program.graph)
    traced = torch.jit.trace(saving, (image(),))
    for ours in (program.module(), traced):
        torch.testing.assert_close(ours(image()), plain(image()), rtol=1e-12, atol=1e-12)


def test_a_checkpointed_part_of_a_checkpointed_module_counts_once():
    plain, saving = pair()
    outer = Saving(saving, is_saving=True)
    for module in (plain, outer):
        torch.manual_seed(0)
        module(image()).square().sum().backward()
    assert_equal_state(saving, plain)
    assert_equal_gradients(saving, plain)


def test_held_statistics_may_be_entered_again_and_within_itself():
    module = norms_of(momentum=0.3).double()
    held, start = HeldStatistics(module), copy.deepcopy(module)
    for _ in range(2):
        with held, held:
            module(image())
    assert_equal_state(module, start)
    assert module[1].momentum == 0.3
    module(image())
    assert module[1].num_batches_tracked == 1


def test_statistics_are_held_only_within_an_interrupted_recomputation():
    _, saving = pair()
    out = saving(image())
    saving.part[4].register_forward_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        out.sum().backward()
    assert saving.part[1].momentum == 0.1 and saving.part[1].num_batches_tracked == 1
