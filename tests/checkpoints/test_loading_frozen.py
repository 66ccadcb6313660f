"""Weights of models whose norms are frozen fit those whose norms are not, and the other way round."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.utils import freeze, unfreeze
from torch import nn

from mscsa.checkpoints import load_weights
from mscsa.checkpoints.parts import is_counter
from tests.refusals import one_line_error
from tests.small_models import RESNET


def randomised(**keywords: Any) -> nn.Module:
    model = RESNET.build(**keywords)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value.copy_(torch.rand(value.shape, generator=generator) * 9)
    return model


@pytest.mark.parametrize("policy", ["exact", "new_head", "backbone"])
@pytest.mark.parametrize("frozen", ["backbone", "mscsa", "fusion"])
def test_counters_that_one_side_lacks_fit(frozen: str, policy: Any) -> None:
    """All parts come from the file, a neck's as well as the backbone's."""
    source, model = randomised(features_only=True), RESNET.build(features_only=True)
    state = source.state_dict()
    freeze(model, [frozen])
    assert len(model.state_dict()) < len(state)
    report = load_weights(model, state, policy=policy)
    assert not report.new and all(is_counter(key) for key in report.unexpected)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    fewer = model.state_dict()
    unfreeze(model, [frozen])
    assert not load_weights(model, fewer, policy=policy).new


def test_more_than_counters_is_still_refused() -> None:
    source, model = RESNET.build(depth=2), RESNET.build()
    freeze(model, ["mscsa"])
    message = one_line_error(lambda: load_weights(model, source.state_dict()), r"mscsa: \d+ unexpected")
    assert "num_batches_tracked" not in message
