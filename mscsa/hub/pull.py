"""Fetching a published model: every file compared with its hash before it appears."""

from __future__ import annotations

import shutil
from pathlib import Path

from mscsa.assembly.weights_file import WeightsInfo, read_info
from mscsa.errors import UserError
from mscsa.files import whole_folder
from mscsa.hub.manifest import CARD, MANIFEST, WEIGHTS, check_file, listed_files
from mscsa.hub.places import HUB, parse_place
from mscsa.hub.remote import download


def pull(place: str, out: str | Path) -> WeightsInfo:
    """Fetch a published model into a new folder, which `mscsa eval`, `predict` and timm take.

    Args:
        place: A folder that `push` wrote, or `hf-hub:OWNER/NAME[@REVISION]`.
        out: The new folder; it appears whole or not at all.
    Returns:
        What the model is.
    Raises:
        UserError: If there is no such model, a file of it is partial, damaged or another, `out` is not empty,
            or the hub cannot be reached or refuses.
    """
    source = parse_place(place)
    if isinstance(source, Path) and not source.is_dir():
        raise UserError(
            f"there is no folder {place}: give one that `mscsa push` wrote, or {HUB}OWNER/NAME for a "
            "repository of the hub"
        )
    with whole_folder(Path(out)) as folder:
        if not isinstance(source, Path):
            source = download(source)
        listed = listed_files(source, place)
        for name in (*listed, MANIFEST, CARD):
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        for name, expected in listed.items():  # of the copies: what is used is what was compared
            check_file(folder / name, expected, place)
        return read_info(folder / WEIGHTS)
