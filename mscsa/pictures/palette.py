"""Colours of classes."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray


def palette(num_colours: int) -> NDArray[np.uint8]:
    """Give a colour to each class, (K, 3), always the same; neighbours differ in hue and lightness."""
    # Steps of the golden ratio spread hues evenly for any number; lightness changes in turn.
    colours = [
        colorsys.hls_to_rgb((0.02 + 0.618034 * i) % 1, (0.5, 0.65, 0.38)[i % 3], (0.85, 0.6)[i // 3 % 2])
        for i in range(num_colours)
    ]
    return (255 * np.array(colours)).astype(np.uint8)
