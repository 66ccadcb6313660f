"""mIoU: equal to counting by hand and to scikit-learn, each pixel once over processes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import Tensor, nn

from mscsa.data.sampler import EvalSampler
from mscsa.evaluation.miou import measure_segmentation, scores_of
from tests.evaluation.painter import Painter
from tests.evaluation.process_groups import run_group

CPU = torch.device("cpu")
NUM_CLASSES = 5


def sample(index: int) -> tuple[Tensor, Tensor]:
    """An image of an odd size, and labels that agree with it in most places."""
    rng = np.random.default_rng(index)
    height, width = 5 + index % 3, 7 + index % 2
    truth = rng.integers(0, 4, (height, width))
    seen = np.where(rng.random((height, width)) < 0.3, rng.integers(0, 4, (height, width)), truth)
    truth[rng.random((height, width)) < 0.1] = 255
    image = torch.from_numpy(np.repeat(seen[None], 3, axis=0).astype(np.float32))
    return image, torch.from_numpy(truth.astype(np.int64))


def batches(indices: list[int], size: int = 3) -> list[tuple[list[Tensor], list[Tensor], Tensor]]:
    samples = [sample(i) for i in indices]
    return [
        (
            [image for image, _ in samples[i : i + size]],
            [labels for _, labels in samples[i : i + size]],
            torch.tensor(indices[i : i + size]),
        )
        for i in range(0, len(indices), size)
    ]


def by_hand(indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """All pixels that count: labels and predictions."""
    pairs = [(labels.numpy().ravel(), image[0].numpy().ravel()) for image, labels in map(sample, indices)]
    truth, seen = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return truth[truth != 255], seen[truth != 255].astype(int)


def test_scores_are_those_of_counting_by_hand() -> None:
    found = measure_segmentation(Painter(), batches(list(range(11))), num_classes=NUM_CLASSES, device=CPU)
    assert found is not None
    truth, seen = by_hand(list(range(11)))
    ious = [np.sum((truth == k) & (seen == k)) / np.sum((truth == k) | (seen == k)) for k in range(4)]
    assert found.class_iou[:4] == pytest.approx([100 * iou for iou in ious])
    assert found.class_iou[4] is None and found.class_accuracy[4] is None  # nowhere at all
    assert found.miou == pytest.approx(100 * np.mean(ious))
    assert found.miou == pytest.approx(100 * jaccard_score(truth, seen, average="macro"))
    matrix = confusion_matrix(truth, seen)
    assert found.pixel_accuracy == pytest.approx(100 * matrix.trace() / matrix.sum())
    assert found.mean_accuracy == pytest.approx(100 * np.mean(matrix.diagonal() / matrix.sum(axis=1)))
    assert found.num_samples == 11


def test_the_loss_is_the_mean_over_pixels() -> None:
    found = measure_segmentation(Painter(), batches([0, 1, 2, 3]), num_classes=NUM_CLASSES, device=CPU)
    losses = []
    for image, labels in map(sample, range(4)):
        logits = Painter()(image[None])
        each = nn.functional.cross_entropy(logits, labels[None], ignore_index=255, reduction="none")
        losses += each[0][labels != 255].tolist()
    assert found is not None
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_logits_are_compared_at_the_labels_size() -> None:
    image = torch.zeros(3, 8, 8)
    image[0, :, 4:] = 1
    labels = torch.zeros(16, 24, dtype=torch.long)
    labels[:, 12:] = 1
    found = measure_segmentation(
        Painter(), [([image], [labels], torch.tensor([0]))], num_classes=NUM_CLASSES, device=CPU
    )
    assert found is not None
    assert found.pixel_accuracy == 100


def _count_share(rank: int, size: int, folder: Path) -> None:
    share = list(EvalSampler(11, rank, size))
    found = measure_segmentation(
        Painter(), batches(share, 2), num_classes=NUM_CLASSES, device=CPU, with_images=True
    )
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))


def test_two_processes_count_each_pixel_once(tmp_path: Path) -> None:
    run_group(_count_share, 2, tmp_path)
    shares = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]
    whole = measure_segmentation(
        Painter(), batches(list(range(11))), num_classes=NUM_CLASSES, device=CPU, with_images=True
    )
    assert whole is not None
    assert shares[1].images is None
    for name in ("index", "ends", "cells", "pixels"):
        assert np.array_equal(getattr(shares[0].images, name), getattr(whole.images, name)), name
    assert shares[0] == shares[1]
    assert shares[0].class_iou == whole.class_iou and shares[0].num_samples == 11
    assert shares[0].miou == whole.miou


def test_each_image_has_its_own_pixels() -> None:
    """Two of one size, which are counted at once, and others: all as if measured alone."""
    found = measure_segmentation(
        Painter(), batches([6, 0, 3, 1]), num_classes=NUM_CLASSES, device=CPU, with_images=True
    )
    assert found is not None and found.images is not None
    assert found.images.index.tolist() == [0, 1, 3, 6]
    weights = np.vstack([np.eye(4, dtype=np.int64), np.ones((1, 4), np.int64)])
    alone = [
        measure_segmentation(Painter(), batches([each]), num_classes=NUM_CLASSES, device=CPU)
        for each in (0, 1, 3, 6)
    ]
    expected = [each.miou for each in (*alone, found) if each is not None]
    assert found.images.scores(weights) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_finite_is_no_hit_and_modes_are_given_back() -> None:
    class Broken(Painter):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * float("nan")

    model = nn.Sequential(Broken(), nn.Dropout(0.5))
    model[1].eval()
    found = measure_segmentation(model, batches([0, 1]), num_classes=NUM_CLASSES, device=CPU)
    assert found is not None
    assert found.pixel_accuracy == 0 and math.isnan(found.loss)
    assert [module.training for module in model] == [True, False]


def test_a_stop_gives_no_result_and_nothing_to_count_is_an_error() -> None:
    def measured(data: list[tuple[list[Tensor], list[Tensor], Tensor]], **options: object) -> object:
        return measure_segmentation(Painter(), data, num_classes=NUM_CLASSES, device=CPU, **options)  # type: ignore[arg-type]

    assert measured(batches([0, 1]), stop=lambda: True) is None
    with pytest.raises(ValueError, match="no samples"):
        measured([])
    with pytest.raises(ValueError, match="all are ignored"):
        scores_of(torch.zeros(2, 3, dtype=torch.long), 0.0, 1)
