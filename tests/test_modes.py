"""Evaluation mode for a while."""

from __future__ import annotations

import pytest
from torch import nn

from mscsa.modes import evaluating


def test_each_module_has_its_own_mode_back_whatever_happens():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(0.5)))
    model[0].eval()
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before == [True, False, True, True]
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [module.training for module in model.modules()] == before
