"""Images with label maps: layouts, joint transforms, what is wrong with a data set."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.data import SampleKey, build_dataset, check_dataset, class_names_of
from mscsa.data.segmentation_transforms import IGNORED, resized_size
from mscsa.errors import UserError
from mscsa.recipes.spec import SegmentationAugment, SegmentationData

CFG = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
NAMES = ("sky", "road", "car")
PLAIN = SegmentationAugment(scale=(1.0, 1.0), max_class_share=1.0, photometric=False, hflip=0.0)


def labels_of(index: int, height: int = 40, width: int = 60) -> np.ndarray:
    """Blocks of 10 px: sky, road, car and ignored pixels."""
    rng = np.random.default_rng(index)
    blocks = rng.choice([0, 1, 2, IGNORED], (height // 10, width // 10), p=[0.4, 0.3, 0.2, 0.1])
    return np.kron(blocks, np.ones((10, 10))).astype(np.uint8)


def write_pair(images: Path, labels: Path, name: str, classes: np.ndarray, offset: int = 0) -> None:
    """An image whose grey value is 60 times the label, 240 where ignored."""
    grey = np.where(classes == IGNORED, 240, classes.astype(int) * 60).astype(np.uint8)
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(images / f"{name}.png")
    Image.fromarray((classes + np.uint8(offset)).astype(np.uint8)).save(labels / f"{name}.png")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    root = tmp_path / "masks"
    for start, split in ((0, "train"), (10, "val")):
        for i in range(4):
            folders = (root / "images" / split, root / "labels" / split)
            write_pair(*folders, f"im{i}", labels_of(start + i))
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return root


def spec(root: Path, **fields: object) -> SegmentationData:
    known = {"kind": "masks", "root": str(root), "image_size": 32, "short_side": 40, "long_side": 80}
    return SegmentationData(**{**known, **fields})  # type: ignore[arg-type]


def assert_aligned(image: torch.Tensor, labels: torch.Tensor) -> None:
    """The grey value tells the label, except beside an edge, where resizing mixes them."""
    grey = (image[0] * 255).round()
    expected = torch.where(labels == IGNORED, 240, labels * 60)
    expected = torch.where((labels == IGNORED) & (grey == 0), 0, expected)  # padding
    assert (grey - expected).abs().le(30).float().mean() > 0.85


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_image_and_labels_stay_together(masks: Path, scale: tuple[float, float]) -> None:
    augment = replace(PLAIN, scale=scale, hflip=0.5, max_class_share=0.75)
    dataset = build_dataset("train", spec(masks), augment, CFG, seed=0)
    assert dataset.class_names == list(NAMES) == class_names_of(spec(masks))
    drawn = [dataset[SampleKey(epoch, i, i % 4)] for epoch in range(3) for i in range(8)]
    for image, labels, _ in drawn:
        assert (image.shape, labels.shape) == ((3, 32, 32), (32, 32))
        assert (image.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert set(labels.unique().tolist()) <= {0, 1, 2, IGNORED}
        assert_aligned(image, labels)
    images, labels, indices = dataset.collate(drawn[:4])
    assert (images.shape, labels.shape, indices.tolist()) == ((4, 3, 32, 32), (4, 32, 32), [0, 1, 2, 3])
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(drawn[:4], drawn[4:8], strict=True))


def test_a_sample_depends_on_its_key_alone(masks: Path) -> None:
    augment = SegmentationAugment()
    first, second = (build_dataset("train", spec(masks), augment, CFG, seed=3) for _ in range(2))
    second[SampleKey(0, 0, 1)]
    torch.manual_seed(5)
    for key in (SampleKey(2, 7, 1), 1):
        for a, b in zip(first[key][:2], second[key][:2], strict=True):
            assert torch.equal(a, b)
    other = build_dataset("train", spec(masks), augment, CFG, seed=4)
    assert not torch.equal(other[SampleKey(2, 7, 1)][0], first[SampleKey(2, 7, 1)][0])


def test_evaluation_keeps_the_labels_at_their_size(masks: Path) -> None:
    dataset = build_dataset("val", spec(masks, short_side=20), PLAIN, CFG, seed=0)
    image, labels, index = dataset[2]
    assert (image.shape, labels.shape, index) == ((3, 20, 30), (40, 60), 2)
    assert np.array_equal(labels.numpy(), labels_of(12))
    images, targets, indices = dataset.collate([dataset[0], dataset[1]])
    assert isinstance(images, list) and isinstance(targets, list) and indices.tolist() == [0, 1]
    assert dataset.describe(0).endswith("im0.png")


def test_resizing_keeps_the_ratio_within_both_limits() -> None:
    assert resized_size((640, 480), 512, 2048) == (683, 512)
    assert resized_size((4000, 500), 512, 2048) == (2048, 256)
    assert resized_size((640, 480), 512, 2048, 0.5) == (341, 256)


def test_a_crop_of_one_class_is_drawn_again(tmp_path: Path) -> None:
    """Left half sky, a strip of the two others: most crops are nearly all sky."""
    classes = np.zeros((64, 128), np.uint8)
    classes[:, 100:110], classes[:, 110:] = 1, 2
    for split in ("train", "val"):
        folders = (tmp_path / "images" / split, tmp_path / "labels" / split)
        write_pair(*folders, "a", classes)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    data = spec(tmp_path, short_side=64, long_side=128)

    def share_of_one_class(limit: float) -> float:
        dataset = build_dataset("train", data, replace(PLAIN, max_class_share=limit), CFG, seed=0)
        crops = [dataset[SampleKey(0, i, 0)][1] for i in range(40)]
        return sum((crop == 0).float().mean().item() > 0.75 for crop in crops) / len(crops)

    assert share_of_one_class(1.0) > 0.6
    assert share_of_one_class(0.75) < 0.2


def test_photometric_distortion_changes_colours_alone(masks: Path) -> None:
    plain, changed = (
        build_dataset("train", spec(masks), replace(PLAIN, photometric=on), CFG, seed=0)
        for on in (False, True)
    )
    pairs = [(plain[SampleKey(0, i, i % 4)], changed[SampleKey(0, i, i % 4)]) for i in range(12)]
    assert all(torch.equal(a[1], b[1]) for a, b in pairs)
    assert sum(not torch.equal(a[0], b[0]) for a, b in pairs) > 6
    assert all(b[0].min() >= 0 and b[0].max() <= 1 for _, b in pairs)


def test_ade20k_ignores_zero(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        folders = (tmp_path / "images" / split, tmp_path / "annotations" / split)
        write_pair(*folders, "ADE_1", labels_of(0), offset=1)  # 255 + 1 wraps to 0
    data = spec(tmp_path, kind="ade20k", num_classes=150)
    dataset = build_dataset("val", data, PLAIN, CFG, seed=0)
    assert np.array_equal(dataset[0][1].numpy(), labels_of(0))
    assert dataset.class_names[:2] == ["class 1", "class 2"]
    rows = "\n".join(
        f"{i}\t0.1\t1\t1\tscreen, crt" if i > 148 else f"{i}\t0.1\t1\t1\tthing{i}, x" for i in range(1, 151)
    )
    (tmp_path / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tName\n{rows}\n")
    assert class_names_of(data)[:1] == ["thing1"]
    assert class_names_of(data)[148:] == ["screen (149)", "screen (150)"]
    assert "class 'thing150'" not in str(check_dataset(tmp_path))
    assert len(check_dataset(tmp_path)) == 147 + 1  # classes without a pixel, and the image in both splits


def test_scenes_have_a_background_and_ten_digits() -> None:
    data = SegmentationData(kind="scenes", image_size=48, short_side=48, long_side=48, num_train=3, num_val=2)
    dataset = build_dataset("train", data, PLAIN, CFG, seed=0)
    image, labels, _ = dataset[SampleKey(0, 0, 1)]
    assert (image.shape, labels.shape, len(dataset)) == ((3, 48, 48), (48, 48), 3)
    assert dataset.class_names == class_names_of(data) == ["background", *"0123456789"]
    assert 0 in labels and labels.max() > 0
    with pytest.raises(IndexError):
        dataset[3]


def spoil_value(root: Path) -> None:
    labels = np.array(Image.open(root / "labels/train/im1.png"))
    labels[7, 5] = 9
    Image.fromarray(labels).save(root / "labels/train/im1.png")


def spoil_size(root: Path) -> None:
    Image.fromarray(labels_of(0)[:30]).save(root / "labels/train/im1.png")


def spoil_colours(root: Path) -> None:
    Image.open(root / "labels/train/im1.png").convert("RGB").save(root / "labels/train/im1.png")


def spoil_bytes(root: Path) -> None:
    path = root / "labels/train/im1.png"
    path.write_bytes(path.read_bytes()[:60])


def spoil_image(root: Path) -> None:
    (root / "images/train/im1.png").write_bytes(b"no image")


def drop_labels(root: Path) -> None:
    (root / "labels/train/im1.png").unlink()


def drop_image(root: Path) -> None:
    (root / "images/train/im1.png").unlink()


def share_image(root: Path) -> None:
    (root / "images/val/im1.png").write_bytes((root / "images/train/im2.png").read_bytes())


def add_class(root: Path) -> None:
    (root / "classes.txt").write_text("\n".join([*NAMES, "tree"]))


@pytest.mark.parametrize(
    ("spoil", "path", "what"),
    [
        (spoil_value, "labels/train/im1.png", r"label 9 at pixel x=5, y=7 \(1 such pixels\), of 3"),
        (spoil_size, "labels/train/im1.png", "60x30 px, its image has 60x40"),
        (spoil_colours, "labels/train/im1.png", "mode RGB: colours"),
        (spoil_bytes, "labels/train/im1.png", "damaged or truncated|truncated"),
        (spoil_image, "images/train/im1.png", "not an image"),
        (drop_labels, "images/train/im1.png", "no partner"),
        (drop_image, "labels/train/im1.png", "no partner"),
        (share_image, "images/val/im1.png", "same content"),
        (add_class, "", "class 'tree' has no pixel in train"),
    ],
)
def test_what_is_wrong_is_found(masks: Path, spoil: Callable[[Path], None], path: str, what: str) -> None:
    assert check_dataset(masks) == []
    spoil(masks)
    problems = check_dataset(masks)
    assert len(problems) == 1, problems
    assert problems[0].path == str(masks / path)
    with pytest.raises(
        AssertionError if spoil in (share_image, add_class) else UserError, match="."
    ) as caught:
        dataset = build_dataset("train", spec(masks), PLAIN, CFG, seed=0)
        for i in range(len(dataset)):
            dataset[i]
        raise AssertionError("training does not mind")
    assert "\n" not in str(caught.value)

    assert re.search(what, problems[0].what)


def test_a_folder_that_is_none_is_one_line(masks: Path, tmp_path: Path) -> None:
    cases = [
        (lambda: class_names_of(spec(tmp_path)), "classes.txt cannot be read: write the names"),
        (lambda: class_names_of(replace(spec(masks), root=None)), "needs data.root"),
        (lambda: check_dataset(tmp_path / "nowhere"), "is not a folder"),
        (
            lambda: build_dataset("val", spec(masks), PLAIN, CFG, 0, ["sky", "road", "bus"]),
            "has the classes sky, road, car, the checkpoint sky, road, bus",
        ),
        (
            lambda: build_dataset("val", spec(masks, num_classes=11), PLAIN, CFG, 0),
            "3 classes, but data.num_classes is 11",
        ),
    ]
    for call, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    (masks / "classes.txt").write_text("sky\nsky\ncar\n")
    with pytest.raises(UserError, match="names 'sky' twice"):
        class_names_of(spec(masks))
