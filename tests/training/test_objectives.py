"""What a step minimises: losses and mixing as the augmentation implies, means over what counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from mscsa.data.contract import IGNORED
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import ClassificationAugment
from mscsa.training.module import seed_generators
from mscsa.training.objectives import (
    ClassificationObjective,
    DetectionObjective,
    SegmentationObjective,
    build_criterion,
    build_mixup,
    build_objective,
)

OFF = ClassificationAugment(mixup=0.0, cutmix=0.0, label_smoothing=0.0)


def test_the_loss_is_what_the_augmentation_implies() -> None:
    off = ClassificationAugment(mixup=0.0, cutmix=0.0, label_smoothing=0.0)
    assert isinstance(build_criterion(ClassificationAugment()), SoftTargetCrossEntropy)
    assert isinstance(build_criterion(off), nn.CrossEntropyLoss)
    smoothed = build_criterion(replace(off, label_smoothing=0.2))
    assert isinstance(smoothed, LabelSmoothingCrossEntropy)
    assert smoothed.smoothing == pytest.approx(0.2)
    never = ClassificationAugment(mix_prob=0.0, label_smoothing=0.0)
    assert build_mixup(off, 10) is None
    assert build_mixup(never, 10) is None
    assert isinstance(build_criterion(never), nn.CrossEntropyLoss)
    assert isinstance(build_criterion(replace(off, cutmix=1.0)), SoftTargetCrossEntropy)


def test_mixing_gives_distributions_and_mixes_pairs() -> None:
    seed_generators(0)
    mixup = build_mixup(ClassificationAugment(cutmix=0.0, label_smoothing=0.1), 4)
    assert mixup is not None
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 2, 2).clone()
    mixed, targets = mixup(images.clone(), torch.arange(4))
    assert torch.allclose(targets.sum(1), torch.ones(4))
    share = (mixed[0, 0, 0, 0] / 3).item()  # of image 3 in image 0
    assert 0 < share < 1
    assert targets[0, 3].item() == pytest.approx(share * 0.9 + 0.025, abs=1e-6)


def test_a_classifier_minimises_cross_entropy_of_what_it_is_shown() -> None:
    images, labels = torch.rand(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 0, 1])
    shown = []

    def forward(images: Tensor) -> Tensor:
        shown.append(images)
        return images.mean((2, 3)).repeat(1, 2)[:, :4]

    plain = ClassificationObjective(OFF, 4)(forward, images, labels)
    assert torch.equal(plain.loss, F.cross_entropy(forward(images), labels))
    seed_generators(0)
    mixed = ClassificationObjective(replace(OFF, mixup=1.0, mix_prob=1.0), 4)(forward, images.clone(), labels)
    assert not torch.equal(shown[-1], images)
    assert mixed.images is shown[-1] and mixed.outputs is not None
    assert torch.equal(mixed.outputs, forward(shown[-1]))


@pytest.mark.parametrize(
    ("given", "taken"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_losses_are_not_in_half_precision(given: torch.dtype, taken: torch.dtype) -> None:
    """Autocast on the CPU leaves them in it where the loss is timm's own."""
    torch.manual_seed(0)
    smoothing = replace(OFF, label_smoothing=0.1)
    for augment in (OFF, smoothing, replace(OFF, mixup=1.0)):
        logits = torch.randn(4, 6).to(given)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=given == torch.bfloat16):
            found = ClassificationObjective(augment, 6)(
                lambda images, logits=logits: logits, torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 3])
            )
        assert found.loss.dtype == taken
    maps = torch.randn(1, 6, 4, 4).to(given)
    pixels = SegmentationObjective()(lambda images: maps, torch.rand(1, 3, 4, 4), torch.ones(1, 4, 4).long())
    assert pixels.loss.dtype == taken


def test_a_segmenter_minimises_the_mean_over_pixels_that_count() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 6, 7), torch.randint(5, (2, 6, 7))
    labels[0, :4] = IGNORED
    found = SegmentationObjective()(lambda images: logits, torch.rand(2, 3, 6, 7), labels)
    expected = F.cross_entropy(logits, labels, ignore_index=IGNORED)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.outputs is logits


def test_a_batch_without_a_pixel_that_counts_has_no_loss() -> None:
    logits = torch.randn(1, 5, 4, 4, requires_grad=True)
    labels = torch.full((1, 4, 4), IGNORED)
    loss = SegmentationObjective()(lambda images: logits, torch.rand(1, 3, 4, 4), labels).loss
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_a_detector_minimises_the_sum_of_its_losses() -> None:
    targets = [{"boxes": torch.zeros(0, 4)}]

    def forward(images: list[Tensor], given: object) -> dict[str, Tensor]:
        assert given is targets
        return {"boxes": torch.tensor(1.5), "classes": torch.tensor(0.25)}

    found = DetectionObjective()(forward, [torch.rand(3, 4, 4)], targets)
    assert found.loss == 1.75 and found.outputs is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("scenes/resnet10t", ClassificationObjective),
        ("scenes_semantic_fpn/resnet10t", SegmentationObjective),
        ("scenes_mask_rcnn/resnet10t", DetectionObjective),
    ],
)
def test_the_task_says_what_is_minimised(name: str, kind: type) -> None:
    assert type(build_objective(RECIPES[name], 10)) is kind
