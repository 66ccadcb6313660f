"""Small sets of packed images: the images of a folder, as WebDataset and Hugging Face write them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import webdataset

from mscsa.data.contract import SPLITS

CLASSES = ("ant", "bee", "cat")


def images_of(folder: Path, split: str) -> list[tuple[str, bytes, int]]:
    """List name, content and label of the images of an image folder, class by class."""
    return [
        (f"{split}_{name}_{path.stem}", path.read_bytes(), label)
        for label, name in enumerate(CLASSES)
        for path in sorted((folder / split / name).iterdir())
    ]


def write_shards(folder: Path, root: Path, pattern: str = "{split}/{split}-%02d.tar") -> Path:
    """Write shards of five images by WebDataset's own writer, numbers for classes and their names apart."""
    for split in SPLITS:
        path = root / pattern.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        with webdataset.ShardWriter(str(path), maxcount=5, verbose=0) as writer:
            for name, content, label in images_of(folder, split):
                writer.write({"__key__": name, "png": content, "cls": label})
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """Write a tar of files with these names and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def table_of(folder: Path, split: str) -> Any:
    """Make a table as `datasets` does of an image folder."""
    rows = images_of(folder, split)
    label = datasets.ClassLabel(names=list(CLASSES))
    features = datasets.Features({"image": datasets.Image(), "label": label})
    columns = {
        "image": [{"bytes": content, "path": None} for _, content, _ in rows],
        "label": [each for *_, each in rows],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def json_of(**entries: Any) -> bytes:
    """Write a JSON object."""
    return json.dumps(entries).encode()


def png(seed: int) -> bytes:
    """Make a small image."""
    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
