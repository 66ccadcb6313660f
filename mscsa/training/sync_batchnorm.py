"""Batch statistics over all processes, for timm's batch norms too."""

from __future__ import annotations

from lightning.pytorch.plugins.layer_sync import LayerSync
from timm.layers import convert_sync_batchnorm
from torch import nn


class SyncBatchNorms(LayerSync):
    """Synchronise batch norms as timm does.

    torch's own conversion, which Lightning takes, replaces timm's norms with a built-in activation
    (EfficientNet, RegNet, MobileNet) by norms without one.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms of a model that is about to train."""
        return convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave a trained model as it is: nothing runs it any more, and its weights have the same names."""
        return model
