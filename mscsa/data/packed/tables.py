"""Images in the rows of a table: Parquet, and the folders that Hugging Face `datasets` saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscsa.data.problems import some_of
from mscsa.errors import UserError, needs_extra

_LABELS = (
    "label",
    "class_name",
    "label_name",
    "category_name",
    "class",
    "category",
    "labels",
    "target",
    "cls",
)
_IMAGES = ("image", "img", "jpg", "jpeg", "png", "picture", "photo")


@dataclass(frozen=True, eq=False)
class TableImages:
    """Images of a `datasets.Dataset`, which reads any row from the disk when it is asked for."""

    files: tuple[Path, ...]
    labels: list[str]
    class_names: tuple[str, ...] | None
    place: Path
    rows: Any
    """The table's column of images, not decoded."""
    column: str

    def describe(self, index: int) -> str:
        """Name the place and the row."""
        return f"{self.place}:row {index}"

    def content(self, index: int) -> bytes:
        """Read the file that an image was.

        Raises:
            UserError: If the row holds none, or names a file that is not there.
        """
        cell = self.rows[index][self.column] or {}
        if cell.get("bytes"):
            return bytes(cell["bytes"])
        if not cell.get("path"):
            raise UserError(f"{self.describe(index)} holds no image; remove the row")
        try:
            return Path(cell["path"]).read_bytes()
        except OSError as error:
            raise UserError(
                f"{self.describe(index)} names {cell['path']}: {(error.strerror or 'unreadable').lower()}; "
                "write the images into the table (embed_external_files)"
            ) from error


def read_parquet(files: Sequence[Path], place: Path) -> TableImages:
    """Open Parquet files; `datasets` keeps a copy in its cache ($HF_DATASETS_CACHE) that it reads rows from.

    Raises:
        UserError: If `datasets` is missing, a file is unreadable, or images or classes are not found.
    """
    ordered = tuple(sorted(files))
    library = _datasets()
    try:
        rows = library.load_dataset("parquet", data_files=[str(path) for path in ordered], split="train")
    except Exception as error:  # the library's, of any kind, mostly of several lines
        raise _unreadable(place, error) from error
    return _table(rows, ordered, place)


def read_saved(folder: Path) -> TableImages:
    """Open a folder that `Dataset.save_to_disk` wrote, where it lies.

    Raises:
        UserError: As `read_parquet`.
    """
    library = _datasets()
    try:
        rows = library.load_from_disk(str(folder))
    except Exception as error:
        raise _unreadable(folder, error) from error
    return _table(rows, tuple(sorted(folder.glob("*.arrow"))), folder)


def _datasets() -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        what = "Parquet and Arrow files are read by `datasets`, which is not installed"
        raise needs_extra(what, "shards") from error
    datasets.disable_progress_bars()
    return datasets


def _table(rows: Any, files: tuple[Path, ...], place: Path) -> TableImages:
    features = rows.features
    image = _image_column(features, place)
    label = _label_column(features, place)
    names = getattr(features[label], "names", None)
    values = rows.with_format(None)[label][:]
    labels = [_class_of(value, names) for value in values]
    if (row := next((i for i, each in enumerate(labels) if not each), None)) is not None:
        raise UserError(f"{place}: row {row} has no class in {label} ({values[row]!r}): remove such rows")
    kept = rows.select_columns([image]).cast_column(image, _datasets().Image(decode=False))
    return TableImages(
        files=files,
        labels=labels,
        class_names=None if names is None else tuple(names),
        place=place,
        rows=kept,
        column=image,
    )


def _image_column(features: Any, place: Path) -> str:
    images = [name for name, kind in features.items() if type(kind).__name__ == "Image"]
    named = [name for name in _IMAGES if name in features]
    if not images and not named:
        raise UserError(
            f"{place} has no column of images (columns: {some_of(list(features))}): name it image"
        )
    return next((name for name in named if name in images), (images or named)[0])


def _label_column(features: Any, place: Path) -> str:
    classes = [name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    named = [name for name in _LABELS if name in features]
    if named:
        return next((name for name in named if name in classes), named[0])
    if len(classes) != 1:
        which = f"several, {some_of(classes)}" if classes else "none"
        raise UserError(
            f"{place} needs one column of classes, label, and has {which} (columns: "
            f"{some_of(list(features))}): rename it"
        )
    return classes[0]


def _class_of(value: Any, names: Sequence[str] | None) -> str:
    """Name a class; nothing where a row has none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    if names is None or isinstance(value, str):
        return str(value).strip()
    return names[value] if 0 <= value < len(names) else ""


def _unreadable(place: Path, error: Exception) -> UserError:
    cause = error.__cause__ or error
    reason = " ".join(str(cause).split())[:200] or type(cause).__name__
    return UserError(f"{place} cannot be read ({reason}); restore it")
