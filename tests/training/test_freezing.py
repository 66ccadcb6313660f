"""Fixed parts of a model."""

from __future__ import annotations

import pytest
import timm
from torch import nn

from mscsa.errors import UserError
from mscsa.recipes.finetune import FROZEN
from mscsa.training.freezing import freeze, hold_in_eval


def test_a_prefix_is_a_whole_name() -> None:
    model = nn.Module()
    model.layer1 = nn.Linear(2, 2)
    model.layer10 = nn.Linear(2, 2)
    model.norm = nn.BatchNorm1d(2)
    held = freeze(model, ["layer1", "norm.weight"])
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {"layer1.weight", "layer1.bias", "norm.weight"}
    assert held == ["layer1"]


def test_held_modules_are_in_eval_mode_and_the_others_are_not() -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    held = freeze(model, ["conv1", "layer1"])
    model.train()
    hold_in_eval(model, held)
    for name, module in model.named_modules():
        fixed = name.split(".")[0] in ("conv1", "layer1")
        assert module.training != fixed, name


def test_a_prefix_that_names_nothing_is_an_error_with_the_nearest() -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    with pytest.raises(UserError, match=r"model.freeze 'layre1' names no parameter: did you mean .*layer1"):
        freeze(model, ["layre1"])
    with pytest.raises(UserError, match=r"the model's parts are conv1, bn1"):
        freeze(model, ["zzzzzzzz"])


@pytest.mark.parametrize("backbone", FROZEN)
def test_fine_tuning_recipes_name_parts_that_exist(backbone: str) -> None:
    freeze(timm.create_model(backbone, num_classes=2), FROZEN[backbone])
