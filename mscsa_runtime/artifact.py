"""An exported model: found, opened, asked, without torch where its runtime needs none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa_runtime.backends import OPENERS, Opened, open_file
from mscsa_runtime.errors import ArtifactError
from mscsa_runtime.metadata import Metadata

FIRST = "model"
"""Name of an artifact's first file, without its ending."""


def find_artifact(path: str | Path) -> Path | None:
    """Give the first file of the artifact that a path names, itself or its folder; None if it names none.

    Raises:
        ArtifactError: If a folder holds several.
    """
    path = Path(path)
    if path.suffix in OPENERS and not path.is_dir():
        return path
    found = [path / f"{FIRST}{ending}" for ending in OPENERS if (path / f"{FIRST}{ending}").is_file()]
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise ArtifactError(f"{path} holds several models: give one of its files, {names}")
    return found[0] if found else None


class Artifact:
    """An exported model in its runtime."""

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Open all files of a model.

        Args:
            path: The folder that `mscsa export` wrote, or the file named `model` in it.
            threads: Of the runtime; its own choice if None.
        Raises:
            ArtifactError: If there is none, it is damaged, its files are of different exports, or its runtime
                is not installed.
        """
        first = find_artifact(path)
        if first is None:
            raise ArtifactError(f"{path} holds no exported model: give what `mscsa export` wrote")
        self.path = first
        opened = open_file(first, threads)
        self.metadata = Metadata.from_json(opened.metadata, first)
        self._opened: dict[str, Opened] = {FIRST: opened}
        for name in self.metadata.parts[1:]:
            beside = first.with_name(name)
            part = open_file(beside, threads)
            if Metadata.from_json(part.metadata, beside).identity != self.metadata.identity:
                raise ArtifactError(f"{beside} is of another export than {first}: copy all files of one")
            self._opened[beside.stem] = part

    def run(self, images: NDArray[np.float32], **others: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Give what the first file gives, by name.

        Args:
            images: RGB in 0..1, minus the mean, over the deviation, (B, 3, H, W).
            **others: Further inputs, by name: `sizes` (B, 2) of a Deformable DETR.
        Raises:
            ArtifactError: If the images are no floats, or of a size that it was not made for.
        """
        images = np.asarray(images)
        if images.dtype.kind != "f":
            raise ArtifactError(f"images of {images.dtype} given: give floats, normalised as `prepare` does")
        images = images.astype(np.float32, copy=False)
        if images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise ArtifactError(f"images of shape {images.shape} given: give (B, 3, H, W), B from 1 on")
        height, width = images.shape[2:]
        if not self.metadata.sizes.accepts(height, width):
            raise ArtifactError(
                f"{self.path} was made for {self.metadata.sizes}, {height}x{width} given: resize or "
                "pad them, or export it for that size"
            )
        found = self.run_part(FIRST, {"images": images, **others})
        return dict(zip(self.metadata.outputs, found, strict=True))

    def run_part(self, name: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Give what one of its files gives, in order, of inputs in order; sizes are not looked at."""
        return self._opened[name].run(inputs)
