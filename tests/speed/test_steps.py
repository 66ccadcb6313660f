"""Steps of inference and training on random images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mscsa.attention.folding import is_folded
from mscsa.detection import build_detector
from mscsa.errors import UserError
from mscsa.models import build_pyramid
from mscsa.speed.steps import Mode, StepOptions, build_step


class Recorder(nn.Module):
    """Keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.images: list[Tensor] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.images.append(x)
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.conv(x).mean(dim=(2, 3))


def test_inference_runs_in_eval_mode_with_dtype_and_layout() -> None:
    model = Recorder()
    options = StepOptions(dtype="bfloat16", channels_last=True)
    build_step(model, "inference", 2, (8, 10), options)()
    (images,) = model.images
    assert images.shape == (2, 3, 8, 10)
    assert images.dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert model.modes == [(False, False)]


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_inference_folds_and_training_leaves_live_norms(mode: Mode) -> None:
    model = build_pyramid("mscsa_test_resnet", fields={"pool_stride": 16})
    ran: list[bool] = []
    model.register_forward_hook(lambda module, args, out: ran.append(is_folded(module)))
    build_step(model, mode, 2, (32, 32), StepOptions(folded=True))()
    assert ran == [mode == "inference"] and not is_folded(model)


def test_training_folds_what_is_frozen() -> None:
    detector = build_detector("retinanet", "test_resnet", 3, fpn_channels=16)
    for options in (StepOptions(), StepOptions(folded=True)):
        build_step(detector, "training", 1, (64, 64), options)()
        assert any("forward" in vars(module) for module in detector.modules()) == options.folded


def test_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        nn.Module, "compile", lambda module, dynamic: compiled.append((type(module).__name__, dynamic))
    )
    build_step(Recorder(), "inference", 1, (8, 8), StepOptions(compiled=True))()
    build_step(Recorder(), "inference", 1, (8, 8), StepOptions())()
    detector = build_detector("retinanet", "test_resnet", 3, fpn_channels=16)
    build_step(detector, "inference", 1, (64, 64), StepOptions(compiled=True))
    assert compiled == [("Recorder", False), ("BackbonePyramid", False)]


def test_training_changes_the_weights() -> None:
    model = Recorder()
    before = model.conv.weight.detach().clone()
    step = build_step(model, "training", 2, (8, 8), StepOptions())
    step()
    assert model.modes == [(True, True)]
    assert not torch.equal(before, model.conv.weight)


def test_training_of_a_pyramid_reaches_all_levels() -> None:
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.levels = nn.ModuleList(nn.Conv2d(3, 4, 1) for _ in range(2))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [level(x) for level in self.levels]

    model = Pyramid()
    build_step(model, "training", 2, (8, 8), StepOptions())()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.fixture
def detector_step(monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, list[tuple]]:
    """A small detector, and what it was called with and gave."""
    detector = build_detector(
        "mask_rcnn", "test_resnet", 3, fpn_channels=16, proposals=60, detections_per_img=5
    )
    calls: list[tuple] = []
    detector.register_forward_hook(
        lambda model, inputs, output: calls.append((model.training, inputs, output))
    )
    return detector, calls


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_detector_goes_from_images_to_all_its_detections(
    detector_step: tuple[nn.Module, list[tuple]], dtype: Any
) -> None:
    detector, calls = detector_step
    build_step(detector, "inference", 2, (64, 96), StepOptions(dtype=dtype))()
    ((training, (images,), found),) = calls
    assert not training
    assert [tuple(image.shape) for image in images] == [(3, 64, 96)] * 2
    assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image in images)
    assert [len(each["boxes"]) for each in found] == [5, 5]
    assert {p.dtype for p in detector.parameters()} == {torch.float32}


def test_training_a_detector_takes_objects_with_masks(detector_step: tuple[nn.Module, list[tuple]]) -> None:
    detector, calls = detector_step
    before = detector.net.roi_heads.mask_head[0][0].weight.detach().clone()
    masked: list[int] = []
    detector.net.roi_heads.mask_head.register_forward_pre_hook(lambda _, boxes: masked.append(len(boxes[0])))
    build_step(detector, "training", 1, (64, 96), StepOptions())()
    assert masked == [32]
    ((training, (_, (target,)), losses),) = calls
    assert training and "loss_mask" in losses
    assert target["boxes"].shape == (32, 4) and set(target["labels"].tolist()) == {1, 2, 3}
    for box, mask in zip(target["boxes"], target["masks"], strict=True):
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        around = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (box - around).abs().max() <= 1
    assert not torch.equal(before, detector.net.roi_heads.mask_head[0][0].weight)


@pytest.mark.parametrize("is_on", [False, True])
def test_checkpointing_computes_the_backbone_twice(is_on: bool) -> None:
    detector = build_detector("retinanet", "mscsa_test_resnet", 3, fpn_channels=16, budget=0.5)
    calls: list[str] = []
    detector.pyramid.backbone.layer1[0].register_forward_pre_hook(lambda *_: calls.append("block"))
    build_step(detector, "training", 2, (64, 64), StepOptions(grad_checkpointing=is_on))()
    assert len(calls) == (2 if is_on else 1)


@pytest.mark.parametrize(
    ("device", "mode", "message"),
    [
        ("cpu", "inference", "a CUDA graph asked for on cpu: it takes a GPU; leave it out"),
        ("cuda", "training", "a CUDA graph asked for of a training step: only inference of other models"),
    ],
)
def test_a_cuda_graph_is_refused_where_there_is_none(device: str, mode: Mode, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_step(Recorder(), mode, 1, (8, 8), StepOptions(device=device, cuda_graph=True))


def test_a_cuda_graph_of_a_detector_is_refused() -> None:
    detector = build_detector("retinanet", "test_resnet", 3, fpn_channels=16)
    with pytest.raises(UserError, match="a CUDA graph asked for of a detector"):
        build_step(detector, "inference", 1, (64, 64), StepOptions(device="cuda", cuda_graph=True))
