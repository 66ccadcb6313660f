"""Whole models with their norms folded compute what they computed before, whatever they are."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import mscsa
from mscsa.attention.folding import FoldedNorm
from mscsa.detection import Detector
from mscsa.folding import fold_frozen_norms, fold_norms, unfold_frozen_norms
from mscsa.heads import HEADS
from mscsa.models import build_pyramid
from mscsa.neck_table import NECKS
from tests.detection import small as detectors
from tests.segmentation import small as segmenters

LIGHT = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}
ODD = (2, 3, 97, 131)


def norms(model: nn.Module) -> list[str]:
    return [name for name, each in model.named_modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]


def trained(model: nn.Module, seed: int = 0) -> Any:
    """Give every norm statistics and weights of its own, and wake what starts at 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.normal_(std=0.3, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(std=0.3, generator=generator)
            elif isinstance(module, (nn.Conv2d, nn.Linear)) and not module.weight.any():
                module.weight.normal_(std=0.05, generator=generator)
    return model.eval().requires_grad_(False)


def assert_same(ours: Any, expected: Any, tolerance: float = 1e-6) -> None:
    leaves = [(a, b) for a, b in zip(tree_leaves(ours), tree_leaves(expected), strict=True) if b.numel()]
    assert leaves
    for a, b in leaves:
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * max(1.0, float(b.detach().abs().max())))


BEFORE_ATTENTION = {"norm1", "norm3"}


def check(model: nn.Module, left: set[str], shape: tuple[int, ...] = ODD) -> Any:
    """Fold a model in float64, where nothing but a mistake is visible; norms of the names `left` stay."""
    model = trained(model).double()
    folded = fold_norms(model)
    assert {name.rpartition(".")[2] for name in norms(folded)} == left
    assert len(norms(folded)) < len(norms(model))
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    expected = model(image)
    assert_same(folded(image), expected, 1e-11)
    assert_same(fold_norms(folded)(image), expected, 1e-11)
    return folded


@pytest.mark.parametrize(
    "name",
    ["mscsa_resnet18", pytest.param("mscsa_pvt_v2_b0", marks=pytest.mark.slow), "mscsa_test_convnext"],
)
@pytest.mark.parametrize("features_only", [False, True], ids=["classifier", "pyramid"])
def test_classifier_and_pyramid(name: str, features_only: bool) -> None:
    model = mscsa.create_model(name.removeprefix("mscsa_"), features_only=features_only, **LIGHT)
    check(model, BEFORE_ATTENTION if features_only else BEFORE_ATTENTION | {"norm"})  # features are normed


def test_kept_classifier_and_features() -> None:
    model = mscsa.create_model("resnet10t", keep_classifier=True, **LIGHT)
    folded = check(model, BEFORE_ATTENTION | {"norm"})
    image = torch.rand(ODD).double()
    assert_same(folded.forward_features(image), model.forward_features(image), 1e-11)


@pytest.mark.parametrize("name", ["topformer_tiny", "mscsa_topformer_tiny", "shunted_tiny"])
def test_own_backbones(name: str) -> None:
    check(timm.create_model(name), BEFORE_ATTENTION | {"norm"} if name.startswith("mscsa_") else set())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *(("resnet10t", set()), ("tf_efficientnet_lite0", set()), ("regnety_002", set())),
        ("dla34", set()),
        pytest.param("vgg11_bn", set(), marks=pytest.mark.long),
        # Norms before convolutions, behind concatenations.
        pytest.param("densenet121", {"norm", "norm1", "norm5"}, marks=pytest.mark.slow),
    ],
)
def test_backbones_of_timm(name: str, left: set[str]) -> None:
    check(timm.create_model(name), left, (1, 3, 64, 96))


@pytest.mark.parametrize("neck", [name for name in NECKS if name != "mscsa"])
def test_necks(neck: str) -> None:
    fields = NECKS[neck].load().config.__dataclass_fields__
    config = {"channels": 16, **({"norm": "bn"} if "norm" in fields else {})}
    check(build_pyramid("resnet10t", neck=neck, neck_config=config), set())


@pytest.mark.parametrize("head", segmenters.SEGMENTERS)
@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param("resnet10t", marks=pytest.mark.slow),
        "mscsa_resnet10t",
        pytest.param("topformer_tiny", marks=pytest.mark.slow),
        pytest.param("mscsa_topformer_tiny", marks=pytest.mark.slow),
    ],
)
def test_segmenters(head: str, backbone: str) -> None:
    check(segmenters.small(head, backbone), BEFORE_ATTENTION if backbone.startswith("mscsa_") else set())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("mask_rcnn", "deformable_detr") else pytest.mark.slow)
        for name in detectors.VARIANTS
    ],
)
def test_detectors(name: str) -> None:
    """In float64, so that no box changes its place in an order."""
    normed = {"fpn_norm": "bn", "head_norm": "bn"}
    options = {key: norm for key, norm in normed.items() if key in HEADS[detectors.VARIANTS[name][0]].options}
    check(detectors.small(name, "mscsa_resnet10t", **options), BEFORE_ATTENTION, (2, 3, 75, 102))


def test_float32_to_its_rounding() -> None:
    """Values of size 1; what is exact to 1e-11 in float64 is seen above."""
    model = trained(mscsa.create_model("resnet18", **LIGHT))
    image = torch.randn(ODD)
    assert_same(fold_norms(model)(image), model.double()(image.double()).float(), 1e-5)


def test_the_original_can_still_be_trained() -> None:
    model = trained(mscsa.create_model("resnet10t", **LIGHT))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fold_norms(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.train().training


@pytest.mark.parametrize(
    "build",
    [
        lambda: mscsa.create_model("resnet10t", **LIGHT),
        lambda: segmenters.small("semantic_fpn", "resnet10t"),
        lambda: detectors.small("retinanet"),
    ],
    ids=["classifier", "segmenter", "detector"],
)
def test_training_is_refused_as_a_whole(build: Any) -> None:
    folded = fold_norms(build())
    with pytest.raises(
        ValueError, match="^this model's norms are folded into its convolutions, .* folded from$"
    ):
        folded.train()
    assert not any(module.training for module in folded.modules())
    assert folded.eval() is folded


def test_saving_and_loading_are_refused(tmp_path: Path) -> None:
    model = mscsa.create_model("resnet10t", **LIGHT)
    folded = fold_norms(model)
    file = tmp_path / "weights.safetensors"
    for act in (mscsa.save_weights, mscsa.save_addon):
        with pytest.raises(mscsa.UserError, match="folded into its convolutions"):
            act(folded, file)
    mscsa.save_weights(model, file)
    with pytest.raises(mscsa.UserError, match="folded into its convolutions"):
        mscsa.load_weights(folded, file)
    with pytest.raises(mscsa.UserError, match="folded into its convolutions"):
        save_for_hf(folded, tmp_path)
    torch.save(folded.state_dict(), tmp_path / "folded.pth")
    for policy in ("exact", "new_head", "backbone"):
        with pytest.raises(mscsa.UserError, match="missing|does not fit|not"):
            mscsa.load_weights(model, tmp_path / "folded.pth", policy=policy)


def test_a_norm_whose_convolution_is_read_twice_stays() -> None:
    class Twice(nn.Module):
        pretrained_cfg: dict[str, Any] = {"input_size": (3, 32, 32)}

        def __init__(self) -> None:
            super().__init__()
            self.alone, self.one = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.shared, self.two = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.conv, self.three = nn.Conv2d(4, 4, 1), BatchNormAct2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.shared(self.one(self.alone(x)))
            return self.three(self.conv(x + self.two(x)))

    folded = check(Twice(), {"two"}, (1, 3, 33, 35))
    assert isinstance(folded.three[2], nn.ReLU)


def test_a_backbone_that_cannot_run_without_data_stays(caplog: pytest.LogCaptureFixture) -> None:
    class Asking(nn.Sequential):
        pretrained_cfg: dict[str, Any] = {"input_size": (3, 32, 32)}

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum().item() else x

    model = Asking(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    with caplog.at_level("INFO"):
        folded = fold_norms(model)
    assert len(norms(folded)) == len(norms(model)) and "not folded" in caplog.text


def test_hooks_of_others_are_not_called() -> None:
    model = trained(timm.create_model("resnet10t"))
    called: list[Tensor] = []
    model.layer1.register_forward_hook(lambda module, args, out: called.append(out))
    folded = fold_norms(model)
    assert not norms(folded) and not called
    folded(torch.rand(1, 3, 64, 64))
    assert len(called) == 1


def test_kept_maps_are_not_asked_for() -> None:
    model = trained(mscsa.create_model("resnet10t", **LIGHT))
    asked: list[int] = []
    model.reading = lambda image, indices: asked.extend(indices) or []
    assert {name.rpartition(".")[2] for name in norms(fold_norms(model))} == BEFORE_ATTENTION | {"norm"}
    assert not asked


def test_copies_and_pickles() -> None:
    folded = fold_norms(trained(mscsa.create_model("test_resnet", **LIGHT)))
    image = torch.rand(1, 3, 64, 64)
    again = pickle.load(io.BytesIO(pickle.dumps(folded)))
    for copied in (again, copy.deepcopy(folded)):
        assert torch.equal(copied(image), folded(image))
        assert any(isinstance(module, FoldedNorm) for module in copied.modules())


def frozen(name: str, **options: Any) -> Any:
    """A pyramid or detector with norms that are not as they start, in training with its backbone's held."""
    if name in detectors.VARIANTS:
        model: Any = detectors.small(name, "mscsa_resnet10t", backbone_norm="frozen", **options)
        return trained(model).requires_grad_(True).double().train()
    model = trained(build_pyramid(name, **options)).requires_grad_(True).double().train()
    for module in model.backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def learn(model: Any, image: Tensor) -> tuple[Any, dict[str, Tensor], int]:
    """Give what a model says in training, its gradients, and the values of maps kept for the backward."""
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if value.ndim == 4 and len(value) == len(image):  # not weights, which a large image makes small
            kept[value.untyped_storage().data_ptr()] = value
        return value

    is_detector = isinstance(model, Detector)
    arguments = [[detectors.scene(97, 131, 2, image.dtype)[1] for _ in image]] if is_detector else []
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        out = model(list(image) if is_detector else image, *arguments)
        sum(each.square().sum() for each in tree_leaves(out)).backward()
    gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return out, gradients, sum(each.numel() for each in kept.values())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("resnet10t", marks=pytest.mark.slow),
        "mscsa_resnet10t",
        pytest.param("tf_efficientnet_lite0", marks=pytest.mark.slow),
        "mask_rcnn",
    ],
)
def test_frozen_norms_train_alike_in_less_memory(name: str) -> None:
    """EfficientNet-Lite pads as TensorFlow does, and its norms hold their activations."""
    model = frozen(name)
    image = torch.rand(2, 3, 97, 131, dtype=torch.float64)
    keys = list(model.state_dict())
    out, gradients, kept = learn(model, image)
    assert fold_frozen_norms(model) == sum(not model.get_submodule(norm).training for norm in norms(model))
    folded_out, folded_gradients, folded_kept = learn(model, image)
    assert list(model.state_dict()) == keys and folded_kept < 0.85 * kept
    assert_same(folded_out, out, 1e-9)
    assert folded_gradients.keys() == gradients.keys() and len(gradients) > 20
    assert_same(list(folded_gradients.values()), list(gradients.values()), 1e-8)


def test_a_norm_that_is_set_free_takes_the_batchs_statistics_again() -> None:
    model = frozen("resnet10t")
    free = copy.deepcopy(model).train()
    fold_frozen_norms(model)
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    assert_same(model.train()(image), free(image), 1e-12)
    assert torch.equal(model.backbone.bn1.running_mean, free.backbone.bn1.running_mean)


def test_live_norms_stay_alone_and_all_can_be_undone() -> None:
    live = detectors.small("mask_rcnn", "mscsa_resnet10t")
    assert fold_frozen_norms(live) == 0
    model = frozen("mask_rcnn")
    assert fold_frozen_norms(model) == fold_frozen_norms(model) > 0
    unfold_frozen_norms(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_what_trains_folded_is_copied_pickled_and_folded_for_inference() -> None:
    model = frozen("mask_rcnn")
    image = torch.rand(1, 3, 97, 131, dtype=torch.float64)
    expected = model.eval()(image)
    fold_frozen_norms(model.train())
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fold_norms(model)):
        with torch.no_grad():
            assert_same(copied.eval()(image), expected)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert_same(model.eval()(image), expected)


@pytest.mark.slow
def test_what_trains_folded_compiles() -> None:
    model = frozen("resnet10t")
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    out, gradients, _ = learn(model, image)
    fold_frozen_norms(model)
    compiled: Any = torch.compile(model, fullgraph=True)
    compiled_out = compiled(image)
    sum(each.square().sum() for each in compiled_out).backward()
    assert_same(compiled_out, out, 1e-9)
    assert_same([value.grad for value in model.parameters()], list(gradients.values()), 1e-8)
