"""Synchronised batch norms keep what a norm does beside norming."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from mscsa.training.sync_batchnorm import SyncBatchNorms


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_the_network_stays_the_same(name: str) -> None:
    """timm's EfficientNets have their activation in the norm, which torch's own conversion loses."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = model(image)
        plain = nn.SyncBatchNorm.convert_sync_batchnorm(timm.create_model(name, num_classes=3)).eval()
        plain.load_state_dict(model.state_dict())
        assert torch.equal(plain(image), before) == (name == "test_resnet")
        synced = SyncBatchNorms().apply(model).eval()
        assert torch.equal(synced(image), before)
    norms = [module for module in synced.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert SyncBatchNorms().revert(synced) is synced
