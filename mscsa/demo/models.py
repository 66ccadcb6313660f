"""The models that the page asks: trained ones from files, or the pretrained classifier that pip ships."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from timm.data import ImageNetInfo
from torch import nn

from mscsa.assembly.weights_file import WeightsInfo, read_info, weights_at
from mscsa.backbones.timm_pyramid import build_backbone
from mscsa.cost.matched_control import spec_on_meta
from mscsa.cost.model_info import count_model
from mscsa.cost.model_pair import IMAGE_CLASSES
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.errors import UserError
from mscsa.evaluation.classify import LoadedClassifier, load_classifier
from mscsa.evaluation.detect import LoadedDetector, load_detector
from mscsa.evaluation.running import choose_device
from mscsa.evaluation.segment import LoadedSegmenter, load_segmenter
from mscsa.folding import fold_norms
from mscsa.heads import Task
from mscsa.macs import count_parameters
from mscsa.names import parse_model_name
from mscsa.neck_table import NECKS
from mscsa.recipes.spec import ClassificationAugment, ClassificationData, ModelSpec
from mscsa_runtime import find_artifact

SHIPPED_NAME = "tf_efficientnet_lite0"
"""The classifier of a page that was given no run."""

Loaded: TypeAlias = LoadedClassifier | LoadedSegmenter | LoadedDetector


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownModel:
    """A model in memory, and what there is to say of it."""

    title: str
    """Heading of its column."""
    spec: ModelSpec
    info: WeightsInfo | None
    """What its file says; None of the shipped classifier."""
    file: Path | None
    loaded: Loaded
    skeleton: nn.Module
    """The same on the meta device, its norms not folded, to be counted."""
    input_size: tuple[int, int]
    """(H, W) in pixels of its data."""

    @property
    def task(self) -> Task:
        """What it is for."""
        return self.spec.task

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return count_parameters(self.skeleton)

    def macs(self, size: tuple[int, int]) -> int:
        """Count the multiply-adds of one prepared image of (H, W) pixels."""
        return _count(self.skeleton, size)


@lru_cache(maxsize=256)
def _count(skeleton: nn.Module, size: tuple[int, int]) -> int:
    return count_model(skeleton, size)


def load_model(checkpoint: str | Path, *, accelerator: str) -> ShownModel:
    """Load a trained model of any task.

    Args:
        checkpoint: Folder of a run, which stands for its best weights, or a file of weights in one.
        accelerator: `cpu`, `gpu`, or `auto`.
    Raises:
        UserError: If it is not usable.
    """
    if find_artifact(checkpoint) is not None:
        raise UserError(f"{checkpoint} is an exported model: give the run or the file of weights it is from")
    info = read_info(checkpoint)
    load: Any = {"classification": load_classifier, "segmentation": load_segmenter}.get(
        info.model.task, load_detector
    )
    return ShownModel(
        title=_title(info.model),
        spec=info.model,
        info=info,
        file=weights_at(checkpoint),
        loaded=load(checkpoint, accelerator=accelerator),
        skeleton=spec_on_meta(info.model, len(info.class_names), info.data.input_size),
        input_size=info.data.input_size,
    )


def _title(spec: ModelSpec) -> str:
    neck = "without MSCSA" if spec.neck_name is None else f"with {NECKS[spec.neck_name].title}"
    head = "" if spec.head is None else f" under {spec.head}"
    return f"{parse_model_name(spec.name).without_mscsa} {neck}{head}"


def load_shipped(*, accelerator: str) -> ShownModel:
    """Load the classifier of ImageNet's classes that a pip package ships, without MSCSA.

    Raises:
        UserError: If the package is not installed, and timm's weights cannot be had otherwise.
    """
    device = choose_device(accelerator)
    spec = ModelSpec(name=SHIPPED_NAME, pretrained=True)
    model = build_backbone(SHIPPED_NAME, pretrained=True, num_classes=IMAGE_CLASSES).eval()
    cfg = dict(model.pretrained_cfg)
    size = int(cfg["input_size"][-1])
    data = ClassificationData(kind="folder", image_size=size)
    return ShownModel(
        title=f"{SHIPPED_NAME}, pretrained on ImageNet, without MSCSA",
        spec=spec,
        info=None,
        file=None,
        loaded=LoadedClassifier(
            model=fold_norms(model).to(device),
            class_names=imagenet_names(),
            transform=build_classification_transforms(data, ClassificationAugment(), cfg)[1],
            device=device,
        ),
        skeleton=spec_on_meta(spec, IMAGE_CLASSES, (size, size)),
        input_size=(size, size),
    )


def imagenet_names() -> tuple[str, ...]:
    """Name the classes of ImageNet-1k, as timm does; of two with one name each gets its synset, too."""
    table = ImageNetInfo()
    names = [table.index_to_description(index) for index in range(table.num_classes())]
    return tuple(
        f"{name} ({table.index_to_label_name(index)})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    )
