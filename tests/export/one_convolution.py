"""What holds of the file of every format, on one convolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mscsa.export.programs import trace
from mscsa.graphs import IMAGES, Graph, random_images
from mscsa_runtime.backends import open_file
from tests.runtime.small_files import METADATA


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, 3, padding=1).eval()


def written(file_format: Any, path: Path) -> Path:
    """Write it with any batch and size, by a module of `mscsa.export` for one format."""
    graph = Graph(
        name="model", module=convolution(), axes={"images": IMAGES}, outputs=("maps",), example=random_images
    )
    file_format.write(trace(graph, (64, 64), step=32), graph, path, METADATA.to_json())
    return path


def check_other_sizes_and_metadata(path: Path) -> None:
    opened = open_file(path)
    assert opened.metadata == METADATA.to_json()
    (images,) = random_images(3, (96, 64))
    (found,) = opened.run({"images": images.numpy()})
    np.testing.assert_allclose(found, convolution()(images).detach(), rtol=0, atol=1e-5)


def check_eight_bits(file_format: Any, path: Path) -> None:
    images = [random_images(1, (64, 64))[0].numpy() for _ in range(4)]
    file_format.quantize(path, images, METADATA.to_json())
    opened = open_file(path)
    assert opened.metadata == METADATA.to_json()
    (found,), wanted = opened.run({"images": images[0]}), convolution()(torch.from_numpy(images[0]))
    largest = float(wanted.abs().max())
    assert 0 < np.abs(found - wanted.detach().numpy()).max() < 0.1 * largest
