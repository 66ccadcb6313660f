"""How a run calculates, and that nothing of it stays afterwards."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from mscsa.errors import UserError
from mscsa.recipes.spec import RunSpec
from mscsa.training.arithmetic import arithmetic
from tests.refusals import one_line_error


def settings() -> tuple[Any, ...]:
    return (
        torch.get_float32_matmul_precision(),
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


def test_a_run_without_wishes_changes_nothing() -> None:
    before = settings()
    with arithmetic(RunSpec()):
        assert settings() == before


def test_it_holds_within_and_not_after() -> None:
    before = settings()
    with arithmetic(RunSpec(matmul_precision="medium", deterministic=True)):
        assert settings() == ("medium", 2, False, ":4096:8")
    assert settings() == before
    with pytest.raises(KeyError), arithmetic(RunSpec(matmul_precision="high", deterministic=True)):
        raise KeyError("x")
    assert settings() == before


def test_a_workspace_that_was_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with arithmetic(RunSpec(deterministic=True)):
        assert settings()[3] == ":16:8"
    assert settings()[3] == ":16:8"


def scatter() -> None:
    """One of torch's operations without a deterministic form on any device."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_an_operation_that_is_not_deterministic_is_named() -> None:
    def run() -> None:
        with arithmetic(RunSpec(deterministic=True)):
            scatter()

    one_line_error(run, "run.deterministic: torch has no deterministic form of put_ on this device")
    with arithmetic(RunSpec()):
        scatter()


def test_a_model_that_cannot_be_compiled_is_one_line() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler\nis here")

    def run(compile: bool) -> None:
        torch._dynamo.reset()
        with arithmetic(RunSpec(compile=compile)):
            torch.compile(lambda x: x + 1, backend=broken)(torch.zeros(1))

    one_line_error(lambda: run(True), "run.compile: torch cannot compile this model here \\(.*no compiler")
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed):
        run(False)


def test_other_errors_pass() -> None:
    run = RunSpec(deterministic=True, compile=True)
    with pytest.raises(RuntimeError, match="^else$"), arithmetic(run):
        raise RuntimeError("else")
    with pytest.raises(UserError, match="^bad$"), arithmetic(run):
        raise UserError("bad")
