"""Where the pictures of images go: a name for each, at which nothing is yet."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mscsa.errors import UserError


class OutputFolder:
    """A folder that gets files for each image, called after it. No file that is there is ever replaced.

    >>> OutputFolder(Path("out"), ["cats/1.jpg", "dogs/1.jpg"]).paths("cats/1.jpg", ".png", "_overlay.png")
    (PosixPath('out/1.png'), PosixPath('out/1_overlay.png'))
    """

    def __init__(self, folder: Path, others: Iterable[str | Path]) -> None:
        """Take `folder` for pictures.

        Args:
            folder: It need not be there yet.
            others: Files that the same command reads or writes, the images among them.
        """
        self.folder = folder
        self._others = {Path(other).resolve() for other in others}
        self._given: set[str] = set()

    def paths(self, image: str, *endings: str) -> tuple[Path, ...]:
        """Name the files of one image: its name and each ending, with `_` where that was given before.

        Raises:
            UserError: If there is such a file already, or the command reads or writes it otherwise.
        """
        stem = Path(image).stem
        # Some systems take A.png and a.png for one file.
        while any(f"{stem}{ending}".casefold() in self._given for ending in endings):
            stem += "_"
        chosen = tuple(self.folder / f"{stem}{ending}" for ending in endings)
        for path in chosen:
            if path.resolve() in self._others:
                raise UserError(
                    f"{path} is a file that this command reads or writes itself, and is not overwritten: "
                    "give another --out"
                )
            if os.path.lexists(path):
                raise UserError(
                    f"{path} is there already and is not overwritten: give another --out, or remove it"
                )
        self._given.update(path.name.casefold() for path in chosen)
        return chosen
