"""Where the packed images of a split lie: tar shards, Parquet files, or what `datasets` saved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mscsa.data.class_folders.layouts import quoted
from mscsa.data.contract import SPLITS, Split
from mscsa.data.division import SPLIT_NAMES, of_split, tell_division
from mscsa.data.foreign import class_folders
from mscsa.data.packed.shards import read_shards
from mscsa.data.packed.source import PackedSource
from mscsa.data.packed.tables import read_parquet, read_saved
from mscsa.data.places import in_any_case
from mscsa.data.texts import read_text
from mscsa.errors import UserError

_ENDINGS = {".tar": "tar shards", ".parquet": "Parquet files"}
_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
_VAL_ALSO = ("dev", "eval")
_SAVED = "state.json"


@dataclass(frozen=True, eq=False)
class PackedSplit:
    """One split of packed images."""

    split: Split
    place: Path
    """What messages name."""
    form: str
    """What they are packed in, for people."""
    source: PackedSource
    chosen: NDArray[np.int64]
    """Which images of the source are of the split, (N,)."""
    class_names: list[str]
    """In the order of their labels; of both splits."""


def packed_form(root: str | Path) -> str | None:
    """Say what the images of a folder are packed in; None if they are not."""
    found = _sets(Path(root))
    return None if found is None else found[0]


def find_packed(root: str | Path, split: Split) -> PackedSplit | None:
    """Find the packed images of a split: ROOT/train/*.tar, ROOT/NAME-train-0000.tar, ROOT/*.parquet, ...

    The split is told by the folder or by a word of the file's name; where nothing tells it, a fifth of the
    images is val, by a hash of their names. Folders of classes, or a table of them, come before.

    Raises:
        UserError: If a file is unreadable, an image has no class, or one split is missing.
    """
    root = Path(root)
    found = _sets(root)
    if found is None:
        return None
    form, sets = found
    if not any(sets[each] for each in SPLITS):
        source = _read(form, sets[None], root)
        tell_division(root, "images")
        names = [source.describe(i).rpartition(":")[2] for i in range(len(source.labels))]
        own = of_split(names, split)
        chosen = np.flatnonzero([name in own for name in names])
        return PackedSplit(split, root, form, source, chosen, _class_names([source], root))
    if missing := [each for each in SPLITS if not sets[each]]:
        raise UserError(
            f"{root}: no {form} of {missing[0]}; put them into {missing[0]}/, or that word into their names"
        )
    sources = {each: _read(form, sets[each], root) for each in SPLITS}
    chosen = np.arange(len(sources[split].labels))
    return PackedSplit(split, root, form, sources[split], chosen, _class_names(list(sources.values()), root))


def _sets(root: Path) -> tuple[str, dict[Split | None, tuple[Path, ...]]] | None:
    """List the packed files of each split, and those of none; None if there are none, or class folders."""
    if not root.is_dir():
        return None
    saved = {path.parent for path in [root / _SAVED, *root.glob(f"*/{_SAVED}")] if path.is_file()}
    files = list(saved) or [path for path in _files(root) if path.suffix.lower() in _ENDINGS]
    compressed = [path for path in _files(root) if path.name.lower().endswith(_COMPRESSED)]
    if not (files or compressed) or class_folders(root) is not None:
        return None
    if not files:
        if not all(_split_of(path, root) for path in compressed):  # an archive that lies there
            return None
        raise UserError(
            f"{compressed[0]} is compressed, so that single images cannot be read: unpack the shards to "
            "plain .tar"
        )
    kinds = {path.suffix.lower() for path in files}
    if len(kinds) > 1:
        raise UserError(f"{root} holds {' and '.join(sorted(_ENDINGS.values()))}: keep one of them")
    form = "Arrow files" if saved else _ENDINGS[kinds.pop()]
    sets: dict[Split | None, list[Path]] = {None: [], **{split: [] for split in SPLITS}}
    for path in files:
        if (side := _split_of(path, root)) != "test":
            sets[side].append(path)  # type: ignore[index]  # a split, or none
    return form, {side: tuple(sorted(paths)) for side, paths in sets.items()}


def _files(root: Path) -> Iterator[Path]:
    """List the files where packed images are: in the folder, in data/, and in those of splits."""
    bases = [root, *in_any_case(root, ["data", "default"])]
    names = [*(name for each in SPLIT_NAMES.values() for name in each), "test"]
    for place in [*bases, *(place for base in bases for place in in_any_case(base, names))]:
        if place.is_dir():
            yield from (path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))


def _split_of(path: Path, root: Path) -> str | None:
    """Tell the split of a file by its folder, or by a word of its name: a split, `test`, or None."""
    relative = path.relative_to(root)
    words = {*relative.parent.as_posix().lower().split("/"), *re.split(r"[^a-z0-9]+", relative.name.lower())}
    for split, names in SPLIT_NAMES.items():
        if words & {*names, *(_VAL_ALSO if split == "val" else ())}:
            return split
    return "test" if "test" in words else None


def _read(form: str, files: Sequence[Path], root: Path) -> PackedSource:
    changed = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _read_once(form, tuple(files), root, changed)


@lru_cache(maxsize=4)
def _read_once(form: str, files: tuple[Path, ...], root: Path, _changed: object) -> PackedSource:
    if form == "Arrow files":
        return read_saved(files[0])
    if form == "Parquet files":
        return read_parquet(files, files[0].parent)
    names = root / "classes.txt"
    if not names.is_file():
        return read_shards(files)
    return read_shards(files, [line.strip() for line in read_text(names).splitlines() if line.strip()])


def _class_names(sources: Sequence[PackedSource], root: Path) -> list[str]:
    """Name the classes of both splits: as the files order them, else sorted; numbers by their value."""
    told = [source.class_names for source in sources if source.class_names is not None]
    if told:
        if other := set(told[0]) ^ set(told[-1]):
            raise UserError(f"{root}: train and val name other classes ({quoted(other)}); make them the same")
        return list(told[0])
    names = {label for source in sources for label in source.labels}
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
