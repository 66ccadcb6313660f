"""Questions about sizes: plain answers in eager code, proofs in graphs, nothing in traces."""

import torch

from mscsa.attention.sizes import is_known


class Answers(torch.nn.Module):
    """Adds 1 where the width is known to be 4, and 10 where the height is known to be at least 2."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1.0 * is_known(x.shape[1] == 4) + 10.0 * is_known(x.shape[0] >= 2)


def answer_of(module, size: tuple[int, int]) -> float:
    return module(torch.zeros(size))[0, 0].item()


def test_eager_answers_are_plain():
    assert [answer_of(Answers(), size) for size in [(1, 4), (2, 4), (2, 3)]] == [1, 11, 10]


def test_a_graph_knows_what_is_proven_and_adds_no_guard():
    rows = torch.export.Dim("rows", min=2, max=64)
    columns = torch.export.Dim("columns", min=3, max=64)
    exported = torch.export.export(
        Answers(), (torch.zeros(5, 4),), dynamic_shapes=({0: rows, 1: columns},)
    ).module()
    assert [answer_of(exported, size) for size in [(5, 4), (2, 7), (9, 3)]] == [10, 10, 10]


def test_a_compiled_graph_knows_what_is_proven():
    torch._dynamo.reset()
    compiled = torch.compile(Answers(), dynamic=True, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert [answer_of(compiled, size) for size in [(5, 4), (2, 7)]] == [10, 10]


def test_a_trace_knows_nothing():
    traced = torch.jit.trace(Answers(), torch.zeros(5, 4), check_trace=False)
    assert [answer_of(traced, size) for size in [(5, 4), (1, 4), (2, 3)]] == [0, 0, 0]


def test_what_is_no_comparison_is_not_known():
    assert not is_known(torch.tensor(True)) and not is_known(1) and not is_known(None)
