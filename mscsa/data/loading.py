"""From a run's description to data sets and loaders."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mscsa.data.contract import ClassificationDataset, Split
from mscsa.data.image_folder import ImageFolder
from mscsa.data.sampler import EvalSampler, ResumableBatchSampler
from mscsa.data.scenes import SceneClassification
from mscsa.data.transforms import build_transforms
from mscsa.errors import UserError
from mscsa.recipes.spec import AugmentSpec, DataSpec

Batch = tuple[Tensor, Tensor, Tensor]
"""Images (B, 3, H, W) float, labels (B,), indices (B,)."""


class ImageLoader(DataLoader[Batch]):
    """A `DataLoader` whose workers' `UserError`s arrive as they were raised: one line."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            yield from super().__iter__()
            return
        except UserError as error:
            message = _without_traceback(str(error))
            # The traceback would keep the failed pass and its workers alive; workers forked later
            # would inherit them and take seconds to end.
            traceback.clear_frames(error.__traceback__)
        self._iterator = None
        raise UserError(message)


def build_datasets(
    data: DataSpec,
    augment: AugmentSpec,
    model_cfg: dict[str, Any],
    seed: int,
    class_names: Sequence[str] | None = None,
) -> tuple[ClassificationDataset, ClassificationDataset]:
    """Return the training and the validation set.

    Raises:
        UserError: As `build_dataset` does.
    """
    train = build_dataset("train", data, augment, model_cfg, seed, class_names)
    return train, build_dataset("val", data, augment, model_cfg, seed, class_names)


def build_dataset(
    split: Split,
    data: DataSpec,
    augment: AugmentSpec,
    model_cfg: dict[str, Any],
    seed: int,
    class_names: Sequence[str] | None = None,
) -> ClassificationDataset:
    """Return one split: `train` with the training transform, `val` with the evaluation's.

    Args:
        model_cfg: The model's `pretrained_cfg`: mean, std, crop and interpolation.
        seed: Seed of the augmentation.
        class_names: Classes of a checkpoint, in the order of its labels; null takes the data's.
    Raises:
        UserError: If the description is incomplete, or the data does not fit it or `class_names`.
    """
    train_transform, eval_transform = build_transforms(data, augment, model_cfg)
    transform = train_transform if split == "train" else eval_transform
    dataset: ImageFolder | SceneClassification
    if data.kind == "folder":
        if data.root is None:
            raise UserError(
                "data.kind 'folder' needs data.root, the folder that holds train/ and val/; "
                "give --data.root PATH"
            )
        dataset = ImageFolder(data.root, split, transform, seed, class_names)
    else:
        count = data.num_train if split == "train" else data.num_val
        if count < 1:
            raise UserError(f"data.num_{split} {count} gives no scenes; give 1 or more")
        dataset = SceneClassification(split, count, data.image_size, transform, seed=seed)
        if class_names is not None and list(class_names) != dataset.class_names:
            raise UserError(
                f"the scenes have the classes {', '.join(dataset.class_names)}, the checkpoint "
                f"{len(class_names)} others; give the data that the checkpoint was trained for"
            )
    found = len(dataset.class_names)
    if data.num_classes is not None and data.num_classes != found:
        raise UserError(
            f"{data.root or 'the scenes'}: {found} classes, but data.num_classes is "
            f"{data.num_classes}; correct one of them, or leave data.num_classes out"
        )
    return dataset


def build_train_loader(
    dataset: ClassificationDataset,
    data: DataSpec,
    augment: AugmentSpec,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
    start_epoch: int = 0,
    start_batch: int = 0,
) -> ImageLoader:
    """Return this process's loader of training batches, from a given batch of a given epoch on.

    `data.batch_size` images make one optimiser step, over all processes and `accumulate` batches;
    each batch here holds batch_size / (world_size * accumulate) of them. `start_batch` counts
    these batches. See `ResumableBatchSampler` for the order.

    Raises:
        UserError: If the batch does not divide evenly, or the images do not fill one.
    """
    sampler = ResumableBatchSampler(
        len(dataset),
        data.batch_size,
        seed=seed,
        repeats=augment.repeats,
        rank=rank,
        world_size=world_size,
        accumulate=accumulate,
        start_epoch=start_epoch,
        start_batch=start_batch,
    )
    return ImageLoader(
        cast(Dataset[Any], dataset),
        batch_sampler=sampler,
        num_workers=data.workers,
        persistent_workers=data.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def build_eval_loader(
    dataset: ClassificationDataset, data: DataSpec, *, rank: int = 0, world_size: int = 1
) -> ImageLoader:
    """Return this process's loader of evaluation batches: over all processes each sample once."""
    if data.eval_batch_size < 1:
        raise UserError(f"data.eval_batch_size {data.eval_batch_size}: give 1 or more")
    return ImageLoader(
        cast(Dataset[Any], dataset),
        batch_size=data.eval_batch_size,
        sampler=EvalSampler(len(dataset), rank, world_size),
        num_workers=data.workers,
        persistent_workers=data.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _without_traceback(message: str) -> str:
    """Undo what torch does to a worker's exception: its message becomes the whole traceback."""
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    return message.rpartition(name)[2].strip()
