"""The matching and the loss of Deformable DETR against transformers' own and a search over all pairings."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss

from mscsa.detection.set_loss import Objects, count_objects, match, set_losses


def predictions(count: int = 2, queries: int = 7, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, queries, classes, generator=generator, dtype=torch.float64)
    boxes = 0.1 + 0.4 * torch.rand(count, queries, 4, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), boxes.requires_grad_()


def objects(*counts: int) -> list[Objects]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randint(0, 4, (count,), generator=generator),
            0.1 + 0.4 * torch.rand(count, 4, generator=generator, dtype=torch.float64),
        )
        for count in counts
    ]


@pytest.mark.parametrize("counts", [(3, 2), (4, 0), (9, 1)], ids=str)
def test_equal_to_transformers(counts: tuple[int, int]) -> None:
    """With the paper's weights: 2, 5, 2 in the matching and in the loss; more objects than queries too."""
    logits, boxes = predictions()
    given = objects(*counts)
    ours = set_losses(logits, boxes, given, count_objects(given))
    criterion = DeformableDetrImageLoss(
        DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2), 4, 0.25, ["labels", "boxes"]
    )
    theirs = criterion(
        {"logits": logits, "pred_boxes": boxes},
        [{"class_labels": labels, "boxes": known} for labels, known in given],
    )
    for name, weight in (("loss_ce", 2), ("loss_bbox", 5), ("loss_giou", 2)):
        assert theirs[name] > 0
        assert torch.allclose(ours[name], weight * theirs[name], rtol=1e-9), name
    gradients = [
        torch.autograd.grad(total, (logits, boxes))
        for total in (
            sum(ours.values()),
            2 * theirs["loss_ce"] + 5 * theirs["loss_bbox"] + 2 * theirs["loss_giou"],
        )
    ]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_the_matching_is_the_cheapest() -> None:
    """Among all 210 ways to give 3 objects one of 7 predictions each."""
    logits, boxes = predictions(1)
    ((labels, known),) = objects(3)

    def cost(query: int, index: int) -> float:
        p = logits[0, query, labels[index]].sigmoid().item()
        focal = 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)
        (cx, cy, w, h), (dx, dy, v, g) = boxes[0, query].tolist(), known[index].tolist()
        distance = abs(cx - dx) + abs(cy - dy) + abs(w - v) + abs(h - g)
        left, right = (cx - w / 2, dx - v / 2), (cx + w / 2, dx + v / 2)
        top, bottom = (cy - h / 2, dy - g / 2), (cy + h / 2, dy + g / 2)
        both = max(0.0, min(right) - max(left)) * max(0.0, min(bottom) - max(top))
        hull = (max(right) - min(left)) * (max(bottom) - min(top))
        union = w * h + v * g - both
        return 2 * focal + 5 * distance - 2 * (both / union - (hull - union) / hull)

    best = min(itertools.permutations(range(7), 3), key=lambda q: sum(cost(q[i], i) for i in range(3)))
    query, index = match(logits[0], boxes[0], labels, known)
    assert sorted(zip(index.tolist(), query.tolist(), strict=True)) == list(enumerate(best))


def test_without_objects_only_the_classes_count() -> None:
    logits, boxes = predictions()
    given = objects(0, 0)
    assert count_objects(given) == 0
    losses = set_losses(logits, boxes, given, count_objects(given))
    assert losses["loss_ce"] > 0 and losses["loss_bbox"] == 0 and losses["loss_giou"] == 0
    of_logits, of_boxes = torch.autograd.grad(sum(losses.values()), (logits, boxes))
    assert of_logits.abs().min() > 0 and not of_boxes.any()


def test_the_focal_loss_is_divided_by_the_objects_not_the_queries() -> None:
    logits, boxes = predictions()
    given = objects(3, 2)
    assert count_objects(given) == 5
    five, one = (set_losses(logits, boxes, given, torch.tensor(count)) for count in (5.0, 1.0))
    assert all(torch.allclose(5 * five[name], one[name]) for name in one)


def test_a_prediction_that_is_no_number_comes_through() -> None:
    """The run stops at a loss that is not finite and says where; an error from the matching would hide it."""
    logits, boxes = predictions()
    broken = boxes.detach().clone()
    broken[0] = math.nan
    given = objects(3, 2)
    losses = set_losses(logits, broken, given, count_objects(given))
    assert losses["loss_bbox"].isnan() and losses["loss_ce"].isfinite()


COUNT = """
import sys, torch, torch.distributed as dist
from mscsa.detection.set_loss import count_objects
rank, path = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
objects = [(torch.zeros(n, dtype=torch.int64), torch.zeros(n, 4)) for n in ((5, 2), (0, 0))[rank]]
assert count_objects(objects) == 3.5, count_objects(objects)
dist.destroy_process_group()
"""


@pytest.mark.long
def test_processes_divide_by_the_same_number(tmp_path: Path) -> None:
    """So that the mean of their gradients is that of one process with all images."""
    command = [sys.executable, "-c", COUNT]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meet")], env=environment) for rank in (0, 1)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]


def test_a_process_asks_the_others_for_their_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(dist, "all_reduce", lambda count: count.add_(9))
    assert count_objects(objects(3, 2)) == (5 + 9) / 4
    assert count_objects(objects(0, 0)) == 9 / 4
