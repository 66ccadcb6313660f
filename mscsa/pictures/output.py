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
        names = [f"{stem}{ending}" for ending in endings]
        self._refuse_taken(names)
        self._given.update(name.casefold() for name in names)
        return tuple(self.folder / name for name in names)

    def check(self, names: Iterable[str]) -> None:
        """Look at the places of files before what they show is computed.

        Raises:
            UserError: If there is a file in the place of the folder or of one above it, and as `paths`.
        """
        there = next((each for each in (self.folder, *self.folder.parents) if os.path.lexists(each)), None)
        if there is not None and not there.is_dir():
            raise UserError(f"{there} is no folder, in which pictures could be put: give another --out")
        self._refuse_taken(names)

    def _refuse_taken(self, names: Iterable[str]) -> None:
        for path in (self.folder / name for name in names):
            if path.resolve() in self._others:
                raise UserError(
                    f"{path} is a file that this command reads or writes itself, and is not overwritten: "
                    "give another --out"
                )
            if os.path.lexists(path):
                raise UserError(
                    f"{path} is there already and is not overwritten: give another --out, or remove it"
                )
