"""What the arms of a comparison say about the same images, side by side (segmentation)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data import resolve_data_config
from torch import Tensor, nn

from mscsa.data.contract import IGNORED, TaskDataset
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.pictures.figure import new_figure, save_figure
from mscsa.pictures.palette import palette

NUM_EXAMPLES = 6
"""Images, evenly over the validation set, so that nobody chose them."""


def draw_examples(models: Mapping[str, nn.Module], dataset: TaskDataset, path: Path) -> None:
    """Draw images, their labels, and each model's prediction with the share of right pixels, as PNG.

    Args:
        models: What an arm is called -> its trained segmenter, in eval mode.
        dataset: Images to validate on.
    Raises:
        UserError: If matplotlib is missing or the file cannot be written.
    """
    indices = np.unique(np.linspace(0, len(dataset) - 1, NUM_EXAMPLES).round().astype(int))
    cfg: Any = next(iter(models.values())).pretrained_cfg
    figure = new_figure((1.9 * (2 + len(models)), 1.95 * len(indices) + 0.5))
    grid = figure.subplots(len(indices), 2 + len(models), squeeze=False)
    for row, index in zip(grid, indices, strict=True):
        pixels, labels, _ = dataset[int(index)]
        row[0].imshow(_shown(pixels, cfg))
        row[1].imshow(_coloured(labels.numpy()), interpolation="nearest")
        for axes, model in zip(row[2:], models.values(), strict=True):
            found = _predict(model, pixels, (labels.shape[0], labels.shape[1]))
            axes.imshow(_coloured(found), interpolation="nearest")
            known = labels.numpy() != IGNORED
            right = (found == labels.numpy())[known].mean() if known.any() else 0.0
            axes.set_xlabel(f"{100 * right:.0f} % of pixels right", fontsize=8)
        for axes in row:
            axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], ("image", "labels", *models), strict=True):
        axes.set_title(title, fontsize=9, wrap=True)
    save_figure(figure, path, dpi=110)


@torch.inference_mode()
def _predict(model: nn.Module, pixels: Tensor, size: tuple[int, int]) -> NDArray[np.int64]:
    dtype = next(model.parameters()).dtype
    return SegmentationInference()(model, pixels[None].to(dtype), size)[0].argmax(dim=0).numpy()


def _shown(pixels: Tensor, cfg: Any) -> NDArray[np.uint8]:
    """Undo the normalisation of an image (3, H, W): (H, W, 3)."""
    config = resolve_data_config({}, pretrained_cfg=cfg)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    return (255 * (pixels * std + mean)).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def _coloured(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Give each class its colour, white where a pixel does not count: (H, W, 3)."""
    colours = palette(256)
    colours[IGNORED] = 255
    return colours[labels]
