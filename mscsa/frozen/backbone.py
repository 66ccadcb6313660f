"""From a recipe with a frozen backbone to kept maps: computed once, found again, read by the model."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.assembly.build import build_model
from mscsa.backbones.timm_pyramid import FINEST_STRIDE
from mscsa.checkpoints.checksum import hash_tensors
from mscsa.data.contract import TaskDataset, with_transform
from mscsa.data.datasets import build_datasets, class_names_of
from mscsa.detection.detector import Detector
from mscsa.errors import UserError
from mscsa.evaluation.running import choose_device
from mscsa.frozen.keeping import Keeping, check_frozen, keeping_of
from mscsa.frozen.reading import KeptMaps
from mscsa.frozen.store import INDEX, MapStore, write_store
from mscsa.models.pyramid import BackboneModel, Level
from mscsa.names import parse_model_name
from mscsa.progress import tracked
from mscsa.recipes.length import check_length
from mscsa.recipes.spec import Recipe

logger = logging.getLogger(__name__)

_FORMAT = 1
_OF_IMAGES = ("kind", "short_side", "long_side", "size_multiple", "num_train", "num_val", "max_digits")
"""Fields of the data's description that the images depend on, where it has them."""


def prepare(recipe: Recipe) -> None:
    """Compute the maps that runs of a recipe with a frozen backbone will read, unless they are there.

    Raises:
        UserError: If the recipe, its data, its length or the folder of the maps is not usable.
    """
    recipe = replace(recipe, data=recipe.data.with_whole_places())  # as a run has it
    num_classes = len(class_names_of(recipe.data))
    model = build_model(recipe.model, num_classes, input_size=recipe.data.input_size)
    cfg: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    sets = build_datasets(recipe.data, recipe.augment, cfg, recipe.run.seed)
    check_length(recipe, len(sets[0]))
    freeze_backbone(model, recipe, sets)


def freeze_backbone(
    model: nn.Module, recipe: Recipe, sets: tuple[TaskDataset, TaskDataset]
) -> tuple[TaskDataset, TaskDataset]:
    """Let a model read kept maps in place of its backbone; they are computed where they are not there.

    Args:
        model: As the recipe builds it, its backbone with the weights that it keeps.
        sets: Images for training and validation.
    Returns:
        What takes the place of `sets`.
    Raises:
        UserError: If the recipe asks for what kept maps do not have, or the folder is not usable.
    """
    check_frozen(recipe)
    pyramid = _pyramid(model)[1]
    levels = _kept_levels(pyramid)
    cfg: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    keeping = keeping_of(recipe, cfg, levels[-1].stride)
    store = _open_store(pyramid, keeping, sets, recipe)
    pyramid.reading = KeptMaps(store, {level.index: level.stride for level in levels})
    if isinstance(model, Detector):
        model.take_normalized()  # an address must arrive as it is
    train = len(sets[0]) * len(keeping.variants)
    return (
        keeping.training(sets[0], store, first=0, sizes=store.sizes[:train]),
        keeping.evaluation(sets[1], store, first=train, sizes=store.sizes[train:]),
    )


def frozen_prefix(model: nn.Module) -> str:
    """Name the module that a frozen backbone is: what `model.freeze` would name."""
    return f"{_pyramid(model)[0]}.backbone"


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


def _open_store(
    pyramid: BackboneModel, keeping: Keeping, sets: tuple[TaskDataset, TaskDataset], recipe: Recipe
) -> MapStore:
    """Find the maps of images, or compute them: each variant for training, then those of evaluation."""
    records = [with_transform(sets[0], each) for each in keeping.variants]
    records.append(with_transform(sets[1], keeping.whole))
    name = parse_model_name(recipe.model.name)
    identity = {
        "format": _FORMAT,
        "levels": [asdict(level) for level in _kept_levels(pyramid)],
        "backbone": _hash_of_backbone(pyramid.backbone),
        "arguments": {"name": name.tagged_backbone, **recipe.model.backbone_kwargs},
        "timm": timm.__version__,
        "input": {key: pyramid.pretrained_cfg.get(key) for key in ("mean", "std")},
        "data": {name: getattr(recipe.data, name) for name in _OF_IMAGES if hasattr(recipe.data, name)},
        "root": recipe.data.root,
        "variants": keeping.identity,
        "files": _hash_of_data(records),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:20]
    folder = cache_folder() / "frozen" / key
    if not (folder / INDEX).exists():
        logger.info("maps of the frozen %s: computing them", recipe.model.name)
        device = choose_device(recipe.run.accelerator)
        pyramid.backbone.to(device)
        _compute(folder, pyramid, records, has_labels=keeping.has_labels)
        pyramid.backbone.to("cpu")  # where the model was built
    else:
        logger.info("maps of the frozen %s: found in %s", recipe.model.name, folder)
    return MapStore(folder)


def _compute(
    folder: Path, pyramid: BackboneModel, records: Sequence[TaskDataset], *, has_labels: bool
) -> None:
    """Compute the maps in a folder beside, and put it in its place whole."""
    levels = _kept_levels(pyramid)
    count = sum(len(each) for each in records)
    expected = sum(len(each) * _bytes_of(each[0][0], levels, has_labels=has_labels) for each in records)
    logger.info("maps: %d (images and their variants), about %.2f GB, in %s", count, expected / 1e9, folder)
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
            samples = tracked(_samples(records, has_labels=has_labels), "maps", count)
            write_store(whole, samples, partial(_read, pyramid, levels))
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


def _bytes_of(image: Tensor, levels: Sequence[Level], *, has_labels: bool) -> int:
    """Say what a record takes: maps in half precision, labels in a byte each."""
    height, width = image.shape[-2:]
    maps = 2 * sum(lv.channels * (height // lv.stride) * (width // lv.stride) for lv in levels)
    return maps + (height * width if has_labels else 0)


def _samples(records: Sequence[TaskDataset], *, has_labels: bool) -> Iterator[tuple[Tensor, Tensor]]:
    for dataset in records:
        for index in range(len(dataset)):
            pixels, target, _ = dataset[index]
            yield pixels, target if has_labels else torch.zeros(0, 0)


@torch.inference_mode()
def _read(pyramid: BackboneModel, levels: Sequence[Level], images: Tensor) -> list[Tensor]:
    """Give the maps of images (1, 3, H, W), padded as segmenters and detectors pad them."""
    deepest = levels[-1].stride
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % deepest, 0, -height % deepest))
    pyramid.backbone.eval()
    padded = padded.to(next(pyramid.backbone.parameters()).device)
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


def _hash_of_backbone(backbone: nn.Module) -> str:
    """Hash the layers, whose options change maps without changing weights, and the weights."""
    return hash_tensors(backbone.state_dict().items(), lambda name, _: name, first=repr(backbone))


def _hash_of_data(sets: Sequence[TaskDataset]) -> str:
    """Hash what images and labels are: names, sizes and times of files; of rendered scenes, descriptions.

    Label maps are kept as classes, so what their values and colours mean is part of what they are.
    """
    found = hashlib.sha256()
    for dataset in sets:
        table = getattr(dataset, "table", None)
        if table is not None:
            found.update(json.dumps([table.names, table.values, table.colours]).encode())
        for index in range(len(dataset)):
            found.update(_line(dataset.describe(index)))
            for path in dataset.files(index):  # type: ignore[attr-defined]  # of data sets that can be kept
                stat = path.stat()
                found.update(_line(f"{path} {stat.st_size} {stat.st_mtime_ns}"))
    return found.hexdigest()


def _line(text: str) -> bytes:
    """Write a line as it is hashed; names of files may be no UTF-8."""
    return text.encode("utf-8", "surrogateescape")
