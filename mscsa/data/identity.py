"""What a data set is, in a few characters: a hash of the names and sizes of its files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mscsa.data.contract import TaskDataset
from mscsa.errors import UserError
from mscsa.files import sha256_of


def hash_of_files(dataset: TaskDataset, root: str | Path | None) -> str:
    """Hash names, below `root`, and sizes of a data set's files in their order; of annotations the content.

    Rendered images have no files: their descriptions are hashed; those of packed images, and their files.

    Raises:
        UserError: If a file is gone.
    """
    found = hashlib.sha256()
    files = getattr(dataset, "files", None)
    base = "" if root is None else os.path.join(os.fspath(root), "")
    for index in range(len(dataset)):
        paths = files(index) if files else ()
        if not paths:
            line = f"{dataset.describe(index).removeprefix(base)}\n"
            found.update(line.encode("utf-8", "surrogateescape"))
        for path in paths:
            found.update(_file_line(path, base))
    for path in getattr(dataset, "containers", ()):
        found.update(_file_line(path, base))
    for path in getattr(dataset, "annotation_files", ()):
        found.update(bytes.fromhex(sha256_of(path)))
    return found.hexdigest()[:16]


def _file_line(path: str | Path, base: str) -> bytes:
    """Write the name of a file within the set, and its size, as they are hashed."""
    line = f"{os.fspath(path).removeprefix(base)}\t{_size(path)}\n"
    return line.encode("utf-8", "surrogateescape")


def _size(path: str | Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # a dangling link: reading it fails by name, if it is read
        return -1
    except OSError as error:
        raise UserError(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; check its permissions"
        ) from error
