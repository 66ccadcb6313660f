"""What every head of a segmenter is, and what is asked about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn


class DecodeHead(nn.Module):
    """Maps of a pyramid, finest first, to logits (B, K, h, w): what a head's function gives beside it.

    All that is asked of a kind of head is asked here; nobody looks at its class.
    """

    chosen_widths: Mapping[str, int] = MappingProxyType({})
    """Widths that it chose where an option that makes it wider (`Head.wider`) is None: option -> width."""
    classifier: nn.Module
    """The layer that ends in the classes."""
