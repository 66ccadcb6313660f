"""A graph in the file of one format, with its metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mscsa.export import openvino_file
from mscsa.export.graphs import IMAGES, Graph, random_images
from mscsa.export.programs import trace
from mscsa_runtime.backends import open_file
from tests.runtime.small_files import METADATA


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, 3, padding=1).eval()


def written(folder: Path) -> Path:
    graph = Graph(
        name="model", module=convolution(), axes={"images": IMAGES}, outputs=("maps",), example=random_images
    )
    path = folder / "model.xml"
    openvino_file.write(trace(graph, (64, 64), step=32), graph, path, METADATA.to_json())
    return path


def test_it_runs_at_other_sizes_and_keeps_its_metadata(tmp_path: Path) -> None:
    opened = open_file(written(tmp_path))
    assert opened.metadata == METADATA.to_json()
    (images,) = random_images(3, (96, 64))
    (found,) = opened.run({"images": images.numpy()})
    np.testing.assert_allclose(found, convolution()(images).detach(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_eight_bits_are_close(tmp_path: Path) -> None:
    path = written(tmp_path)
    images = [random_images(1, (64, 64))[0].numpy() for _ in range(4)]
    openvino_file.quantize(path, images, METADATA.to_json())
    opened = open_file(path)
    assert opened.metadata == METADATA.to_json()
    (found,), wanted = opened.run({"images": images[0]}), convolution()(torch.from_numpy(images[0]))
    largest = float(wanted.abs().max())
    assert 0 < np.abs(found - wanted.detach().numpy()).max() < 0.1 * largest
