"""Saliency as pictures that need no paper beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from mscsa.data.images import load_image
from mscsa.errors import UserError
from mscsa.pictures.figure import new_figure, save_figure
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.saliency import (
    LayerSaliency,
    Map,
    Saliency,
    ScaleSaliency,
    compute_saliency,
    saliency_json,
)
from mscsa.pictures.saliency_model import SaliencyModel
from mscsa.report import write_json

_SCALE_NAMES = ("all tokens", "coarser", "coarsest")
_TOP_PERCENT = 99.5
"""Percentile at which the colours end: a single key must not darken all others."""
_LEAST_TOP = 2.0
"""Least end of the colours, so that 1, which is uniform, is never their end."""


@dataclass(frozen=True, kw_only=True)
class WrittenSaliency:
    """What was written for one image."""

    path: str
    files: tuple[str, ...] = ()
    shares: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Layer, and the share of its attention that each scale gets."""
    error: str | None = None
    """Why there is nothing, in one line."""


def write_saliency(
    loaded: SaliencyModel,
    images: Iterable[str],
    folder: OutputFolder,
    queries: Sequence[tuple[int, int]] = (),
) -> Iterator[WrittenSaliency]:
    """Write NAME.json, NAME_attention.png, _energy.png, and _query1.png, ... for each image.

    An unreadable image gets an `error` and stops nothing.

    Args:
        loaded: Model and preprocessing.
        images: Image files.
        folder: For the files.
        queries: Pixels (y, x) of the resized image.
    Raises:
        UserError: If the folder cannot be written, a query lies outside the image, or a picture would
            overwrite an image.
    """
    endings = [".json", "_attention.png", "_energy.png"]
    endings += [f"_query{i + 1}.png" for i in range(len(queries))]
    for path in images:
        try:
            picture, pixels = loaded.prepare(load_image(path))
        except UserError as error:
            yield WrittenSaliency(path=path, error=str(error))
            continue
        files = folder.paths(path, *endings)
        saliency = compute_saliency(loaded.model, pixels, queries)
        _write_all(loaded.name, picture, saliency, files, queries)
        shares = tuple(
            (layer.name, tuple(scale.share for scale in layer.scales)) for layer in saliency.layers
        )
        yield WrittenSaliency(path=path, files=tuple(str(each) for each in files), shares=shares)


def _write_all(
    model: str,
    picture: Image.Image,
    saliency: Saliency,
    files: Sequence[Path],
    queries: Sequence[tuple[int, int]],
) -> None:
    numbers, attention, energy, *of_queries = files
    write_json(numbers, {"model": model, "queries": list(queries), **saliency_json(saliency)})
    draw_attention(attention, model, picture, saliency)
    draw_maps(
        energy,
        picture,
        saliency.layers,
        lambda scale: scale.energy,
        title=f"{model}: energy (L2 norm over channels) of the embeddings X_0, X_1, X_2 that attention reads",
        is_attention=False,
    )
    for i, (query, file) in enumerate(zip(queries, of_queries, strict=True)):
        draw_query(file, model, picture, saliency, i, query)


def draw_attention(path: Path, model: str, picture: Image.Image, saliency: Saliency) -> None:
    """Draw how much attention the keys of each scale receive, as `draw_maps`."""
    draw_maps(
        path,
        picture,
        saliency.layers,
        lambda scale: scale.attention,
        title=f"{model}: where attention falls (mean over queries and heads)",
    )


def draw_query(
    path: Path, model: str, picture: Image.Image, saliency: Saliency, index: int, query: tuple[int, int]
) -> None:
    """Draw where one query looks, as `draw_maps`.

    Args:
        index: Its place among the queries that `saliency` was computed for.
        query: Its pixel (y, x).
    """
    y, x = query
    draw_maps(
        path,
        picture,
        saliency.layers,
        lambda scale: scale.queries[index],
        title=f"{model}: where the token of pixel x={x}, y={y} (cross) looks",
        mark=query,
    )


def draw_maps(
    path: Path,
    picture: Image.Image,
    layers: Sequence[LayerSaliency],
    map_of: Callable[[ScaleSaliency], Map],
    *,
    title: str,
    mark: tuple[int, int] | None = None,
    is_attention: bool = True,
) -> None:
    """Draw a row for each layer: the image, and a map for each scale laid over it.

    Colours are relative to a map's own mean: a scale that gets little attention would else be dark all over,
    and how much it gets stands above it.

    Args:
        path: PNG to write.
        picture: The image that the model saw.
        layers: Rows.
        map_of: What to show of a scale.
        title: Heading.
        mark: Pixel (y, x) to mark with a cross.
        is_attention: Say how much of the attention each scale gets.
    Raises:
        UserError: If matplotlib is missing or the file cannot be written.
    """
    num_columns = 1 + len(layers[0].scales)
    aspect = picture.height / picture.width
    figure = new_figure((2.7 * num_columns + 1.0, (2.7 * aspect + 0.62) * len(layers) + 0.7))
    grid = figure.subplots(len(layers), num_columns, squeeze=False)
    rows = [[map_of(scale) for scale in layer.scales] for layer in layers]
    values = np.concatenate([_relative(each).ravel() for maps in rows for each in maps])
    top = max(float(np.percentile(values, _TOP_PERCENT)), _LEAST_TOP)
    for axes, layer, maps in zip(grid, layers, rows, strict=True):
        heat = _draw_row(axes, picture, layer, maps, top, is_attention=is_attention)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        if mark is not None:
            axes.plot(mark[1], mark[0], marker="+", color="cyan", markersize=14, markeredgewidth=2)
    figure.suptitle(title, fontweight="bold", fontsize=11)
    figure.colorbar(heat, ax=grid.ravel().tolist(), label="relative to the mean of the map", shrink=0.8)
    if is_attention:
        figure.supxlabel(
            "* effective number of keys: exp of the mean entropy of a query's attention", fontsize=7, x=0.25
        )
    save_figure(figure, path, dpi=110)


def _draw_row(
    row: Any,
    picture: Image.Image,
    layer: LayerSaliency,
    maps: Sequence[Map],
    top: float,
    *,
    is_attention: bool,
) -> Any:
    """Draw one layer: the image and its maps, with colours from 0 to `top`; give what a colour bar needs."""
    grey = np.asarray(picture.convert("L"))
    row[0].imshow(picture)
    row[0].set_title("image", fontsize=9)
    effective = f"\n({layer.perplexity:.0f} keys per query*)" if is_attention else ""
    row[0].set_ylabel(f"{layer.name}{effective}", fontsize=9)
    num_keys = sum(values.size for values in maps) if is_attention else None
    heat = None
    for j, (axes, values) in enumerate(zip(row[1:], maps, strict=True)):
        axes.imshow(grey, cmap="gray")
        shown = _upsample(_relative(values), grey.shape)
        heat = axes.imshow(shown, cmap="inferno", vmin=0.0, vmax=top, alpha=0.65)
        axes.set_title(_scale_title(j, values, num_keys), fontsize=9)
    return heat


def _relative(values: Map) -> Map:
    """Divide a map by its mean; one that is 0 all over stays so."""
    mean = values.mean()
    return values / mean if mean > 0 else values


def _scale_title(j: int, values: Map, num_keys: int | None) -> str:
    """Name a scale, and its share of the attention where `values` are that: multiples of uniform."""
    height, width = values.shape
    first = f"scale X_{j}, {_SCALE_NAMES[j]}: {height}x{width} keys"
    if num_keys is None:
        return first
    return f"{first}\n{100 * values.sum() / num_keys:.0f} % of attention, x{values.mean():.2f} of uniform"


def _upsample(values: Map, size: tuple[int, ...]) -> Map:
    whole = F.interpolate(torch.from_numpy(values)[None, None], tuple(size), mode="bilinear")
    return whole[0, 0].numpy()
