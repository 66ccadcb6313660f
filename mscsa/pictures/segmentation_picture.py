"""Segmentations as files: the label map as an index PNG, and an overlay with a legend for people."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa.errors import UserError
from mscsa.evaluation import Segmentation

_OPACITY = 0.55
_LEGEND_ROWS = 24
"""Most classes that a legend names; the smaller ones are counted together."""


@dataclass(frozen=True, kw_only=True)
class WrittenSegmentation:
    """What was written for one image."""

    path: str
    label_map: str = ""
    overlay: str = ""
    classes: tuple[tuple[str, float], ...] = ()
    """Name of each class in it and its share of the pixels, the largest first."""
    error: str | None = None
    """Why there is nothing, in one line."""


def write_segmentations(segmentations: Iterable[Segmentation], out: Path) -> Iterator[WrittenSegmentation]:
    """Write OUT/NAME.png and OUT/NAME_overlay.png for each image; an unreadable one keeps its error.

    Raises:
        UserError: If the folder cannot be written.
    """
    written: set[str] = set()
    for each in segmentations:
        if each.labels is None or each.image is None:
            yield WrittenSegmentation(path=each.path, error=each.error)
            continue
        name = Path(each.path).stem
        while name in written:  # images of one name from several folders
            name += "_"
        written.add(name)
        label_map, overlay = out / f"{name}.png", out / f"{name}_overlay.png"
        check_not_input(label_map, each.path)
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_label_map(label_map, each.labels)
            write_overlay(overlay, each.image, each.labels, each.class_names)
        except OSError as error:
            raise UserError(
                f"cannot write to {out}: {error.strerror}; give a folder that can be written"
            ) from error
        yield WrittenSegmentation(
            path=each.path,
            label_map=str(label_map),
            overlay=str(overlay),
            classes=tuple(class_shares(each.labels, each.class_names)),
        )


def check_not_input(target: Path, source: str) -> None:
    """Refuse to write a picture over the image that it is of.

    Raises:
        UserError: If both are the same file.
    """
    if target.resolve() == Path(source).resolve():
        raise UserError(f"{target} is the image itself, which is not overwritten: give another --out")


def class_shares(labels: NDArray[np.uint8], class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Name the classes of a label map with their shares of the pixels, the largest first."""
    counts = np.bincount(labels.ravel(), minlength=len(class_names))[: len(class_names)]
    order = np.argsort(-counts, kind="stable")
    return [(class_names[i], float(counts[i] / labels.size)) for i in order if counts[i]]


def palette(num_colours: int) -> NDArray[np.uint8]:
    """Give a colour to each class, (K, 3), always the same; neighbours differ in hue and lightness."""
    # Steps of the golden ratio spread hues evenly for any number; lightness changes in turn.
    colours = [
        colorsys.hls_to_rgb((0.02 + 0.618034 * i) % 1, (0.5, 0.65, 0.38)[i % 3], (0.85, 0.6)[i // 3 % 2])
        for i in range(num_colours)
    ]
    return (255 * np.array(colours)).astype(np.uint8)


def write_label_map(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write class indices (H, W) as an 8-bit PNG, which viewers show in the colours of `palette`."""
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel())  # `convert` maps to the nearest colour of a palette of its own
    image.putpalette(palette(256).ravel().tolist())
    image.save(path)


def write_overlay(
    path: Path, image: Image.Image, labels: NDArray[np.uint8], class_names: Sequence[str]
) -> None:
    """Write the image with the classes laid over it, and a legend of those that are there.

    Raises:
        UserError: If matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ModuleNotFoundError as error:
        raise UserError(
            "the picture needs matplotlib, which is not installed; run: pip install mscsa[train]"
        ) from error
    colours = palette(256)
    blend = (1 - _OPACITY) * np.asarray(image, np.float32) + _OPACITY * colours[labels]
    height, width = labels.shape
    side = 7.0 / max(height, width)
    figure = Figure(figsize=(width * side + 2.6, max(height * side, 2.0)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    axes.imshow(blend.astype(np.uint8), interpolation="nearest")
    axes.set_axis_off()
    shares = class_shares(labels, class_names)
    place = {name: i for i, name in enumerate(class_names)}
    patches = [
        Patch(color=colours[place[name]] / 255, label=f"{name}  {100 * share:.1f} %")
        for name, share in shares[:_LEGEND_ROWS]
    ]
    if len(shares) > _LEGEND_ROWS:
        rest = sum(share for _, share in shares[_LEGEND_ROWS:])
        patches.append(
            Patch(color="none", label=f"{len(shares) - _LEGEND_ROWS} more classes  {100 * rest:.1f} %")
        )
    axes.legend(handles=patches, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)
