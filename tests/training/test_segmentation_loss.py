"""Losses of segmentation: against torch's own and written-out formulas, and the same for any number of
processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mscsa.data.contract import IGNORED
from mscsa.errors import UserError
from mscsa.training.segmentation_loss import SegmentationLoss
from tests.evaluation.process_groups import run_group
from tests.training.processes import CONTEXT

K = 4
WEIGHTS = (0.5, 1.0, 2.0, 0.0)
ALL = {"cross_entropy": 0.7, "dice": 1.5, "focal_gamma": 2.0, "class_weights": WEIGHTS}


def case(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Four images whose shares of ignored pixels, and classes, differ; the last is ignored wholly."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, K, 6, 7, generator=generator, dtype=dtype)
    labels = torch.randint(K, (4, 6, 7), generator=generator)
    labels[0, :4], labels[2], labels[3] = IGNORED, 1, IGNORED
    labels[2, 0, 0] = IGNORED
    return logits, labels


def test_cross_entropy_with_weights_is_torchs() -> None:
    logits, labels = case()
    for weights in (None, WEIGHTS):
        found = SegmentationLoss(class_weights=weights)(logits, labels)
        of_class = None if weights is None else torch.tensor(weights)
        expected = F.cross_entropy(logits, labels, weight=of_class, ignore_index=IGNORED)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_and_dice_are_their_formulas() -> None:
    logits, labels = case()
    p = logits.softmax(dim=1)
    sums = torch.zeros(4, dtype=torch.float64)  # focal and its weights, Dice and its weights
    for image in range(4):
        there = labels[image] != IGNORED
        for label, weight in enumerate(WEIGHTS):
            true = labels[image] == label
            own = p[image, label]
            sums[0] += weight * (-((1 - own) ** 2) * own.log())[true].sum().double()
            sums[1] += weight * true.sum()
            if true.any():
                sums[2] += weight * (1 - 2 * own[true].sum() / (own[there].sum() + true.sum()))
                sums[3] += weight
    focal = SegmentationLoss(focal_gamma=2.0, class_weights=WEIGHTS)(logits, labels)
    dice = SegmentationLoss(cross_entropy=0.0, dice=1.0, class_weights=WEIGHTS)(logits, labels)
    assert focal.item() == pytest.approx((sums[0] / sums[1]).item(), rel=1e-5)
    assert dice.item() == pytest.approx((sums[2] / sums[3]).item(), rel=1e-5)
    both = SegmentationLoss(**ALL)(logits, labels)  # type: ignore[arg-type]
    assert both.item() == pytest.approx((0.7 * focal + 1.5 * dice).item(), rel=1e-6)


def test_ignored_pixels_change_nothing() -> None:
    logits, labels = case()
    logits.requires_grad_()
    loss = SegmentationLoss(**ALL)  # type: ignore[arg-type]
    loss(logits, labels).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    ignored = (labels == IGNORED)[:, None].expand_as(logits)
    assert not logits.grad[ignored].any() and logits.grad[~ignored].any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_sure_answer_and_a_batch_without_labels_have_gradients(gamma: float) -> None:
    for labels in (torch.zeros(1, 2, 2, dtype=torch.long), torch.full((1, 2, 2), IGNORED)):
        logits = torch.tensor([200.0, 0, 0, 0])[None, :, None, None].repeat(1, 1, 2, 2).requires_grad_()
        loss = SegmentationLoss(dice=1.0, focal_gamma=gamma)(logits, labels)
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
        assert logits.grad is not None and logits.grad.isfinite().all()


def share(rank: int, size: int, folder: Path) -> None:
    logits, labels = case(torch.float64)
    own = logits[rank::size].clone().requires_grad_()
    loss = SegmentationLoss(**ALL)(own, labels[rank::size])  # type: ignore[arg-type]
    loss.backward()
    torch.save({"loss": loss.detach(), "grad": own.grad}, folder / f"{rank}.pt")


def test_two_processes_step_as_one(tmp_path: Path) -> None:
    """Their shares of ignored pixels differ; the mean over the processes, which DDP takes, is the whole's."""
    logits, labels = case(torch.float64)
    logits.requires_grad_()
    loss = SegmentationLoss(**ALL)(logits, labels)  # type: ignore[arg-type]
    loss.backward()
    run_group(share, 2, tmp_path, start_method=CONTEXT.get_start_method())
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    mean = torch.stack([each["loss"] for each in found]).mean()
    assert mean.item() == pytest.approx(loss.item(), rel=1e-12)
    assert logits.grad is not None
    for rank, each in enumerate(found):
        torch.testing.assert_close(each["grad"] / 2, logits.grad[rank::2], rtol=1e-9, atol=1e-15)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"dise": 1.0}, "model.loss has no field 'dise': did you mean dice"),
    ({"dice": -1.0}, "model.loss.dice -1.0 given: give a number from 0 on"),
    ({"dice": 10**400}, "model.loss.dice 10+ given: give a number from 0 on"),
    ({"focal_gamma": "2"}, "model.loss.focal_gamma '2' given"),
    ({"class_weights": [1.0, 2.0]}, "has 2 numbers, the data 4 classes"),
    ({"class_weights": 3}, "class_weights 3 given: give a list"),
    ({"class_weights": [0, 0, 0, 0]}, "give a list of numbers from 0 on"),
    ({"cross_entropy": 0}, "cross_entropy 0 and dice 0: give one of them more than 0"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_is_not_possible_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SegmentationLoss.of(options, K)


def test_what_a_recipe_says_is_taken() -> None:
    assert SegmentationLoss.of({}, K) == SegmentationLoss()
    found = SegmentationLoss.of({"dice": 1, "class_weights": [1, 2, 3, 4]}, K)
    assert found == SegmentationLoss(dice=1, class_weights=(1.0, 2.0, 3.0, 4.0))
