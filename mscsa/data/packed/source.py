"""What packed images are read from, whatever the format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class PackedSource(Protocol):
    """Images that are packed into files; each can be read by itself, in any order, by any process."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold them."""

    @property
    def labels(self) -> list[str]:
        """Name of the class of each image, in the order of the files."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """All classes in the order of their labels, where the files say it."""

    def describe(self, index: int) -> str:
        """Say where an image is, for messages."""

    def content(self, index: int) -> bytes:
        """Read the file that an image was.

        Raises:
            UserError: If it cannot be read.
        """
