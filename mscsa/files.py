"""Files, and folders, that appear whole or not at all, also when the power fails; the hash of a file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mscsa.errors import UserError


def write_whole(
    path: str | Path, write: Callable[[IO[bytes]], object], *, keep: str | Path | None = None
) -> None:
    """Write a file whole or not at all; folders on the way are made.

    Args:
        path: Where it goes; a file there is replaced in one step.
        write: Given an open binary file, writes the content.
        keep: What a file that is there already becomes, in the same folder. Between two renames there is then
            no file at `path`, but this one.
    Raises:
        UserError: If it cannot be written; the previous file, if any, is unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `mkstemp`: it makes a file that nobody else may read.
        with temporary.open("wb") as file:
            write(file)
        replace_durably(temporary, path, keep=keep)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; the previous file, if any, is unchanged: give "
            "a folder that can be written, with space"
        ) from error
    finally:
        with suppress(OSError):  # gone after the replacement, and the folder may be what is wrong
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file whole or not at all; folders on the way are made.

    Raises:
        UserError: If it cannot be written; the previous file, if any, is unchanged.
    """
    write_whole(path, lambda file: file.write(text.encode()))


def sha256_of(path: str | Path) -> str:
    """Hash the content of a file, which may be larger than the memory: SHA-256, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_durably(temporary: str | Path, path: str | Path, *, keep: str | Path | None = None) -> None:
    """Put a finished file in the place of `path` in one step that survives a power cut.

    All must lie in the same folder: a rename across file systems is a copy, which can be cut off.

    Args:
        keep: What a file that is there already becomes.
    """
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    if keep is not None:
        with suppress(FileNotFoundError):
            os.replace(path, keep)
    os.replace(temporary, path)
    # Windows opens no folders and some network shares sync none; the file itself is in its place by now.
    with suppress(OSError):
        folder = os.open(Path(path).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Give a new folder beside `place`, which takes its place at the end, whole or not at all.

    Raises:
        UserError: If there is something in its place, or it cannot be written.
    """
    beside = place.resolve().with_name(f".{place.resolve().name}.{os.getpid()}.tmp")
    try:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UserError(f"{place} is there already and nothing is overwritten: give another folder")
        beside.mkdir(parents=True)
        yield beside
        os.replace(beside, place)
    except OSError as error:
        raise UserError(
            f"cannot write {place}: {error.strerror or error}; give a folder that can be written, with space"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
