"""Pictures of video files, one after the other: never more than one of them is in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mscsa.data.images import load_image
from mscsa.errors import UserError, needs_extra

logger = logging.getLogger(__name__)

VIDEO_EXTENSIONS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"),
)
"""Lower-case endings of the files that are taken for videos."""

_MISSING_S, _MISSING_SHARE = 1.0, 0.1
# A video may end this much before its sound, or what its header says, and be whole.


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    video: str
    """Path of the video."""
    number: int
    """From 0."""
    time_s: float
    """When it is shown, in seconds from the first."""
    image: Image.Image
    """RGB, upright."""

    def __str__(self) -> str:
        """Name it, for messages."""
        return f"{self.video}: frame {self.number}"


def picture_of(source: str | Path | Frame) -> Image.Image:
    """Give the picture of a frame, or of an image file.

    Raises:
        UserError: If the file is no readable image.
    """
    return source.image if isinstance(source, Frame) else load_image(source)


def is_video(path: str | Path) -> bool:
    """Say whether a file is a video, by its name."""
    return Path(path).suffix.lower() in VIDEO_EXTENSIONS


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Read the pictures of a video in the order in which they are shown.

    Raises:
        UserError: If PyAV is missing, the file is unreadable or no video; or, after what can be read, if it
            is damaged or cut off.
    """
    library = _av()
    try:
        container = library.open(str(path))
    except (library.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error
    with container:
        if not container.streams.video:
            raise UserError(f"{path} has no pictures: give a video")
        yield from _decoded(path, container, library)


def _decoded(path: str | Path, container: Any, library: Any) -> Iterator[Frame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    frames = container.decode(stream)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    number, first, last, damaged = 0, 0.0, 0.0, []
    while True:
        try:
            frame = next(frames, None)
        except (library.error.FFmpegError, OSError) as error:
            raise UserError(
                f"{path} is damaged after {number} frames ({_reason(error)}): restore it"
            ) from error
        if frame is None:
            break
        now = number / rate if frame.time is None else float(frame.time)
        first = now if number == 0 else first
        last = now - first
        if frame.is_corrupt:
            damaged.append(number)
        image = frame.to_image()
        if frame.rotation:
            image = image.rotate(frame.rotation, expand=True)
        yield Frame(str(path), number, last, image)
        number += 1
    _check_whole(path, number, last + 1 / rate, _length(stream, container), damaged)


def _length(stream: Any, container: Any) -> float:
    """Give how long a video is by its header, in seconds; 0 where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6


def _check_whole(path: str | Path, count: int, end: float, length: float, damaged: list[int]) -> None:
    if not count:
        raise UserError(f"{path} has no picture that can be read: restore it")
    if length - end > max(_MISSING_S, _MISSING_SHARE * length):
        raise UserError(
            f"{path} is cut off: {count} frames of {end:.1f} s could be read, by its header it has "
            f"{length:.1f} s; restore it"
        )
    if damaged:
        raise UserError(
            f"{path}: {len(damaged)} of {count} frames are damaged, the first is number {damaged[0]}; what "
            "is found in them may be wrong: restore it"
        )


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise needs_extra("videos are read by PyAV, which is not installed", "video") from error
    av.logging.set_level(None)  # what it would say on stderr is said in one line
    return av


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0].lower()


def _unreadable(path: str | Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return UserError(f"{path}: {_reason(error)}; check the path and its permissions")
    return UserError(f"{path} is no video that can be read, or is cut off ({_reason(error)}): restore it")
