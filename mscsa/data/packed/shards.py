"""Tar shards as WebDataset writes them: NAME.jpg and NAME.cls, or NAME.json, side by side.

Of each image the shards' headers say in which bytes it lies, so that it is read by itself. What is read when,
by which process and after which resume is then what it is of image folders; nothing is streamed.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.data.problems import short
from mscsa.errors import UserError
from mscsa.progress import tracked
from mscsa_runtime.images import EXTENSIONS

_BLOCK = 512
_CLASS = ("cls", "label", "class")
_NAMES = ("class_name", "label_name", "category_name")
_LABELS = ("label", "cls", "class", "category", "target", "class_id", "label_id")
_TEXT = ("txt", "text")


@dataclass(frozen=True)
class _Sample:
    """An image of a shard, and what the shard says of its class."""

    name: str
    offset: int
    size: int
    label: str


@dataclass(frozen=True, eq=False)
class Shards:
    """Images of tar files, by the bytes in which they lie."""

    files: tuple[Path, ...]
    """The shards, sorted by name."""
    labels: list[str]
    """Name of the class of each image."""
    names: list[str]
    """Name of each image in its shard."""
    shards: NDArray[np.int32]
    """Place in `files` of each image's shard, (N,)."""
    offsets: NDArray[np.int64]
    """First byte of each image in its shard, (N,)."""
    sizes: NDArray[np.int64]
    """Bytes of each image, (N,)."""
    class_names: tuple[str, ...] | None = None

    def describe(self, index: int) -> str:
        """Name the shard and the image in it."""
        return f"{self.files[self.shards[index]]}:{self.names[index]}"

    def content(self, index: int) -> bytes:
        """Read the bytes of an image.

        Raises:
            UserError: If the shard cannot be read, or is shorter than it was.
        """
        path, size = self.files[self.shards[index]], int(self.sizes[index])
        try:
            with path.open("rb") as file:
                file.seek(int(self.offsets[index]))
                content = file.read(size)
        except OSError as error:
            raise _unreadable(path, error) from error
        if len(content) < size:
            raise UserError(f"{self.describe(index)}: the shard ends before it; restore {path}")
        return content


def read_shards(files: Sequence[Path], class_names: Sequence[str] | None = None) -> Shards:
    """Index tar files.

    Args:
        files: The shards.
        class_names: What the numbers stand for that the shards give for classes.
    Raises:
        UserError: If one is unreadable, damaged or compressed, or has an image without a class.
    """
    ordered = tuple(sorted(files))
    samples = [
        (i, each)
        for i, path in tracked(enumerate(ordered), "shards", len(ordered))
        for each in _samples(path)
    ]
    if not samples:
        raise UserError(
            f"{ordered[0].parent}: no image in {len(ordered)} tar files; they are expected as NAME.jpg with "
            "NAME.cls or NAME.json, as WebDataset writes them"
        )
    labels = [each.label for _, each in samples]
    return Shards(
        files=ordered,
        labels=labels if class_names is None else _named(labels, class_names, ordered[0].parent),
        names=[each.name for _, each in samples],
        shards=np.array([i for i, _ in samples], np.int32),
        offsets=np.array([each.offset for _, each in samples], np.int64),
        sizes=np.array([each.size for _, each in samples], np.int64),
        class_names=None if class_names is None else tuple(class_names),
    )


def _samples(path: Path) -> Iterator[_Sample]:
    """List the images of a shard with their classes."""
    try:
        with tarfile.open(path, "r:") as archive:
            for fields in _grouped(path, archive):
                yield from _sample(path, archive, fields)
    except tarfile.ReadError as error:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty; restore it, or remove it") from error
        raise UserError(
            f"{path} is damaged, or compressed ({' '.join(str(error).split())}): give plain tar files, in "
            "which single images can be read"
        ) from error
    except (tarfile.TarError, OSError) as error:
        raise _unreadable(path, error) from error


def _grouped(path: Path, archive: tarfile.TarFile) -> Iterator[dict[str, tarfile.TarInfo]]:
    """Put together the files of each sample, by their fields; they lie side by side."""
    fields: dict[str, tarfile.TarInfo] = {}
    key: str | None = None
    for member in archive:
        if not member.isfile() or _is_hidden(member.name):
            continue
        base, field = _key_and_field(member.name)
        if base != key:
            yield fields
            key, fields = base, {}
        if field in fields:
            raise UserError(f"{path}: {member.name} is there twice; write the shard again")
        fields[field] = member
    _check_end(path, archive.offset)
    yield fields


def _check_end(path: Path, end: int) -> None:
    """See that a shard ends where its last header says: beyond a damaged one `tarfile` looks for nothing."""
    size = path.stat().st_size
    if end > size:
        raise UserError(f"{path} is cut off: it has {size} bytes, its headers speak of {end}; restore it")
    with path.open("rb") as file:
        file.seek(max(0, end))
        if file.read(_BLOCK).strip(b"\0"):
            raise UserError(f"{path} is damaged from byte {end} on, where no header is; restore it")


def _sample(path: Path, archive: tarfile.TarFile, fields: dict[str, tarfile.TarInfo]) -> Iterator[_Sample]:
    images = [field for field in fields if f".{_ending(field)}" in EXTENSIONS]
    if not images:
        return
    if len(images) > 1:
        names = " and ".join(fields[field].name for field in images[:2])
        raise UserError(f"{path}: {names} are one sample of two images; give each a name of its own")
    member = fields[images[0]]
    label = _label(path, {field: _content(archive, each) for field, each in _descriptions(fields)})
    if not label:
        raise UserError(
            f"{path}: {member.name} has no class: add {_key_and_field(member.name)[0]}.cls, or a .json with "
            "label beside it"
        )
    yield _Sample(member.name, member.offset_data, member.size, label)


def _descriptions(fields: dict[str, tarfile.TarInfo]) -> Iterator[tuple[str, tarfile.TarInfo]]:
    known = (*_CLASS, *_TEXT, "json")
    return ((_ending(field), each) for field, each in fields.items() if _ending(field) in known)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _label(path: Path, fields: dict[str, bytes]) -> str:
    """Read the class of a sample: a name before a number, and a text of its own last."""
    entry: Any = {}
    if "json" in fields:
        try:
            entry = json.loads(fields["json"])
        except ValueError as error:
            raise UserError(f"{path}: {short(fields['json'])} is not JSON; correct it") from error
    if not isinstance(entry, dict):
        entry = {"label": entry}
    texts = [fields[name].decode(errors="replace") for name in _CLASS if name in fields]
    found = [entry.get(name) for name in _NAMES] + texts + [entry.get(name) for name in _LABELS]
    found += [fields[name].decode(errors="replace") for name in _TEXT if name in fields]
    label = next((each for each in found if isinstance(each, str | int) and str(each).strip()), "")
    return str(label).strip()


def _named(labels: Sequence[str], class_names: Sequence[str], place: Path) -> list[str]:
    """Put names for numbers."""
    known = {str(i): name for i, name in enumerate(class_names)} | {name: name for name in class_names}
    unknown = next((label for label in labels if label not in known), None)
    if unknown is not None:
        raise UserError(
            f"{place}: a class {short(unknown)}, but classes.txt names {len(class_names)}, 0 to "
            f"{len(class_names) - 1}: correct it"
        )
    return [known[label] for label in labels]


def _key_and_field(name: str) -> tuple[str, str]:
    """Divide a name where its first dot is, as WebDataset does: a/b.left.png -> a/b, left.png."""
    folder, _, base = name.rpartition("/")
    stem, _, field = base.partition(".")
    return f"{folder}/{stem}" if folder else stem, field.lower()


def _ending(field: str) -> str:
    return field.rpartition(".")[2]


def _is_hidden(name: str) -> bool:
    return bool(re.search(r"(^|/)(\.(?!/)|__)", name))


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error) or "cannot be read"
    return UserError(f"{path}: {reason.lower()}; check the path and its permissions")
