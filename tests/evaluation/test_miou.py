"""mIoU: equal to counting by hand and to scikit-learn, each pixel once over processes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import Tensor, nn

from mscsa.data.sampler import EvalSampler
from mscsa.evaluation.miou import measure_segmentation, scores_of
from mscsa.evaluation.segmentation_inference import SegmentationInference, window_starts

CPU = torch.device("cpu")
NUM_CLASSES = 5


class Painter(nn.Module):
    """A "segmenter" that reads the class of a pixel off its red value; class 4 is never predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.arange(4.0))

    def forward(self, images: Tensor) -> Tensor:
        distance = (images[:, :1] - self.anchors[None, :, None, None]).abs()
        return torch.cat([-3 * distance, torch.full_like(distance[:, :1], -9.0)], dim=1)


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


def _count_share(rank: int, world_size: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    share = list(EvalSampler(11, rank, world_size))
    found = measure_segmentation(Painter(), batches(share, 2), num_classes=NUM_CLASSES, device=CPU)
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


def test_two_processes_count_each_pixel_once(tmp_path: Path) -> None:
    mp.spawn(_count_share, (2, str(tmp_path)), nprocs=2)
    shares = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]
    whole = measure_segmentation(Painter(), batches(list(range(11))), num_classes=NUM_CLASSES, device=CPU)
    assert whole is not None
    assert shares[0] == shares[1]
    assert shares[0].class_iou == whole.class_iou and shares[0].num_samples == 11
    assert shares[0].miou == whole.miou


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


def test_windows_cover_everything_with_full_crops() -> None:
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(3, 4, 3) == window_starts(4, 4, 3) == [0]
    for length in range(5, 40):
        starts = window_starts(length, 5, 3)
        assert sorted({p for start in starts for p in range(start, start + 5)}) == list(range(length))


def test_a_window_sees_what_the_whole_sees_where_no_pixel_needs_its_neighbours() -> None:
    image = torch.rand(1, 3, 13, 22) * 3
    whole = SegmentationInference()(Painter(), image, (13, 22))
    for crop, stride in ((8, 5), (13, 13), (50, 20)):
        slide = SegmentationInference(window="slide", crop=crop, stride=stride)
        assert torch.allclose(slide(Painter(), image, (13, 22)), whole, atol=1e-5)


def test_overlaps_are_means_of_the_windows() -> None:
    class Position(nn.Module):
        """Logits that depend on the place in the window."""

        def forward(self, images: Tensor) -> Tensor:
            ramp = torch.arange(images.shape[-1], dtype=torch.float32).expand(1, 1, images.shape[-2], -1)
            return torch.cat([ramp, torch.zeros_like(ramp)], dim=1)

    found = SegmentationInference(window="slide", crop=4, stride=3)._slide(
        Position(), torch.zeros(1, 3, 4, 7)
    )
    assert found[0, 0, 0].tolist() == [0, 1, 2, (3 + 0) / 2, 1, 2, 3]


def test_flips_and_scales_are_averaged_as_probabilities() -> None:
    image = torch.rand(1, 3, 12, 16) * 3
    whole = SegmentationInference()(Painter(), image, (12, 16))
    flipped = SegmentationInference(flip=True)(Painter(), image, (12, 16))
    assert torch.allclose(flipped, whole, atol=1e-5)  # a pixel's own colour has no direction
    found = SegmentationInference(scales=(0.5, 1.0))(Painter(), image, (12, 16))
    half = nn.functional.interpolate(image, (6, 8), mode="bilinear")
    logits = nn.functional.interpolate(Painter()(half), (12, 16), mode="bilinear")
    assert torch.allclose(found.exp(), (logits.softmax(1) + whole.exp()) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"stride": 0}, {"crop": 8, "stride": 9}, {"scales": ()}, {"scales": (0.0,)}]
)
def test_bad_options_are_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ValueError) as caught:
        SegmentationInference(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
