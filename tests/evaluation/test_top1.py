"""Counting: each sample once, exactly, in any number of processes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mscsa.data.sampler import EvalSampler
from mscsa.evaluation.scores import describe_scores, score_values
from mscsa.evaluation.top1 import Accuracy, Hits, measure_accuracy
from tests.evaluation.process_groups import run_group

CPU = torch.device("cpu")


class Lookup(nn.Module):
    """Answers with the logits of a table; the first pixel of an image is its row."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.logits[images[:, 0, 0, 0].long()]


def batches(labels: Tensor, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    indices = torch.arange(len(labels))
    images = indices.float()[:, None, None, None].expand(-1, 3, 1, 1)
    return list(zip(images.split(size), labels.split(size), indices.split(size), strict=True))


@pytest.mark.parametrize("size", [1, 4, 23, 50])
def test_top1_top5_and_loss_against_plain_counting(size: int) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(23, 9), torch.randint(9, (23,))
    found = measure_accuracy(Lookup(logits), batches(labels, size), device=CPU)
    ranks = [
        sorted(row, reverse=True).index(row[label])
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    losses = [
        math.log(sum(math.exp(v) for v in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert found is not None
    assert found.num_samples == 23
    assert found.top1 == pytest.approx(100 * sum(rank < 1 for rank in ranks) / 23)
    assert found.top5 == pytest.approx(100 * sum(rank < 5 for rank in ranks) / 23)
    assert found.loss == pytest.approx(sum(losses) / 23, rel=1e-6)


def test_hits_by_image_and_the_accuracy_of_samples_of_them() -> None:
    logits, labels = torch.eye(4), torch.tensor([0, 1, 3, 3])
    found = measure_accuracy(Lookup(logits), batches(labels, 3), device=CPU, with_images=True)
    assert found is not None and found.images is not None
    assert found.images.index.tolist() == [0, 1, 2, 3]
    assert found.images.hits.tolist() == [True, True, False, True]
    assert (truth := found.images.truth()) is not None and truth.tolist() == [[0], [1], [3], [3]]
    weights = np.array([[1, 1, 1, 1], [0, 0, 4, 0], [2, 0, 1, 1]])
    assert found.images.scores(weights).tolist() == [found.top1, 0.0, 75.0]
    bare = measure_accuracy(Lookup(logits), batches(labels, 3), device=CPU)
    assert bare is not None and bare.images is None


def _hit_share(rank: int, size: int, folder: Path) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(11, 3), torch.randint(3, (11,))
    whole = batches(labels, 1)
    share = [whole[i] for i in EvalSampler(11, rank, size)]
    found = measure_accuracy(Lookup(logits), share, device=CPU, with_images=True, with_confusion=True)
    (folder / f"{size}-{rank}.pickle").write_bytes(pickle.dumps(found))


@pytest.mark.slow
def test_two_processes_bring_their_images_to_the_first(tmp_path: Path) -> None:
    for size in (1, 2):
        run_group(_hit_share, size, tmp_path)
    one, first, second = (
        pickle.loads((tmp_path / f"{name}.pickle").read_bytes()) for name in ("1-0", "2-0", "2-1")
    )
    assert (one.top1, one.num_samples) == (first.top1, first.num_samples) == (second.top1, 11)
    assert second.images is None
    assert one.confusion.sum() == 11
    assert one.confusion.tolist() == first.confusion.tolist() == second.confusion.tolist()
    assert isinstance(first.images, Hits)
    assert first.images.index.tolist() == list(range(11))
    assert first.images.hits.tolist() == one.images.hits.tolist()
    assert 0 < sum(one.images.hits) < 11


def test_there_is_no_top5_of_five_classes_or_fewer() -> None:
    logits = torch.eye(5)
    found = measure_accuracy(Lookup(logits), batches(torch.tensor([0, 1, 0]), 2), device=CPU)
    assert found is not None
    assert (found.top1, found.top5) == (pytest.approx(200 / 3), None)
    assert "top-5" not in describe_scores(found)


def test_each_class_and_what_it_is_taken_for() -> None:
    """Rows of the matrix are labels; logits that are not finite are right for no class."""
    nan = torch.full((1, 4), float("nan"))
    logits = torch.cat([torch.eye(4)[[0, 0, 1, 1, 1, 2, 0]], nan])
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    found = measure_accuracy(Lookup(logits), batches(labels, 3), device=CPU, with_confusion=True)
    assert found is not None and found.confusion is not None
    assert found.confusion.tolist() == [[2, 1, 0, 0, 0], [0, 2, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert [each.num_samples for each in found.by_class()] == [3, 3, 2, 0]
    thirds = pytest.approx(200 / 3)
    assert [each.recall for each in found.by_class()] == [thirds, thirds, 0.0, None]
    assert [each.precision for each in found.by_class()] == [thirds, thirds, 0.0, None]
    assert [each.taken_for for each in found.by_class()] == [(1, 1), (2, 1), (0, 1), None]
    assert "confusion" not in score_values(found)
    bare = measure_accuracy(Lookup(logits), batches(labels, 3), device=CPU)
    assert bare is not None and bare.confusion is None


def test_a_nan_is_never_a_hit() -> None:
    logits = torch.full((4, 6), float("nan"))
    found = measure_accuracy(Lookup(logits), batches(torch.tensor([0, 1, 2, 5]), 4), device=CPU)
    assert found is not None
    assert (found.top1, found.top5) == (0.0, 0.0)
    assert math.isnan(found.loss)


def test_modes_of_all_modules_are_given_back() -> None:
    model = nn.Sequential(Lookup(torch.eye(4)), nn.Dropout(0.9), nn.BatchNorm1d(4))
    model[2].eval()
    modes = [module.training for module in model.modules()]
    found = measure_accuracy(model, batches(torch.tensor([0, 1, 2, 3]), 2), device=CPU)
    assert found is not None
    assert found.top1 == 100.0  # no dropout
    assert [module.training for module in model.modules()] == modes


def test_a_stop_gives_no_result_and_reads_no_further() -> None:
    seen = []
    data = (seen.append(1) or batch for batch in batches(torch.zeros(6, dtype=torch.long), 2))  # type: ignore[func-returns-value]
    found = measure_accuracy(Lookup(torch.eye(6)), data, device=CPU, stop=lambda: len(seen) == 2)
    assert found is None
    assert len(seen) == 2


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples to evaluate"):
        measure_accuracy(Lookup(torch.eye(2)), [], device=CPU)


def test_autocast_runs_the_model_in_bf16() -> None:
    class Noting(nn.Linear):
        dtypes: set[torch.dtype] = set()

        def forward(self, x: Tensor) -> Tensor:
            answer = super().forward(x.flatten(1))
            self.dtypes.add(answer.dtype)
            return answer

    labels = torch.tensor([0, 1])
    for precision, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        model = Noting(3, 2)
        model.dtypes = set()
        found = measure_accuracy(model, batches(labels, 2), device=CPU, precision=precision)
        assert isinstance(found, Accuracy)
        assert model.dtypes == {dtype}
