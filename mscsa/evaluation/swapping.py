"""Which classes test-time mirroring swaps: left is right in a mirror image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from mscsa.data.mirroring import flip_warning, mirrored_classes
from mscsa.data.problems import some_of
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.segmentation_inference import SegmentationInference

logger = logging.getLogger(__name__)

Inference = TypeVar("Inference", SegmentationInference, DetectionInference)

Pairs = Sequence[tuple[str, str]]


def with_swapped_classes(
    inference: Inference, class_names: Sequence[str], pairs: Pairs, data_pairs: Pairs = ()
) -> Inference:
    """Swap classes in what is found in mirror images, and warn where names say that more should be.

    Args:
        inference: Stays as it is if it asks about no mirror image, or says itself what is `mirrored`.
        class_names: Of the model.
        pairs: Names of classes that are each other in a mirror image, by the file of weights.
        data_pairs: The same by the data that the model is measured on; they count where `pairs` is empty.
    Raises:
        UserError: If a pair names something else than two classes, or a class is in two pairs.
    """
    if not inference.flip or inference.mirrored:
        return inference
    if pairs and data_pairs and _as_set(pairs) != _as_set(data_pairs):
        logger.warning(
            "--flip swaps the classes that training swapped, %s, and not those of the data, %s",
            _listed(pairs),
            _listed(data_pairs),
        )
    swapped = pairs or data_pairs
    if (warning := flip_warning(class_names, swapped)) is not None:
        logger.warning("%s", warning)
    return replace(inference, mirrored=tuple(mirrored_classes(class_names, swapped)) if swapped else ())


def _as_set(pairs: Pairs) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in pairs}


def _listed(pairs: Pairs) -> str:
    return some_of([f"{one} and {other}" for one, other in pairs], 3)
