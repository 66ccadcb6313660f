"""Cascade R-CNN's heads against the paper, by stand-ins that know the answer, and against torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import roi_heads
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from mscsa.detection import cascade
from mscsa.detection.cascade import CASCADE, CascadeRoIHeads, SharedBoxPredictor, box_losses, move_boxes
from mscsa.detection.mask_head import mask_targets
from tests.detection.small import K, batch, fresh

IMAGE = (120, 160)
OBJECTS = torch.tensor([[20.0, 20.0, 70.0, 60.0], [90.0, 30.0, 150.0, 110.0]], dtype=torch.float64)


def small_cascade() -> CascadeRoIHeads:
    heads: Any = fresh("cascade_mask_rcnn").double().net.roi_heads
    return heads


def maps() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    height, width = IMAGE[0] + 8, IMAGE[1]  # padded to multiples of 32
    return {
        str(i): torch.randn(1, 16, height // s, width // s, generator=generator, dtype=torch.float64)
        for i, s in enumerate((4, 8, 16, 32))
    }


def target() -> dict[str, Tensor]:
    masks = torch.zeros(2, *IMAGE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, OBJECTS.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return {"boxes": OBJECTS, "labels": torch.tensor([1, 3]), "masks": masks}


def proposals_around(count: int = 200) -> Tensor:
    """Boxes of IoU 0.5 to 0.8 with an object, and as many that have nothing to do with one."""
    generator = torch.Generator().manual_seed(4)
    size = (OBJECTS[:, 2:] - OBJECTS[:, :2]).repeat(count, 2)
    near = OBJECTS.repeat(count, 1) + 0.15 * size * torch.randn(2 * count, 4, generator=generator).double()
    near = near.clamp(min=0).minimum(torch.tensor([160.0, 120.0, 160.0, 120.0], dtype=torch.float64))
    iou = box_iou(near, OBJECTS).amax(dim=1)
    near = near[(iou > 0.5) & (iou < 0.8)]
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([140, 100])
    return torch.cat([near, torch.cat([corner, corner + 8], dim=1)])


def test_stages_are_the_papers_and_mmdetections() -> None:
    heads = small_cascade()
    assert [stage.iou for stage in CASCADE] == [0.5, 0.6, 0.7]
    # MMDetection gives the inverse as target_stds: 0.1, 0.05, 0.033 and twice that for width and height.
    expected = [(10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)]
    assert heads.loss_weights == (1.0, 0.5, 0.25)
    stages: list[Any] = list(heads.stages)
    for stage, weights, iou in zip(stages, expected, (0.5, 0.6, 0.7), strict=True):
        assert stage.box_coder.weights == weights
        matcher, sampler = stage.proposal_matcher, stage.fg_bg_sampler
        assert (matcher.high_threshold, matcher.low_threshold) == (iou, iou)
        assert not matcher.allow_low_quality_matches
        assert (sampler.batch_size_per_image, sampler.positive_fraction) == (512, 0.25)
        assert stage.box_predictor.bbox_pred.out_features == 4  # for all classes
        assert stage.box_predictor.cls_score.out_features == K + 1
    assert len({id(stage.box_head) for stage in stages}) == len({id(s.mask_head) for s in stages}) == 3


class Recorder:
    """Stands in for the box heads: moves boxes a share of the way to the nearest object, and keeps them."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.boxes: list[Tensor] = []

    def __call__(self, stage: Any, _maps: Any, boxes: list[Tensor], _shapes: Any) -> tuple[Tensor, Tensor]:
        (own,) = boxes
        self.boxes.append(own)
        nearest = OBJECTS[box_iou(own, OBJECTS).argmax(dim=1)]
        offsets = stage.box_coder.encode([nearest], [own])[0]
        overlaps = box_iou(own, OBJECTS).amax(dim=1, keepdim=True) > 0.3
        logits = torch.zeros(len(own), K + 1, dtype=own.dtype, requires_grad=True)
        return logits, torch.where(overlaps, self.share * offsets, 0.0)

    def mean_iou(self) -> list[float]:
        """Mean IoU of the boxes of each stage that belong to an object, its own box aside."""
        best = [box_iou(each, OBJECTS).amax(dim=1) for each in self.boxes]
        return [float(each[(each > 0.3) & (each < 1 - 1e-9)].mean()) for each in best]


@pytest.mark.parametrize("is_training", [True, False])
def test_each_stage_sees_the_boxes_that_the_one_before_moved(
    is_training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(0.5)
    monkeypatch.setattr(cascade, "_predict", recorder)
    heads = small_cascade().train(is_training)
    torch.manual_seed(0)
    heads(maps(), [proposals_around()], [IMAGE], [target()] if is_training else None)
    first, second, third = recorder.mean_iou()
    assert 0.5 < first < 0.75
    assert second > first + 0.1 and third > second + 0.04, (first, second, third)
    moved = move_boxes(
        heads.stages[0], offsets_of(heads.stages[0], recorder.boxes[0]), recorder.boxes[:1], [IMAGE]
    )
    # Each box of the second stage is one that the first has moved, or an object's own, added in training.
    known = torch.cat([moved[0], OBJECTS]) if is_training else moved[0]
    assert (recorder.boxes[1][:, None] - known).abs().amax(dim=2).amin(dim=1).max() < 1e-9
    assert is_training or len(recorder.boxes[1]) == len(moved[0])


def offsets_of(stage: Any, boxes: Tensor) -> Tensor:
    return Recorder(0.5)(stage, None, [boxes], None)[1]


def test_a_perfect_head_makes_perfect_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(1.0)
    monkeypatch.setattr(cascade, "_predict", recorder)
    heads = small_cascade()
    losses = heads(maps(), [proposals_around()], [IMAGE], [target()])[1]
    for boxes in recorder.boxes[1:]:
        best = box_iou(boxes, OBJECTS).amax(dim=1)
        assert best[best > 0.3].min() > 1 - 1e-9
    assert all(losses[f"loss_box_reg_{i}"].abs() < 1e-9 for i in range(3))


def test_an_objects_own_box_is_not_moved_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage adds the objects' boxes to what it trains on; moved, they would teach the next nothing."""
    heads = small_cascade()
    offered: list[Tensor] = []
    sampled: list[Tensor] = []
    for stage in heads.stages:
        select = stage.select_training_samples

        def recording(proposals: Any, targets: Any, select: Any = select) -> Any:
            offered.append(proposals[0].clone())
            result = select(proposals, targets)
            sampled.append(result[0][0])
            return result

        monkeypatch.setattr(stage, "select_training_samples", recording)
    heads(maps(), [proposals_around(40)], [IMAGE], [target()])
    for i in range(2):
        own = (sampled[i][:, None] == OBJECTS).all(dim=2).any(dim=1)
        assert own.sum() == 2
        assert len(offered[i + 1]) == len(sampled[i]) - 2


def test_losses_against_a_naive_computation() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, K + 1, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K + 1, (40,), generator=generator)
    predicted, offsets = (3 * torch.randn(40, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    of_class = of_box = 0.0
    for row, label, one, other in zip(logits, labels, predicted, offsets, strict=True):
        of_class -= float(row[label] - row.exp().sum().log()) / 40
        if label > 0:
            for difference in (one - other).abs().tolist():
                of_box += (0.5 * difference**2 if difference < 1 else difference - 0.5) / 40
    ours = box_losses(logits, predicted, labels, offsets)
    assert float(ours[0]) == pytest.approx(of_class, abs=1e-12)
    assert float(ours[1]) == pytest.approx(of_box, abs=1e-12)
    nothing = box_losses(logits, predicted, torch.zeros_like(labels), offsets)
    assert nothing[1] == 0


def test_losses_of_later_stages_count_less() -> None:
    heads = small_cascade()
    found = []
    for weights in (heads.loss_weights, (1.0, 1.0, 1.0)):
        heads.loss_weights = weights
        torch.manual_seed(5)
        found.append(heads(maps(), [proposals_around()], [IMAGE], [target()])[1])
    weighted, plain = found
    assert len(weighted) == 9
    for i, weight in enumerate((1.0, 0.5, 0.25)):
        for name in ("classifier", "box_reg", "mask"):
            key = f"loss_{name}_{i}"
            assert plain[key] > 0 and torch.allclose(weighted[key], weight * plain[key], rtol=1e-12)


def test_scores_and_masks_are_means_over_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the stages disagree, and move nothing."""
    heads = small_cascade().eval()
    generator = torch.Generator().manual_seed(6)
    boxes = torch.tensor([[10.0, 10, 40, 40], [60, 10, 90, 40], [10, 60, 40, 90]], dtype=torch.float64)
    logits = torch.randn(3, 3, K + 1, generator=generator, dtype=torch.float64)
    mask_logits = torch.randn(3, K + 1, generator=generator, dtype=torch.float64)
    order: list[Any] = list(heads.stages)
    monkeypatch.setattr(
        cascade, "_predict", lambda stage, *_: (logits[order.index(stage)], torch.zeros(3, 4).double())
    )
    for stage, own in zip(order, mask_logits, strict=True):

        def of_masks(_maps: Any, found: Any, _shapes: Any, own: Any = own) -> Any:
            return own.view(1, -1, 1, 1).expand(len(found[0]), -1, 28, 28)

        monkeypatch.setattr(stage, "mask_logits", of_masks)
    ((found,), losses) = heads(maps(), [boxes], [IMAGE])
    assert losses == {}
    scores = logits.softmax(-1).mean(dim=0)[:, 1:]
    expected = sorted(scores.flatten().tolist(), reverse=True)[: heads.detections_per_img]
    assert found["scores"].tolist() == pytest.approx(expected, abs=1e-12)
    masks = mask_logits.sigmoid().mean(dim=0)
    for label, box, score, mask in zip(
        *(found[k] for k in ("labels", "boxes", "scores", "masks")), strict=True
    ):
        row = int((boxes - box).abs().sum(dim=1).argmin())
        assert torch.allclose(boxes[row], box, atol=1e-9)
        assert torch.allclose(scores[row, label - 1], score, atol=1e-12)
        assert torch.allclose(mask, masks[label].expand_as(mask), atol=1e-12)


def as_torchvision(stage: Any) -> RoIHeads:
    """Say with torchvision's own head what a stage says: its offsets for every class."""
    shared = stage.box_predictor
    predictor = FastRCNNPredictor(shared.cls_score.in_features, K + 1).double()
    predictor.cls_score = shared.cls_score
    with torch.no_grad():
        predictor.bbox_pred.weight.copy_(shared.bbox_pred.weight.repeat(K + 1, 1))
        predictor.bbox_pred.bias.copy_(shared.bbox_pred.bias.repeat(K + 1))
    parts = ("box_roi_pool", "box_head", "mask_roi_pool", "mask_head", "mask_predictor")
    limits = ("score_thresh", "nms_thresh", "detections_per_img")
    return RoIHeads(
        box_predictor=predictor,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=512,
        positive_fraction=0.25,
        bbox_reg_weights=stage.box_coder.weights,
        **{name: getattr(stage, name) for name in (*parts, *limits)},
    )


def test_a_cascade_of_one_is_torchvisions_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for masks, which torchvision projects half a pixel off."""
    monkeypatch.setattr(roi_heads, "project_masks_on_boxes", mask_targets)
    stage: Any = small_cascade().stages[0]
    with torch.no_grad():
        stage.box_predictor.bbox_pred.weight.mul_(300)  # far more than what rounding could hide
    one = CascadeRoIHeads([stage], [1.0]).eval()
    reference = as_torchvision(stage).eval()
    with torch.inference_mode():
        ((ours,), _), ((theirs,), _) = (
            each(maps(), [proposals_around()], [IMAGE]) for each in (one, reference)
        )
    assert len(ours["boxes"]) == one.detections_per_img
    assert ours["labels"].tolist() == theirs["labels"].tolist()
    for key in ("boxes", "scores", "masks"):
        assert torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-9), key
    losses = []
    for each in (one.train(), reference.train()):
        torch.manual_seed(8)
        losses.append(each(maps(), [proposals_around()], [IMAGE], [target()])[1])
    for name in ("classifier", "mask"):  # torchvision's smooth L1 has another beta
        assert torch.allclose(losses[0][f"loss_{name}_0"], losses[1][f"loss_{name}"], rtol=1e-10), name


def test_fresh_heads_leave_boxes_where_they_are() -> None:
    """So that later stages do not begin on boxes at random."""
    predictor = SharedBoxPredictor(1024, K)
    logits, offsets = predictor(torch.rand(50, 1024))
    assert offsets.abs().max() < 0.2 and logits.softmax(-1).max() < 0.6
    assert isinstance(predictor.cls_score, nn.Linear) and not predictor.cls_score.bias.any()


def test_masks_train_on_the_boxes_of_objects() -> None:
    model = fresh("cascade_mask_rcnn")
    images, targets = batch((96, 96, 2))
    torch.manual_seed(0)
    right = model(images, targets)
    torch.manual_seed(0)
    wrong = model(images, [{**targets[0], "masks": 1 - targets[0]["masks"]}])
    for i in range(3):
        assert right[f"loss_mask_{i}"] != wrong[f"loss_mask_{i}"]
        assert torch.equal(right[f"loss_box_reg_{i}"], wrong[f"loss_box_reg_{i}"])
