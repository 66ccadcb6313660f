"""The options of `mscsa eval` that belong to single tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.errors import UserError
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.recipes.spec import ClassificationData, DetectionData, SegmentationData


def evaluation_options(
    info: WeightsInfo,
    *,
    window: str,
    crop: int | None,
    stride: int | None,
    scales: Sequence[float],
    flip: bool,
    results: str | None,
    confusion: str | None,
) -> dict[str, Any]:
    """Turn the options of `mscsa eval` for single tasks into those of `evaluate`.

    Raises:
        UserError: If one is given and the model is for another task.
    """
    if results is not None and not isinstance(info.data, DetectionData):
        raise UserError(f"the model is for {info.model.task}: leave --results out, which is for detection")
    if confusion is not None and not isinstance(info.data, ClassificationData):
        raise UserError(
            f"the model is for {info.model.task}: leave --confusion out, which is for classifiers"
        )
    if not isinstance(info.data, SegmentationData):
        if window != "whole" or crop or stride or flip or tuple(scales) != (1.0,):
            raise UserError(
                f"the model is for {info.model.task}: leave --window, --crop, --stride, --scales and --flip "
                "out, which are for segmentation"
            )
        return {} if results is None else {"results": results}
    return {"inference": _inference(info.data.image_size, window, crop, stride, scales, flip)}


def _inference(
    training_crop: int,
    window: str,
    crop: int | None,
    stride: int | None,
    scales: Sequence[float],
    flip: bool,
) -> SegmentationInference:
    if window == "whole" and (crop or stride):
        raise UserError(
            "--crop and --stride are of the sliding window: give --window slide, or leave them out"
        )
    side = crop or training_crop
    return SegmentationInference(
        window=window,  # type: ignore[arg-type]
        crop=side,
        stride=stride or max(1, 2 * side // 3),
        scales=tuple(scales),
        flip=flip,
    )
