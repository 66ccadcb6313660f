"""The options of `mscsa eval` and `mscsa predict` that belong to single tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.errors import UserError
from mscsa.evaluation.detection_inference import DetectionInference
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.recipes.spec import DetectionData, SegmentationData
from mscsa_cli.parsing import Asking


def evaluation_options(info: WeightsInfo, asking: Asking, *, results: str | None = None) -> dict[str, Any]:
    """Turn the options of `mscsa eval` and `mscsa predict` for single tasks into those of what they call.

    Raises:
        UserError: If one is given and the model is for another task.
    """
    task = info.model.task
    if results is not None and not isinstance(info.data, DetectionData):
        raise UserError(f"the model is for {task}: leave --results out, which is for detection")
    if isinstance(info.data, SegmentationData):
        if asking.tile is not None or asking.overlap is not None:
            raise UserError("--tile and --overlap are for detection: give --window slide")
        return {"inference": _inference(info.data.image_size, asking)}
    options: dict[str, Any] = {} if results is None else {"results": results}
    if asking == Asking():
        return options
    if not isinstance(info.data, DetectionData):
        raise UserError(
            f"the model is for {task}: leave --window, --crop, --stride, --scales, --flip and --tile out, "
            "which are for segmentation and detection"
        )
    if replace(asking, tile=None, overlap=None, flip=False) != Asking():
        raise UserError(
            f"the model is for {task}: leave --window, --crop, --stride and --scales out, which are for "
            "segmentation"
        )
    views = DetectionInference(tile=asking.tile, overlap=asking.overlap, flip=asking.flip)
    return {**options, "inference": views}


def _inference(training_crop: int, asking: Asking) -> SegmentationInference:
    if asking.window == "whole" and (asking.crop is not None or asking.stride is not None):
        raise UserError(
            "--crop and --stride are of the sliding window: give --window slide, or leave them out"
        )
    side = training_crop if asking.crop is None else asking.crop
    return SegmentationInference(
        window=asking.window,
        crop=side,
        stride=max(1, 2 * side // 3) if asking.stride is None else asking.stride,
        scales=tuple(asking.scales),
        flip=asking.flip,
    )
