"""How a model is run: modes that come back, a stop, arithmetic, device, processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mscsa.errors import UserError
from mscsa.evaluation.running import autocast, choose_device, in_group, pass_over, process_rank
from tests.evaluation.process_groups import run_group


def mixed_modes() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.9), nn.BatchNorm1d(4))
    model[2].eval()
    return model


def test_a_pass_is_in_eval_mode_and_gives_the_modes_back() -> None:
    model = mixed_modes()
    before = [module.training for module in model.modules()]
    seen: list[int] = []

    def take(batch: int) -> None:
        assert not any(module.training for module in model.modules())
        seen.append(batch)

    assert pass_over(model, [1, 2, 3], take) is False
    assert seen == [1, 2, 3]
    assert [module.training for module in model.modules()] == before


def test_modes_come_back_after_an_error() -> None:
    model = mixed_modes()
    before = [module.training for module in model.modules()]

    def fail(batch: int) -> None:
        raise KeyError(batch)

    with pytest.raises(KeyError):
        pass_over(model, [1], fail)
    assert [module.training for module in model.modules()] == before


def test_a_stop_reads_no_further() -> None:
    read, taken = [], []
    batches = (read.append(i) or i for i in range(5))  # type: ignore[func-returns-value]
    assert pass_over(nn.Identity(), batches, taken.append, lambda: len(taken) == 2) is True
    assert read == taken == [0, 1]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("64-true", torch.float32),  # the model's own dtype
        ("bf16-mixed", torch.bfloat16),
        ("16-mixed", torch.bfloat16),  # a CPU has no fp16
    ],
)
def test_a_forward_pass_runs_in_the_runs_arithmetic(precision: str, dtype: torch.dtype) -> None:
    with autocast(precision, torch.device("cpu")):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="torch sees none"):
        choose_device("gpu")
    with pytest.raises(UserError, match="'tpu' is not known"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("gpu").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def _note_rank(rank: int, size: int, folder: Path) -> None:
    (folder / str(rank)).write_text(f"{in_group()} {process_rank()}")


def test_processes_of_a_group_know_their_place(tmp_path: Path) -> None:
    assert not in_group() and process_rank() == (0, 1)
    run_group(_note_rank, 2, tmp_path)
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["True (0, 2)", "True (1, 2)"]
