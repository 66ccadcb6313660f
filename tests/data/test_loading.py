"""Loaders: the same tensors for any worker, process and start, and errors that stay one line."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mscsa.data import loading
from mscsa.data.datasets import build_dataset
from mscsa.data.loading import build_eval_loader, build_train_loader, too_many_workers
from mscsa.data.sampler import ResumableBatchSampler
from mscsa.errors import UserError
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    DetectionAugment,
    DetectionData,
    SegmentationAugment,
)
from tests.data.coco.coco_folder import write_coco
from tests.data.label_maps.label_map_folder import spec, write_label_maps

SCENES = ClassificationData(
    kind="scenes", image_size=32, batch_size=8, eval_batch_size=6, workers=0, num_train=44, num_val=15
)
AUGMENT = ClassificationAugment(repeats=2)  # everything else on: crop, flip, RandAugment, erasing


def folder_spec(folder, **changes):
    spec = ClassificationData(kind="folder", root=str(folder), image_size=32, batch_size=4, workers=0)
    return replace(spec, eval_batch_size=4, **changes)


def train_loader(data=SCENES, *, seed=0, repeats=AUGMENT.repeats, **order):
    dataset = build_dataset("train", data, AUGMENT, {}, seed)
    sampler = ResumableBatchSampler(len(dataset), data.batch_size, seed=seed, repeats=repeats, **order)
    return build_train_loader(dataset, sampler, workers=data.workers)


def train_epochs(count, data=SCENES, **order):
    loader = train_loader(data, **order)
    return [list(loader) for _ in range(count)]


def assert_equal(first, second):
    assert len(first) == len(second)
    for batch, other in zip(first, second, strict=True):
        for tensor, expected in zip(batch, other, strict=True):
            assert torch.equal(tensor, expected)


def test_more_workers_than_cores_are_said_once_and_not_by_torch(monkeypatch):
    monkeypatch.setattr(loading, "num_cores", lambda: 4)
    assert too_many_workers(4) is None and too_many_workers(1, 4) is None
    assert (
        too_many_workers(5) == "data.workers 5 are more than the 4 cores of this machine: fewer may be faster"
    )
    assert "data.workers 2 in each of 3 processes are more" in too_many_workers(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = train_loader(replace(SCENES, workers=5))
        next(iter(loader))


def test_a_loader_counts_what_its_reader_waits_and_nothing_else(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loading.time, "monotonic", lambda: now[0])
    loader = train_loader()
    read = loader.collate_fn

    def slow(samples):
        now[0] += 3.0
        return read(samples)

    loader.collate_fn = slow
    for _ in range(2):
        for _ in loader:
            now[0] += 10.0  # a training step
    assert loader.waited_s == 2 * len(loader) * 3.0


@pytest.mark.parametrize("kind", ["scenes", "folder"])
def test_workers_do_not_change_a_single_value(kind, folder):
    data = SCENES if kind == "scenes" else folder_spec(folder)
    alone = train_epochs(2, data)
    torch.manual_seed(99)
    for epoch, expected in zip(train_epochs(2, replace(data, workers=2)), alone, strict=True):
        assert_equal(epoch, expected)
    assert not torch.equal(alone[0][0][0], alone[1][0][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_in_mid_epoch_gives_the_tail_and_the_next_epoch(workers):
    data = replace(SCENES, workers=workers)
    full = train_epochs(3)
    resumed = train_epochs(2, data, start_epoch=1, start_batch=3)
    assert_equal(resumed[0], full[1][3:])
    assert_equal(resumed[1], full[2])


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 4), (2, 2)])
def test_any_split_over_processes_and_steps_gives_the_same_images(world_size, accumulate):
    (alone,) = train_epochs(1)
    ranks = [
        train_epochs(1, rank=rank, world_size=world_size, accumulate=accumulate)[0]
        for rank in range(world_size)
    ]
    for step, (images, _, indices) in enumerate(alone):
        parts = [b for rank in ranks for b in rank[step * accumulate : (step + 1) * accumulate]]
        assert torch.equal(torch.cat([part[2] for part in parts]).sort()[0], indices.sort()[0])
        together = {image.numpy().tobytes() for part in parts for image in part[0]}
        assert together == {image.numpy().tobytes() for image in images}


def test_repeats_of_an_image_are_augmented_differently():
    for images, labels, indices in train_epochs(1)[0]:
        assert torch.equal(indices[0::2], indices[1::2])
        assert torch.equal(labels[0::2], labels[1::2])
        for first, second in zip(images[0::2], images[1::2], strict=True):
            assert not torch.equal(first, second)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_each_sample_once(world_size, workers):
    data = replace(SCENES, workers=workers)
    dataset = build_dataset("val", data, AUGMENT, {}, seed=0)
    seen = []
    for rank in range(world_size):
        loader = build_eval_loader(dataset, data, rank=rank, world_size=world_size)
        for images, labels, indices in loader:
            assert len(images) == len(labels) <= 6
            seen += indices.tolist()
    assert sorted(seen) == list(range(15))


def test_a_persistent_loader_can_be_left_in_mid_epoch():
    loader = train_loader(replace(SCENES, workers=2))
    next(iter(loader))
    (_, expected) = train_epochs(2)
    assert_equal(list(loader), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_stays_one_line_through_a_worker(folder, workers):
    path = folder / "train" / "bee" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    loader = train_loader(folder_spec(folder, workers=workers), repeats=1)
    with pytest.raises(UserError) as caught:
        list(loader)
    line = str(caught.value)
    assert line.startswith(f"{path}: damaged or truncated image")
    assert "\n" not in line and "Traceback" not in line


def test_workers_and_pinning():
    dataset = build_dataset("val", SCENES, AUGMENT, {}, 0)
    for workers in (0, 2):
        data = replace(SCENES, workers=workers)
        training, evaluation = train_loader(data), build_eval_loader(dataset, data)
        # Those of an evaluation end with it: they would wait through the next epoch.
        assert training.persistent_workers == (workers > 0) and not evaluation.persistent_workers
        for loader in (training, evaluation):
            assert loader.num_workers == workers
            assert loader.pin_memory == torch.cuda.is_available()


def any_dataset(kind: str, root: Path, images: Path) -> tuple[Any, Any]:
    """A training set of each layout, with all that is drawn at random, and its description."""
    if kind == "classes":
        data: Any = folder_spec(images)
        return build_dataset("train", data, AUGMENT, {}, 0), data
    if kind == "objects":
        data = DetectionData(kind="coco", root=str(write_coco(root)), short_side=64, long_side=100)
        augment = DetectionAugment(short_sides=(48, 64), crop_sides=(20, 40), crop_short_sides=(50,))
        return build_dataset("train", data, augment, {}, 0, with_masks=True), data
    if kind == "scenes":
        data = DetectionData(kind="scenes", short_side=64, long_side=64, num_train=4)
        return build_dataset("train", data, DetectionAugment(), {}, 0, with_masks=True), data
    data = spec(write_label_maps(root))
    return build_dataset("train", data, SegmentationAugment(), {}, 0), data


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param("classes", "spawn", marks=pytest.mark.slow),
        pytest.param("scenes", "spawn", marks=pytest.mark.slow),
        pytest.param("maps", "spawn", marks=pytest.mark.slow),
        ("objects", "forkserver"),
    ],
)
def test_workers_need_not_be_forked(kind: str, method: str, tmp_path: Path, folder: Path) -> None:
    """Elsewhere than on Linux, and there from Python 3.14 on, a worker gets its data set as bytes."""
    dataset, _ = any_dataset(kind, tmp_path / "set", folder)
    loaders = []
    for workers in (0, 1):
        sampler = ResumableBatchSampler(len(dataset), 2, seed=0)
        loaders.append(build_train_loader(dataset, sampler, workers=workers))
    loaders[1].multiprocessing_context = method
    alone, by_worker = (list(each) for each in loaders)
    assert len(alone) == len(by_worker) > 0
    for one, other in zip(alone, by_worker, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
        assert one[2].tolist() == other[2].tolist()
