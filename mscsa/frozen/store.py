"""A folder of maps: what a frozen backbone says about each image, in half precision, mapped into memory.

A record is one image in one variant (scale, mirrored or not): its maps at all levels, and for segmentation
the label of each pixel. `maps.bin` and `labels.bin` hold the records one after the other, `index.npz` where
each begins and how large it is.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mscsa.errors import UserError

MAPS, LABELS, INDEX = "maps.bin", "labels.bin", "index.npz"


class MapStore:
    """The records of one folder.

    It is opened by whoever needs it: a process that it is sent to opens the files again.
    """

    def __init__(self, folder: Path) -> None:
        """Open what `write_store` wrote.

        Raises:
            UserError: If a file is missing or damaged.
        """
        self.folder = folder
        try:
            with np.load(folder / INDEX) as index:
                self._starts: NDArray[np.int64] = index["starts"]
                self._shapes: NDArray[np.int64] = index["shapes"]
                self._label_starts: NDArray[np.int64] = index["label_starts"]
                self._label_shapes: NDArray[np.int64] = index["label_shapes"]
                self.sizes: list[tuple[int, int]] = [(int(h), int(w)) for h, w in index["sizes"]]
                """(H, W) in px of each record's image."""
            count = int(self._shapes.prod(axis=2).sum())
            self._maps = np.memmap(folder / MAPS, np.float16, mode="r", shape=(count,))
            num_labels = int(self._label_shapes.prod(axis=1).sum())
            self._labels: NDArray[np.uint8] = (
                np.memmap(folder / LABELS, np.uint8, mode="r", shape=(num_labels,))
                if num_labels  # an empty file cannot be mapped
                else np.zeros(0, np.uint8)
            )
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{folder} holds no maps that can be read ({error}): delete it, and they are computed again"
            ) from error

    def __reduce__(self) -> tuple[type[MapStore], tuple[Path]]:
        return MapStore, (self.folder,)

    def __len__(self) -> int:
        return len(self._starts)

    def map_of(self, record: int, level: int) -> NDArray[np.float16]:
        """Give one level's map of a record, (C, H_i, W_i)."""
        start, shape = self._starts[record, level], self._shapes[record, level]
        return self._maps[start : start + shape.prod()].reshape(shape)

    def labels_of(self, record: int) -> NDArray[np.uint8]:
        """Give the class of each pixel of a record, (H, W); (0, 0) where none were kept."""
        start, shape = self._label_starts[record], self._label_shapes[record]
        return self._labels[start : start + shape.prod()].reshape(shape)


def write_store(
    folder: Path,
    samples: Iterable[tuple[Tensor, Tensor]],
    read: Callable[[Tensor], Sequence[Tensor]],
) -> None:
    """Compute and write the records of `samples`, in their order, into an empty folder.

    Args:
        folder: Where the files go.
        samples: Images (3, H, W) as the backbone takes them, and labels (H, W), which may be empty.
        read: From an image (1, 3, H, W) to the maps of all levels.
    Raises:
        UserError: If a map does not fit half precision, or the disk is full.
    """
    sizes, starts, shapes, label_starts, label_shapes = [], [], [], [], []
    at = labels_at = 0
    try:
        with (folder / MAPS).open("wb") as maps_file, (folder / LABELS).open("wb") as labels_file:
            for pixels, labels in samples:
                sizes.append(tuple(pixels.shape[-2:]))
                maps = [_half(x[0]) for x in read(pixels[None])]
                shapes.append([x.shape for x in maps])
                starts.append([at + sum(x.size for x in maps[:i]) for i in range(len(maps))])
                at += sum(x.size for x in maps)
                maps_file.write(b"".join(x.tobytes() for x in maps))
                label_starts.append(labels_at)
                label_shapes.append(labels.shape)
                labels_at += labels.numel()
                labels_file.write(labels.to(torch.uint8).numpy().tobytes())
        np.savez(
            folder / INDEX,
            sizes=np.array(sizes, np.int64),
            starts=np.array(starts, np.int64),
            shapes=np.array(shapes, np.int64),
            label_starts=np.array(label_starts, np.int64),
            label_shapes=np.array(label_shapes, np.int64),
        )
    except OSError as error:
        raise UserError(f"cannot write the backbone's maps to {folder}: {error.strerror or error}") from error


def _half(x_CHW: Tensor) -> NDArray[np.float16]:
    half = x_CHW.half()
    if not bool(half.isfinite().all()):
        raise UserError(
            "the backbone's maps do not fit half precision (largest value "
            f"{x_CHW.abs().max().item():.3g}): train it without freezing it (--model.frozen false)"
        )
    return half.contiguous().cpu().numpy()
