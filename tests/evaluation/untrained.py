"""Files of untrained models of scenes, for each task, as training would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mscsa.assembly.build import build_model, resolved_spec
from mscsa.assembly.weights_file import EVALUATION_INPUT, WeightsInfo
from mscsa.checkpoints import save_weights
from mscsa.data.datasets import class_names_of
from mscsa.recipes.spec import ClassificationData, DataSpec, DetectionData, ModelSpec, SegmentationData

CLASSIFIER = ModelSpec(name="test_resnet", mscsa={"pool_stride": 8}, budget=0.5)
SEGMENTER = ModelSpec(
    name="test_resnet", head="semantic_fpn", head_kwargs={"fpn_channels": 16, "head_channels": 16}
)
DETECTOR = ModelSpec(
    name="test_resnet",
    head="mask_rcnn",
    head_kwargs={
        **{"fpn_channels": 16, "anchor_scale": 4.0, "proposals": 20, "detections_per_img": 8},
        **{"score_thresh": 0.0, "backbone_norm": "live"},
    },
)

_COUNTS = {"num_train": 8, "num_val": 9, "eval_batch_size": 4, "workers": 0}
CLASSES = ClassificationData(kind="scenes", image_size=32, **_COUNTS)
PIXELS = SegmentationData(kind="scenes", image_size=32, short_side=40, long_side=60, **_COUNTS)
OBJECTS = DetectionData(kind="scenes", short_side=48, long_side=80, max_digits=3, **_COUNTS)


def save_untrained(
    path: Path, spec: ModelSpec, data: DataSpec, change: Callable[[nn.Module], None] = lambda _: None
) -> Path:
    """Write an untrained model whose head tells its inputs apart, changed before it is written."""
    torch.manual_seed(0)
    names = class_names_of(data)
    model = build_model(spec, len(names))
    if spec.head is None:
        model.get_classifier().weight.data.mul_(30)  # type: ignore[operator, union-attr]
    change(model)
    cfg = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    info = WeightsInfo(
        model=resolved_spec(spec, model),
        data=data,
        class_names=tuple(names),
        category_ids=tuple(range(1, len(names) + 1)) if isinstance(data, DetectionData) else (),
        input={key: cfg[key] for key in EVALUATION_INPUT if key in cfg},
        provenance={"recipe": {"name": "test"}},
    )
    save_weights(model, path, info.to_metadata())
    return path
