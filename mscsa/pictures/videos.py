"""What a model says about a video: drawn on its frames, and as a line of JSON for each frame."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from mscsa.data.videos import Frame
from mscsa.errors import UserError
from mscsa.evaluation.classify import Prediction
from mscsa.evaluation.detect import DetectedObjects
from mscsa.evaluation.segment import Segmentation
from mscsa.pictures.detections import detected_objects, draw_objects
from mscsa.pictures.figure import cannot_write
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.segmentations import blended, class_shares, write_label_map

_CODECS = ("libx264", "mpeg4")
_TICKS = 90_000
"""Parts of a second that times of frames are written in, as is usual."""


@dataclass(frozen=True, kw_only=True)
class WrittenVideo:
    """What was written for one video."""

    path: str
    video: str = ""
    """The frames with what was found drawn on them; of classifiers there is none."""
    lines: str = ""
    """A line of JSON for each frame."""
    frames: int = 0
    """How many could be read."""
    classes: tuple[tuple[str, int], ...] = ()
    """Name of each class and in how many frames it is, the most frequent first."""
    error: str | None = None
    """What is wrong with the file, in one line."""


@dataclass(frozen=True)
class Drawn:
    """What is made of one frame."""

    entry: dict[str, Any]
    """For its line of JSON."""
    classes: tuple[str, ...]
    """Those that are in it."""
    picture: Image.Image | None = None


Draw = Callable[[Any, int, Path], Drawn]
"""From what a model says of a frame, its number, and a folder for files of frames to what is written."""


def drawing_of(task: str, threshold: float) -> Draw:
    """Give what is made of a frame of a task; of detectors the objects above a score are drawn.

    Raises:
        UserError: If the score is not in 0..1.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold={threshold} given: give a score in 0..1")
    if task == "classification":
        return _classes
    return _classes_of_pixels if task == "segmentation" else partial(_objects, threshold=threshold)


def _classes(answer: Prediction, number: int, singles: Path) -> Drawn:
    shares = dict(answer.classes)
    return Drawn({"classes": shares}, tuple(shares)[:1])


def _classes_of_pixels(answer: Segmentation, number: int, singles: Path) -> Drawn:
    assert answer.labels is not None and answer.image is not None, "frames are images already"
    label_map = singles / f"{number:06d}.png"
    write_label_map(label_map, answer.labels)
    shares = dict(class_shares(answer.labels, answer.class_names))
    entry = {"label_map": str(label_map), "classes": shares}
    return Drawn(entry, tuple(shares), blended(answer.image, answer.labels))


def _objects(answer: DetectedObjects, number: int, singles: Path, threshold: float) -> Drawn:
    assert answer.detections is not None and answer.image is not None, "frames are images already"
    objects = detected_objects(answer, answer.detections, number)
    names = {each["class"]: None for each in objects if each["score"] >= threshold}
    picture = draw_objects(answer.image, answer.detections, answer.class_names, threshold)
    return Drawn({"objects": objects}, tuple(names), picture)


def write_video(
    path: str,
    frames: Iterable[Frame],
    ask: Callable[[Iterable[Frame]], Iterator[Any]],
    draw: Draw,
    folder: OutputFolder,
) -> WrittenVideo:
    """Write FOLDER/NAME.jsonl, and FOLDER/NAME.mp4 where something is drawn, frame by frame.

    What can be read of a damaged video is written, and its error kept.

    Args:
        path: The video.
        frames: Of it.
        ask: From frames to what the model says of each, in their order.
        draw: What is made of that.
        folder: For the files.
    Raises:
        UserError: If the folder cannot be written, or a file would overwrite another.
    """
    lines, video, singles = folder.paths(path, ".jsonl", ".mp4", "_frames")
    clip = _Clip(frames)
    counts: Counter[str] = Counter()
    number = 0
    try:
        folder.folder.mkdir(parents=True, exist_ok=True)
        with lines.open("w", encoding="utf-8") as file, VideoFile(video) as film:
            for frame, answer in clip.answered(ask):
                drawn = draw(answer, number, singles)
                entry = {"frame": number, "time_s": round(frame.time_s, 6), **drawn.entry}
                file.write(json.dumps(entry) + "\n")
                counts.update(drawn.classes)
                film.add(drawn.picture, frame.time_s)
                number += 1
    except OSError as failure:
        raise cannot_write(video, failure) from failure
    if not number:
        lines.unlink(missing_ok=True)
        return WrittenVideo(path=path, error=clip.error or f"{path} has no picture that can be read")
    return WrittenVideo(
        path=path,
        video=str(video) if video.exists() else "",
        lines=str(lines),
        frames=number,
        classes=tuple(counts.most_common()),
        error=clip.error,
    )


class _Clip:
    """The frames of a video beside what is said of them, up to where something is wrong."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.error: str | None = None
        """What is wrong."""
        self._frames = frames
        self._waiting: deque[Frame] = deque()

    def answered(self, ask: Callable[[Iterable[Frame]], Iterator[Any]]) -> Iterator[tuple[Frame, Any]]:
        """Give each frame with what a model says of it; it may read some before it says anything."""
        for answer in ask(self._read()):
            if answer.error is not None:
                self.error = answer.error
                return
            yield self._waiting.popleft(), answer

    def _read(self) -> Iterator[Frame]:
        try:
            for frame in self._frames:
                self._waiting.append(frame)
                yield frame
        except UserError as failure:
            self.error = str(failure)


class VideoFile:
    """An MP4 file that frames are added to; nothing is written before the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()

    def add(self, picture: Image.Image | None, time_s: float) -> None:
        """Add a frame that is shown from this time on, if there is one; it is brought to the first's size."""
        import av

        if picture is None:
            return
        if self._container is None:
            self._open(picture)
        size = (self._stream.width, self._stream.height)
        frame = av.VideoFrame.from_image(_of_size(picture, size))
        self._last = max(self._last + 1, round(time_s * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _open(self, picture: Image.Image) -> None:
        import av

        codec = next(each for each in _CODECS if each in av.codecs_available)
        self._container = av.open(str(self.path), "w")
        self._stream = self._container.add_stream(codec, rate=25)
        self._stream.width, self._stream.height = (side + side % 2 for side in picture.size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}


def _of_size(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Add a row or column where a side is odd, which the format has no room for; resize what differs more."""
    width, height = (side + side % 2 for side in picture.size)
    if (width, height) != size:
        return picture.resize(size, Image.Resampling.BILINEAR)
    if picture.size == size:
        return picture
    wider = picture.resize(size, Image.Resampling.NEAREST)
    wider.paste(picture, (0, 0))
    return wider
