"""The image files that a command is to look at: named one by one, by their folders, or by a pattern."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterable
from pathlib import Path

from mscsa.data.problems import some_of
from mscsa.data.videos import is_video
from mscsa.data.walking import files_within
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS, is_image

logger = logging.getLogger(__name__)


def image_files(given: Iterable[str]) -> list[str]:
    """List image files and videos, each once, where it comes first.

    Args:
        given: Files, which are taken whatever they are; folders, of which all images are taken, those of
            folders in them too, in the order of their names; patterns such as `shots/**/*.png`, likewise,
            and the videos that are like them.
    Raises:
        UserError: If a folder or a pattern has no image.
    """
    return list(dict.fromkeys(file for each in given for file in _files(each)))


def _files(given: str) -> list[str]:
    if Path(given).is_dir():
        return _images_in(given)
    if Path(given).exists() or not glob.has_magic(given):
        return [given]
    matches = sorted(glob.glob(given, recursive=True))
    files = [match for match in matches if not Path(match).is_dir() and (is_image(match) or is_video(match))]
    if not files:
        raise UserError(f"{given}: no image is like it; check the pattern ({', '.join(EXTENSIONS)} are read)")
    return files


def _images_in(folder: str) -> list[str]:
    entries = list(files_within(Path(folder)))
    files = sorted(entry.path for entry in entries if is_image(entry.name))
    if videos := sorted(entry.path for entry in entries if is_video(entry.name)):
        logger.warning("%s: left out are the videos %s; name them, or a pattern", folder, some_of(videos, 3))
    if not files:
        raise UserError(f"{folder} has no image ({', '.join(EXTENSIONS)}); give another folder, or files")
    return files
