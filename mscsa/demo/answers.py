"""What a model says about one image, drawn as `mscsa predict` draws it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mscsa.demo.models import ShownModel
from mscsa.errors import UserError
from mscsa.evaluation.classify import LoadedClassifier
from mscsa.evaluation.segment import LoadedSegmenter
from mscsa.pictures.detections import draw_objects
from mscsa.pictures.palette import palette
from mscsa.pictures.segmentations import blended, class_shares
from mscsa.report import Table, percent_more

logger = logging.getLogger(__name__)

TOP_K = 5
"""Classes that a classifier names."""

_ROUNDS = 5
_TIMING_SECONDS = 2.0
# Models take turns until there are so many rounds, or so much time is gone: a detector is asked once.


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model says."""

    title: str
    """Which model."""
    size: tuple[int, int]
    """(h, w) in pixels that it was given."""
    ms: float
    """From the image to the answer, median of the rounds."""
    classes: tuple[tuple[str, float], ...] = ()
    """Of a classifier: name and probability, best first."""
    picture: Image.Image | None = None
    """Of a segmenter its label map over the image, of a detector the objects drawn on it."""
    legend: tuple[tuple[str, float, str], ...] = ()
    """Of a segmenter: name of each class in the image, its share of the pixels, its colour as #rrggbb."""
    says: str = ""
    """Of a detector: how many objects of which classes, in one line."""


def ask(models: Sequence[ShownModel], image: Image.Image, threshold: float) -> list[Answer]:
    """Ask models about an image, in turns.

    Args:
        image: RGB.
        threshold: Least score of an object that is drawn, 0 to 1.
    Raises:
        UserError: If one of them cannot run on it.
    """
    answers = [_answer(model, image, threshold) for model in models]
    times: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + _TIMING_SECONDS
    while len(times[0]) < _ROUNDS and (not times[0] or time.perf_counter() < end):
        for model, own in zip(models, times, strict=True):
            own.append(_milliseconds(model, image))
    return [replace(answer, ms=median(own)) for answer, own in zip(answers, times, strict=True)]


def _milliseconds(model: ShownModel, image: Image.Image) -> float:
    start = time.perf_counter()
    _run(model, image)
    return 1000 * (time.perf_counter() - start)


def _answer(model: ShownModel, image: Image.Image, threshold: float) -> Answer:
    pixels, said = _run(model, image)
    answer = Answer(title=model.title, size=(pixels.shape[-2], pixels.shape[-1]), ms=0.0)
    loaded = model.loaded
    if isinstance(loaded, LoadedClassifier):
        return replace(answer, classes=said)
    if isinstance(loaded, LoadedSegmenter):
        return replace(answer, picture=blended(image, said), legend=_legend(said, loaded.class_names))
    names = [loaded.class_names[label - 1] for label in said.labels[said.scores >= threshold]]
    counts = ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())
    return replace(
        answer,
        picture=draw_objects(image, said, loaded.class_names, threshold),
        says=counts
        or f"nothing with a score of {threshold:g} or more; the best has "
        f"{np.max(said.scores, initial=0.0):.2f}",
    )


def _legend(labels: NDArray[np.uint8], class_names: Sequence[str]) -> tuple[tuple[str, float, str], ...]:
    colours = {name: palette(256)[i].tobytes().hex() for i, name in enumerate(class_names)}
    return tuple((name, share, f"#{colours[name]}") for name, share in class_shares(labels, class_names))


def _run(model: ShownModel, image: Image.Image) -> tuple[Tensor, Any]:
    """Prepare an image and run a model on it: what it was given, and what it says.

    Raises:
        UserError: If it cannot run on it.
    """
    loaded, size = model.loaded, (image.height, image.width)
    try:
        pixels = loaded.prepare(image)
        if isinstance(loaded, LoadedClassifier):
            return pixels, loaded.likeliest([pixels], TOP_K)[0]
        if isinstance(loaded, LoadedSegmenter):
            return pixels, loaded.label_map(pixels, size)
        return pixels, loaded.find(pixels, size)
    except UserError:
        raise
    except (AssertionError, RuntimeError, ValueError, MemoryError) as error:
        raise refused(model.title, image, error) from error


def refused(title: str, image: Image.Image, error: BaseException) -> UserError:
    """Say that a model cannot run on an image; the log has the whole error."""
    logger.warning("%s: an image of %dx%d px failed", title, *image.size, exc_info=error)
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(
        f"{title} does not take this image of {image.width}x{image.height} px: {reason}; give one of another "
        "size or shape"
    )


def drawn(write: Callable[[Path], None]) -> Image.Image:
    """Give as an image what `write` writes as a file; none stays."""
    with TemporaryDirectory(prefix="mscsa-demo-") as folder:
        path = Path(folder) / "picture.png"
        write(path)
        with Image.open(path) as picture:
            return picture.convert("RGB")


def answers_table(models: Sequence[ShownModel], answers: Sequence[Answer]) -> Table:
    """Lay out what the answers cost; of two models the second against the first."""
    costs = [
        (model.parameters / 1e6, model.macs(answer.size) / 1e9, answer.ms)
        for model, answer in zip(models, answers, strict=True)
    ]
    rows: list[tuple[str, ...]] = [
        (answer.title, f"{answer.size[0]}x{answer.size[1]}", f"{m:.2f}", f"{g:.3f}", f"{ms:.1f}")
        for answer, (m, g, ms) in zip(answers, costs, strict=True)
    ]
    if len(costs) == 2:
        rows.append(("difference", "", *(percent_more(b, a) for a, b in zip(*costs, strict=True))))
    return Table(
        title="What this answer cost",
        columns=("model", "given, px", "parameters (M)", "GMACs", "ms"),
        rows=rows,
        notes=(
            "ms: from the image to the answer, preparation included, median of some rounds in turns, on this "
            "machine with all else that it does; mscsa bench measures properly.",
        ),
    )
