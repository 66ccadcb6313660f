"""Images by which the range of each map is measured, before it becomes 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mscsa.data.images import load_image
from mscsa.data.walking import paths_within
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS
from mscsa_runtime.metadata import Metadata
from mscsa_runtime.preprocessing import prepare

NUM_IMAGES = 64
"""Images that are read at most."""


def read_images(folder: str | Path, metadata: Metadata) -> list[NDArray[np.float32]]:
    """Read images of a folder and below it, spread over all by name, as the exported model takes them.

    Returns:
        (1, 3, H, W) each.
    Raises:
        UserError: If there is none, or one is unreadable.
    """
    found = paths_within(Path(folder), EXTENSIONS)
    if not found:
        raise UserError(f"{folder} has no image: give a folder of some like those that are to be predicted")
    places = np.linspace(0, len(found) - 1, min(NUM_IMAGES, len(found))).round().astype(int)
    return [prepare(load_image(found[place]), metadata).pixels[None] for place in places]
