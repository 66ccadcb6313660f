"""The first images of a validation set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from mscsa.evaluation.evaluate import build_validation
from mscsa.export.scoring import info_of
from mscsa_runtime.artifact import Artifact


def first_images(artifact: Artifact, overrides: Mapping[str, Any], count: int) -> list[Tensor]:
    """Read the first images that an exported model is scored on, (3, h, w) each.

    Args:
        artifact: Knows what it was trained on.
        overrides: Fields of the data that differ from that.
        count: How many at most.
    """
    info = info_of(artifact)
    dataset = build_validation(info, replace(info.data, **overrides))
    return [dataset[i][0] for i in range(min(count, len(dataset)))]
