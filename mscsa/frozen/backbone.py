"""From a recipe with a frozen backbone to kept maps: computed once, found again, read by the model."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.assembly.build import build_model
from mscsa.backbones.timm_pyramid import FINEST_STRIDE
from mscsa.data.contract import TaskDataset
from mscsa.data.datasets import build_datasets, class_names_of
from mscsa.data.transforms.segmentation import JointTransform, build_segmentation_transforms, build_variants
from mscsa.errors import UserError
from mscsa.frozen.dataset import Crop, FrozenSegmentation
from mscsa.frozen.reading import KeptMaps
from mscsa.frozen.store import INDEX, MapStore, write_store
from mscsa.models.pyramid import BackboneModel, Level
from mscsa.recipes.spec import Recipe, SegmentationAugment, SegmentationData

logger = logging.getLogger(__name__)

_FORMAT = 1
_LOG_EVERY_S = 10.0
_OF_IMAGES = ("kind", "root", "short_side", "long_side", "num_train", "num_val", "max_digits")
"""Fields of the data's description that the images depend on."""

Records = Sequence[tuple[TaskDataset, JointTransform]]
"""Data sets, each with the transform that makes one variant of its images; one after the other."""


def prepare(recipe: Recipe) -> None:
    """Compute the maps that runs of a recipe with a frozen backbone will read, unless they are there.

    Raises:
        UserError: If the recipe, its data or the folder of the maps is not usable.
    """
    num_classes = len(class_names_of(recipe.data))
    model = build_model(recipe.model, num_classes, input_size=recipe.data.input_size)
    cfg: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    freeze_backbone(model, recipe, build_datasets(recipe.data, recipe.augment, cfg, recipe.run.seed))


def freeze_backbone(
    model: nn.Module, recipe: Recipe, sets: tuple[TaskDataset, TaskDataset]
) -> tuple[FrozenSegmentation, FrozenSegmentation]:
    """Let a segmenter read kept maps in place of its backbone; they are computed where they are not there.

    Args:
        model: As the recipe builds it, its backbone with the weights that it keeps.
        sets: Images for training and validation.
    Returns:
        What takes the place of `sets`.
    Raises:
        UserError: If the recipe asks for what kept maps do not have, or the folder is not usable.
    """
    data, augment = check_frozen(recipe)
    pyramid = _pyramid(model)[1]
    levels = _kept_levels(pyramid)
    cfg: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    variants = build_variants(data, augment, cfg)
    whole = build_segmentation_transforms(data, augment, cfg)[1]
    records = [*((sets[0], each) for each in variants), (sets[1], whole)]
    store = _open_store(pyramid, records, recipe)
    pyramid.reading = KeptMaps(store, {level.index: level.stride for level in levels})
    train = len(sets[0]) * len(variants)
    crop = Crop(side=data.image_size, step=levels[-1].stride, max_class_share=augment.max_class_share)
    return (
        FrozenSegmentation(
            sets[0], store, first=0, sizes=store.sizes[:train], crop=crop, seed=recipe.run.seed
        ),
        FrozenSegmentation(sets[1], store, first=train, sizes=store.sizes[train:]),
    )


def frozen_prefix(model: nn.Module) -> str:
    """Name the module that a frozen backbone is: what `model.freeze` would name."""
    return f"{_pyramid(model)[0]}.backbone"


def check_frozen(recipe: Recipe) -> tuple[SegmentationData, SegmentationAugment]:
    """Refuse a recipe whose backbone cannot be frozen with its maps kept; give its data and augmentation.

    Raises:
        UserError: Says what stands against it.
    """
    data, augment, model = recipe.data, recipe.augment, recipe.model
    if not isinstance(data, SegmentationData) or not isinstance(augment, SegmentationAugment):
        raise UserError(
            f"model.frozen with recipe {recipe.name}: kept maps are for segmentation; for other "
            "tasks freeze the backbone by its name (model.freeze)"
        )
    if not model.pretrained and model.checkpoint is None:
        raise UserError(
            "model.frozen keeps the backbone as it starts, which is at random here: give "
            "--model.pretrained true, or --model.checkpoint FILE"
        )
    if augment.photometric:
        raise UserError("model.frozen keeps maps of images as they are: give --augment.photometric false")
    return data, augment


def cache_folder() -> Path:
    """Say where maps are kept: $MSCSA_CACHE, or `mscsa` in the user's cache folder."""
    given = os.environ.get("MSCSA_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mscsa"


def _pyramid(model: nn.Module) -> tuple[str, BackboneModel]:
    found = [(name, each) for name, each in model.named_modules() if isinstance(each, BackboneModel)]
    if not found:
        raise UserError(
            f"{type(model).__name__} has no backbone with a pyramid: give a recipe with a head on one"
        )
    return found[0]


def _kept_levels(pyramid: BackboneModel) -> list[Level]:
    return [level for level in pyramid.levels if level.stride >= FINEST_STRIDE]


def _open_store(pyramid: BackboneModel, records: Records, recipe: Recipe) -> MapStore:
    """Find the maps of records, or compute them."""
    augment = recipe.augment
    assert isinstance(augment, SegmentationAugment)
    identity = {
        "format": _FORMAT,
        "levels": [asdict(level) for level in _kept_levels(pyramid)],
        "backbone": _hash_of_weights(pyramid.backbone),
        "input": {key: pyramid.pretrained_cfg.get(key) for key in ("mean", "std")},
        "data": {name: getattr(recipe.data, name) for name in _OF_IMAGES},
        "variants": [augment.scale, augment.hflip > 0],
        "files": _hash_of_files([dataset for dataset, _ in records]),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:20]
    folder = cache_folder() / "frozen" / key
    if not (folder / INDEX).exists():
        _compute(folder, pyramid, records, recipe.model.name)
    else:
        logger.info("maps of the frozen %s: found in %s", recipe.model.name, folder)
    return MapStore(folder)


def _compute(folder: Path, pyramid: BackboneModel, records: Records, name: str) -> None:
    """Compute the maps in a folder beside, and put it in its place whole."""
    levels = _kept_levels(pyramid)
    count = sum(len(dataset) for dataset, _ in records)
    first = next(_samples(records))[0]
    height, width = first.shape[-2:]
    expected = 2 * count * sum(lv.channels * (height // lv.stride) * (width // lv.stride) for lv in levels)
    logger.info(
        "maps of the frozen %s: computing %d (images and their variants), about %.2f GB, in %s",
        *(name, count, expected / 1e9, folder),
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
        if free < 1.1 * expected:
            raise UserError(
                f"{folder.parent} has {free / 1e9:.2f} GB free, the maps take about {expected / 1e9:.2f} GB: "
                "free some space, or set MSCSA_CACHE to another folder"
            )
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as beside:
            whole = Path(beside) / "maps"
            whole.mkdir()
            write_store(whole, _counted(_samples(records), count), partial(_read, pyramid, levels))
            with suppress(OSError):  # another process may have been as fast
                whole.rename(folder)
            if not (folder / INDEX).exists():
                raise UserError(
                    f"cannot keep maps in {folder}: delete it, and set MSCSA_CACHE if it comes again"
                )
    except OSError as error:
        raise UserError(
            f"cannot keep maps in {folder}: {error.strerror or error}; set MSCSA_CACHE to a folder that "
            "can be written"
        ) from error


def _samples(records: Records) -> Iterator[tuple[Tensor, Tensor]]:
    for dataset, transform in records:
        as_kept: Any = copy.copy(dataset)
        as_kept.transform = transform
        for index in range(len(dataset)):
            pixels, labels, _ = as_kept[index]
            yield pixels, labels


def _counted(samples: Iterator[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pass samples through and say how far they are."""
    said = time.monotonic()
    for done, sample in enumerate(samples, start=1):
        yield sample
        if time.monotonic() - said > _LOG_EVERY_S:
            said = time.monotonic()
            logger.info("maps: %d of %d", done, count)


@torch.inference_mode()
def _read(pyramid: BackboneModel, levels: Sequence[Level], images: Tensor) -> list[Tensor]:
    """Give the maps of images (1, 3, H, W), padded as a segmenter pads them."""
    deepest = levels[-1].stride
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % deepest, 0, -height % deepest))
    pyramid.backbone.eval()
    maps = pyramid.read(
        padded.contiguous(memory_format=torch.channels_last), [level.index for level in levels]
    )
    for x, level in zip(maps, levels, strict=True):
        if (x.shape[-2] * level.stride, x.shape[-1] * level.stride) != tuple(padded.shape[-2:]):
            raise UserError(
                f"the map of stride {level.stride} is {x.shape[-2]}x{x.shape[-1]} for {padded.shape[-2]}x"
                f"{padded.shape[-1]} px: crops of it are not those of the image, so this backbone cannot "
                "be frozen with its maps kept"
            )
    return maps


def _hash_of_weights(backbone: nn.Module) -> str:
    found = hashlib.sha256(type(backbone).__name__.encode())
    for name, value in backbone.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _hash_of_files(sets: Sequence[TaskDataset]) -> str:
    """Hash what the images are: names, sizes and times of files; of rendered scenes, their descriptions."""
    found = hashlib.sha256()
    for dataset in sets:
        for index in range(len(dataset)):
            found.update(dataset.describe(index).encode())
            for path in dataset.files(index):  # type: ignore[attr-defined]  # of data sets for segmentation
                stat = path.stat()
                found.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return found.hexdigest()
