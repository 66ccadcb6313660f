"""Where the pictures of images go: a name for each, which is no other's and no image's that is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mscsa.errors import UserError


class OutputFolder:
    """A folder that gets files for each image, called after it.

    >>> OutputFolder(Path("out"), ["cats/1.jpg", "dogs/1.jpg"]).paths("cats/1.jpg", ".png", "_overlay.png")
    (PosixPath('out/1.png'), PosixPath('out/1_overlay.png'))
    """

    def __init__(self, folder: Path, images: Iterable[str | Path]) -> None:
        """Take `folder` for pictures of `images`, none of which is ever written over."""
        self.folder = folder
        self._images = {Path(image).resolve() for image in images}
        self._given: set[Path] = set()

    def paths(self, image: str, *endings: str) -> tuple[Path, ...]:
        """Name the files of one image: its name and each ending, with `_` where that is taken.

        Raises:
            UserError: If one of them is an image that is looked at, which it would overwrite.
        """
        stem = Path(image).stem
        while any(self.folder / f"{stem}{ending}" in self._given for ending in endings):
            stem += "_"
        chosen = tuple(self.folder / f"{stem}{ending}" for ending in endings)
        for path in chosen:
            if path.resolve() in self._images:
                raise UserError(f"{path} is the image itself, which is not overwritten: give another --out")
        self._given.update(chosen)
        return chosen
