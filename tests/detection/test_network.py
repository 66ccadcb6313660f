"""Detectors with a fixed workload, whose count and time depend on no weights; and one made up, by its row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mscsa.cost.info_tables import cost_tables
from mscsa.cost.matched_control import matched_control
from mscsa.cost.model_info import count_model, describe_model
from mscsa.dense import levels_of
from mscsa.detection import Detector, build_detector
from mscsa.detection.fpn import BatchImages
from mscsa.detection.network import Network
from mscsa.errors import UserError
from mscsa.export import export_checkpoint
from mscsa.export.graphs import build_pyramid_graphs
from mscsa.heads import COUNT, HEADS, Head
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import ModelSpec
from mscsa.speed.steps import StepOptions, build_step
from tests.evaluation.untrained import OBJECTS, save_untrained

SIZE = (64, 96)
FPN = 32
TWO_STAGE = ("mask_rcnn", "cascade_mask_rcnn")


def small(name: str, seed: int = 0, **options: Any) -> Detector:
    torch.manual_seed(seed)
    if name == "deformable_detr":
        options = {"num_queries": 20, "encoder_layers": 1, "decoder_layers": 2, **options}
    else:
        options = {"fpn_channels": FPN, **options}
    return build_detector(name, "mscsa_test_resnet", 3, budget=0.5, fields={"pool_stride": 8}, **options)


@pytest.mark.parametrize(
    "name",
    [
        "mask_rcnn",
        pytest.param("cascade_mask_rcnn", marks=pytest.mark.slow),
        "retinanet",
        pytest.param("deformable_detr", marks=pytest.mark.slow),
    ],
)
def test_count_depends_on_neither_weights_nor_mode_and_leaves_the_model_alone(name: str) -> None:
    detector = small(name)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    macs = count_model(detector, SIZE)
    assert macs == count_model(detector, SIZE) == count_model(small(name, seed=1).eval(), SIZE)
    assert detector.training and all(p.requires_grad for p in detector.parameters())
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


@pytest.mark.parametrize("name", TWO_STAGE)
def test_count_depends_on_no_number_of_proposals(name: str) -> None:
    few = small(name, proposals=7, detections_per_img=3, score_thresh=0.9)
    assert count_model(few, SIZE) == count_model(small(name), SIZE)


def test_parts_of_a_small_mask_rcnn_by_hand() -> None:
    detector = small("mask_rcnn")
    height, width = SIZE
    levels = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    places = [h * w for h, w in levels]
    fpn = sum(n * (c * FPN + 9 * FPN**2) for n, c in zip(places, (32, 48, 192, 96), strict=True))
    anchors = 3
    rpn = (sum(places) + 1 * 2) * (9 * FPN**2 + FPN * anchors * 5)  # the coarsest map is 1x2
    hidden, classes = 1024, 4
    box_head = 1000 * (49 * FPN * hidden + hidden**2 + hidden * classes * 5)
    mask_head = 100 * (14**2 * (4 * 9 + 4) * FPN**2 + 28**2 * FPN * classes)
    pyramid = count_model(detector.pyramid, SIZE)
    assert count_model(detector, SIZE) == pyramid + fpn + rpn + box_head + mask_head


def test_images_are_padded_as_they_are_in_use() -> None:
    detector = small("retinanet").eval()
    assert count_model(detector, (40, 65)) == count_model(detector, SIZE)


def test_run_fixed_takes_several_images() -> None:
    detector = small("mask_rcnn").eval()
    seen = watch(detector.net, "box_head", "mask_head")
    with torch.no_grad():
        detector.to("meta").run_fixed(torch.empty(2, 3, *SIZE, device="meta"))
    assert seen == {"box_head": [2000], "mask_head": [200]}


@pytest.mark.parametrize("name", TWO_STAGE)
@pytest.mark.parametrize("seed", [0, 1])
def test_fixed_workload_in_inference(name: str, seed: int) -> None:
    # So many that the boxes overlap.
    detector = small(name, seed, proposals=1000, detections_per_img=300, score_thresh=0.5).eval()
    images = [torch.rand(3, *SIZE) for _ in range(2)]
    seen = watch(detector.net, "box_head", "mask_head")
    with torch.no_grad():
        chance = detector(images)
        assert sum(len(each["boxes"]) for each in chance) == 0  # nothing is sure, no mask head runs
        assert max(seen["box_head"]) < 2 * 1000
        detector.fix_workload(4)
        fixed = watch(detector.net, "box_head", "mask_head")
        found = detector(images)
    stages = 3 if name == "cascade_mask_rcnn" else 1
    assert fixed == {"box_head": [2 * 1000] * stages, "mask_head": [2 * 300] * stages}
    assert [tuple(each["masks"].shape) for each in found] == [(300, 1, *SIZE)] * 2


@pytest.mark.parametrize("seed", [0, 1])
def test_fixed_workload_of_retinanet(seed: int) -> None:
    places = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1
    detector = small("retinanet", seed, detections_per_img=places).eval()
    detector.fix_workload(4)
    with torch.no_grad():
        found = detector([torch.rand(3, *SIZE)])
    assert len(found[0]["boxes"]) == places
    assert set(found[0]["labels"].tolist()) == {1}


@pytest.mark.parametrize("name", TWO_STAGE)
@pytest.mark.parametrize("seed", [0, 1])
def test_fixed_workload_in_training(name: str, seed: int) -> None:
    detector = small(name, seed, proposals=100)
    # Large objects, on which many proposals lie.
    boxes = torch.tensor([[0.0, 0.0, 48.0, 64.0], [48.0, 0.0, 96.0, 64.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": torch.ones(2, *SIZE)}
    detector.fix_workload(len(boxes))
    seen = watch(detector.net, "mask_head")
    losses = detector([torch.rand(3, *SIZE) for _ in range(2)], [target] * 2)
    assert seen == {"mask_head": [2 * 2] * (3 if name == "cascade_mask_rcnn" else 1)}
    assert all(bool(loss.isfinite()) for loss in losses.values())


def watch(net: nn.Module, *names: str) -> dict[str, list[int]]:
    """Note how many boxes the modules of these names are called with."""
    seen: dict[str, list[int]] = {name: [] for name in names}
    for path, module in net.named_modules():
        name = path.rpartition(".")[2]
        if name in names:

            def note(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                seen[name].append(len(inputs[0]))

            module.register_forward_pre_hook(note)
    return seen


class Dots(Network):
    """A made-up detector: the surest place of the finest map is an object, of one class."""

    first_label = 0
    body = "pyramid"
    of_classes = ("score",)

    def __init__(self, pyramid: Any, num_classes: int, width: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.detections_per_img = 1
        self.transform = BatchImages.of(pyramid)
        self.squeeze = nn.Conv2d(levels_of(pyramid)[0][0], width, 1)
        self.score = nn.Conv2d(width, num_classes, 1)
        self.chosen_widths = {"width": width}
        self.sure: int | None = None

    def fix_workload(self, num_objects: int) -> None:
        self.sure = num_objects

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        batch, _ = self.transform(images)
        logits = self.score(self.squeeze(self.pyramid(batch.tensors)[0]))
        if self.training:
            return {"loss": logits.square().mean()}
        boxes = logits.new_tensor([[0.0, 0.0, 8.0, 8.0]])
        labels = torch.zeros(1, dtype=torch.long, device=logits.device)
        return [{"boxes": boxes, "labels": labels, "scores": each.amax().sigmoid()[None]} for each in logits]


def dots(pyramid: Any, num_classes: int, *, width: int | None = None) -> Dots:
    return Dots(pyramid, num_classes, 256 if width is None else width)


@pytest.fixture
def _dots(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Head(
        task="detection",
        builder=f"{__name__}:dots",
        options={"width": COUNT.or_none()},
        strides=(8, 16, 32),
        wider={"width": ()},
    )
    monkeypatch.setitem(HEADS, "dots", row)


@pytest.mark.usefixtures("_dots")
def test_a_new_detector_is_a_row_and_is_built_counted_and_timed() -> None:
    detector = build_detector("dots", "mscsa_test_resnet", 3, fields={"pool_stride": 16}).eval()
    assert detector([torch.rand(3, 40, 60)])[0]["labels"].tolist() == [1]
    info = describe_model("test_resnet", head="dots", size=SIZE, fields={"pool_stride": 16})
    places = (SIZE[0] // 8) * (SIZE[1] // 8)
    assert info.head_macs == places * 256 * (48 + 80) and info.counted_as == ""  # 80: COCO's classes
    assert cost_tables(info)[0].rows[-2][0] == "dots"
    for mode in ("inference", "training"):
        build_step(detector, mode, 2, SIZE, StepOptions())()
    assert detector.net.sure == 32


@pytest.mark.usefixtures("_dots")
def test_a_new_detector_has_a_control_of_the_same_cost() -> None:
    model = ModelSpec(name="test_resnet", head="dots", mscsa={"pool_stride": 16}, budget=0.1)
    found = matched_control(replace(RECIPES["scenes_retinanet/mscsa_resnet10t"], model=model), 3)
    assert found.recipe is not None and found.recipe.model.head_kwargs["width"] > 256
    assert "width 256 -> " in found.note


@pytest.mark.usefixtures("_dots")
def test_a_new_detector_that_has_no_graphs_is_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint = save_untrained(
        tmp_path / "best.safetensors", ModelSpec(name="test_resnet", head="dots"), OBJECTS
    )
    with pytest.raises(UserError, match="^a Dots is not exported: give a detector of another kind") as error:
        export_checkpoint(checkpoint, tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    pyramid = build_pyramid_graphs(build_detector("dots", "test_resnet", 3).pyramid)
    assert pyramid.strides == (8, 16, 32)
