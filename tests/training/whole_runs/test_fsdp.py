"""Two processes that share a model (gloo, CPU) end as one does, and write what one reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mscsa.checkpoints import read_state_dict
from tests.training.processes import run
from tests.training.whole_runs.test_ddp import exact_recipe, run_pair, train_logging_all


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run by one process and by two that share the model."""
    root = tmp_path_factory.mktemp("fsdp")
    one, two = root / "one", root / "two"
    assert run(train_logging_all, 0, exact_recipe(), one) == 0
    assert run_pair(train_logging_all, exact_recipe(devices=2, strategy="fsdp"), two) == [0, 0]
    return one, two


def test_two_processes_that_share_a_model_train_to_the_same_weights(runs: tuple[Path, Path]) -> None:
    one, two = (read_state_dict(folder / "last.safetensors")[0] for folder in runs)
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert (value.double() - two[key].double()).abs().max() <= 1e-9, key
    assert not torch.equal(one["conv1.0.weight"], two["conv1.0.weight"]), "was it two processes?"
