"""The list of a published model's files with their hashes, by which a wrong or partial one is refused.

It guards against what happens on the way; whoever can write into the folder can write another list, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mscsa.errors import UserError
from mscsa.files import sha256_of, write_text

MANIFEST = "manifest.json"

WEIGHTS = "model.safetensors"
"""timm's name of the weights in a repository."""

TIMM_CONFIG = "config.json"
"""What timm builds a classifier from."""

CARD = "README.md"
"""The card is not in the list: people go on writing it."""

_LISTED = (WEIGHTS, TIMM_CONFIG)
_FORMAT = 1


def write_manifest(folder: Path) -> None:
    """List the files of a folder that is to be published."""
    files = {}
    for path in (folder / name for name in _LISTED):
        if path.exists():
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    write_text(folder / MANIFEST, json.dumps({"format": _FORMAT, "files": files}, indent=2) + "\n")


def listed_files(folder: Path, place: object) -> dict[str, Mapping[str, Any]]:
    """Read which files a published model has: name -> `bytes` and `sha256`.

    Args:
        place: What to call the folder in messages.
    Raises:
        UserError: If there is no such list, or it is not one that this version writes.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        files = dict(content["files"])
        is_known = content["format"] == _FORMAT and WEIGHTS in files and not files.keys() - {*_LISTED}
        is_known &= all(isinstance(each["sha256"], str) and each["bytes"] >= 0 for each in files.values())
    except FileNotFoundError as error:
        raise UserError(
            f"{place} has no {MANIFEST}: it is no model that `mscsa push` wrote, or not all of it is there"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place}: {MANIFEST} cannot be read: it is damaged, fetch it again") from error
    if not is_known:
        raise UserError(f"{place}: {MANIFEST} is of a later version of mscsa, or not of mscsa: upgrade")
    return files


def check_file(path: Path, listed: Mapping[str, Any], place: object) -> None:
    """Compare a file with the list.

    Raises:
        UserError: If it is not there, partial, or another.
    """
    if not path.is_file():
        raise UserError(f"{place} lacks {path.name}, which its {MANIFEST} lists: fetch it again")
    size = path.stat().st_size
    if size != listed["bytes"]:
        what = "partial" if size < listed["bytes"] else "another file"
        raise UserError(
            f"{place}: {path.name} is {what}, {size} bytes in place of {listed['bytes']}: fetch it again"
        )
    if sha256_of(path) != listed["sha256"]:
        raise UserError(
            f"{place}: {path.name} is damaged or another file, its SHA-256 is not that of {MANIFEST}: fetch "
            "it again"
        )
