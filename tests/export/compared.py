"""What people get of an exported model, beside what they get of the model that it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mscsa.assembly.weights_file import load_trained
from mscsa.export.artifact_model import ArtifactModel
from mscsa_runtime import Artifact, ArtifactError
from mscsa_runtime.predictions import find_objects

SIZES = ((64, 96), (160, 96), (224, 64))
"""Of images, in pixels, where several are taken; halves, quarters of them and so on are odd and even."""
BATCHES = (1, 3)


def check_that_it_is_the_model(checkpoint: Path, exported: Path) -> None:
    """Compare answers at three sizes or, where there is one, at that, in batches; no other size is taken."""
    artifact = Artifact(exported)
    model: Any = load_trained(checkpoint)[0]
    task, sizes = artifact.metadata.task, artifact.metadata.sizes
    for size in SIZES if sizes.is_dynamic else [(sizes.height, sizes.width)]:
        for batch in BATCHES:
            images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(sum(size)))
            with torch.no_grad():
                if task in ("detection", "instance_segmentation"):
                    _check_objects(artifact, model, images)
                elif task == "pyramid":
                    _check_maps(artifact, model, images)
                else:
                    _check_close(artifact.run(images.numpy())["logits"], model(images))
    if task == "segmentation" and sizes.is_dynamic:
        images = torch.rand(2, 3, 70, 101)  # padded by both, the file's by the runtime
        with torch.no_grad():
            _check_close(ArtifactModel(artifact)(images), model(images))
    for other in ((sizes.height, sizes.width + 1), (32, 32)):
        with pytest.raises(ArtifactError, match="was made for"):
            artifact.run(np.zeros((1, 3, *other), np.float32))


def _check_close(found: Any, wanted: Tensor) -> None:
    largest = float(wanted.abs().max())
    assert largest > 0
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=1e-3 * largest)


def _check_maps(artifact: Artifact, model: Any, images: Tensor) -> None:
    maps = (model.backbone if hasattr(model, "backbone") else model.pyramid)(images)
    found = artifact.run(images.numpy())
    assert list(found) == [f"stride{stride}" for stride in artifact.metadata.strides]
    for one, other in zip(found.values(), maps, strict=True):
        _check_close(one, other)


def _check_objects(artifact: Artifact, model: Any, images: Tensor) -> None:
    mean, std = (
        torch.tensor(each)[:, None, None] for each in (artifact.metadata.mean, artifact.metadata.std)
    )
    size = (images.shape[-2], images.shape[-1])
    found = find_objects(artifact, ((images - mean) / std).numpy(), [size] * len(images))
    for one, other in zip(found, model.find(list(images)), strict=True):
        assert len(other["labels"]) > 0
        np.testing.assert_array_equal(one.labels, other["labels"])
        np.testing.assert_allclose(one.scores, other["scores"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(one.boxes, other["boxes"], rtol=0, atol=1e-2)
        assert (one.cells is None) == ("masks" not in other)
        if one.cells is not None:
            np.testing.assert_allclose(one.cells, other["masks"][:, 0], rtol=0, atol=1e-4)
