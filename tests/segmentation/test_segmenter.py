"""Segmenters on any backbone: sizes, gradients, compilation, export, and what MSCSA changes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mscsa.attention import MSCSA
from mscsa.checkpoints.parts import parts_of
from mscsa.errors import UserError
from mscsa.folding import fold_norms
from mscsa.segmentation import Segmenter
from tests.attention.weights import wake_fusions
from tests.segmentation.small import ANY_SIZE, BOTH, SEGMENTERS, small


@pytest.mark.parametrize(("head", "backbone"), BOTH)
def test_logits_have_the_size_of_the_image(head: str, backbone: str) -> None:
    if "swin" in backbone:
        with torch.device("meta"):
            model = small(head, backbone, drop_path_rate=0.0).eval()
        size = (224, 224)
    else:
        model, size = small(head, backbone).eval(), (97, 131)
    device = next(model.parameters()).device
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, *size, device=device)).shape == (2, 5, *size)


@pytest.mark.parametrize(("head", "backbone"), ANY_SIZE)
def test_an_odd_size_is_padded_and_cropped_to_the_last_bit(head: str, backbone: str) -> None:
    model = small(head, backbone).eval()
    image = torch.randn(1, 3, 97, 131)
    by_hand = torch.zeros(1, 3, 128, 160)
    by_hand[..., :97, :131] = image
    with torch.inference_mode():
        assert torch.equal(model(image), model(by_hand)[..., :97, :131])


@pytest.mark.parametrize(("head", "backbone"), ANY_SIZE)
def test_every_parameter_has_a_gradient(head: str, backbone: str) -> None:
    model = small(head, backbone, dropout=0.0).double().train()
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():  # ResNet and TopFormer start with branches that give 0
            parameter.add_(0.05 * torch.randn_like(parameter))
    F.cross_entropy(model(images), torch.randint(5, (2, 96, 128))).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert not [name for name, grad in gradients.items() if grad is None]  # which DDP would wait for
    dead = [name for name, grad in gradients.items() if grad is not None and grad.abs().max() <= 1e-12]
    # Shifts that a following batch norm takes out again; the architectures are TopFormer's and timm's.
    others = [name for name in dead if ".squeezes." not in name]
    assert all(name.endswith(("bn.bias", "norm.bias")) and "mscsa" not in name for name in others), others


@pytest.mark.parametrize("head", SEGMENTERS)
def test_mscsa_takes_part(head: str) -> None:
    model = small(head, "mscsa_resnet10t").eval()
    wake_fusions(model)
    image = torch.randn(1, 3, 64, 96)
    mscsa = next(module for module in model.modules() if isinstance(module, MSCSA))
    with torch.inference_mode():
        before = model(image)
        for parameter in mscsa.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        assert (model(image) - before).abs().max() > 1e-5


def test_checkpointed_gradients_are_the_same() -> None:
    grads = []
    for checkpointing in (False, True):
        model = small("topformer_head", "mscsa_topformer_tiny", dropout=0.0).double().train()
        model.set_grad_checkpointing(checkpointing)
        torch.manual_seed(1)
        model(torch.randn(2, 3, 64, 64, dtype=torch.float64)).square().mean().backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 0
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*grads, strict=True))


class Halving(nn.Module):
    """Stands in for a backbone: one map at half the size, which only even sizes have."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.avg_pool2d(x, 2)]


class OneByOne(nn.Module):
    """Stands in for a head."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, 5, 1)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return self.classifier(maps[0])


def assert_compiles_for_further_sizes(model: nn.Module) -> None:
    """From the second size on the sizes are symbols, and so is what is padded."""
    torch.compiler.reset()
    compiled = torch.compile(model.eval(), backend="aot_eager")
    with torch.inference_mode():
        for size in ((97, 131), (64, 96), (110, 73)):
            image = torch.randn(1, 3, *size)
            assert torch.allclose(compiled(image), model(image), rtol=0, atol=1e-5), size


@pytest.mark.slow
def test_padding_is_compiled_for_further_sizes() -> None:
    assert_compiles_for_further_sizes(Segmenter(Halving(), OneByOne(), size_divisor=32, cfg={}))


@pytest.mark.long
@pytest.mark.parametrize("head", SEGMENTERS)
def test_a_compiled_segmenter_takes_further_sizes(head: str) -> None:
    assert_compiles_for_further_sizes(small(head, "test_resnet"))


@pytest.mark.long
@pytest.mark.parametrize("head", SEGMENTERS)
def test_ten_sizes_are_two_programs_at_most(head: str) -> None:
    """Folded as well; of images whose maps are of more than one pixel, for which torch compiles anew."""
    programs = []

    def count(graph: torch.fx.GraphModule, _inputs: object) -> object:
        programs.append(graph)
        return graph.forward

    model = fold_norms(small(head, "mscsa_resnet10t"))
    torch.compiler.reset()
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend=count)
    sides = (97, 131, 128, 160, 224, 101, 333, 99, 192, 320, 111)
    with torch.inference_mode():
        for size in pairwise(sides):
            image = torch.randn(2, 3, *size)
            assert torch.allclose(compiled(image), model(image), rtol=0, atol=1e-4), size
    assert len(programs) <= 2


def test_an_exported_segmenter_gives_the_same() -> None:
    model = small("semantic_fpn", "test_resnet").eval()
    image = torch.randn(1, 3, 97, 131)
    exported = torch.export.export(model, (image,)).module()
    with torch.inference_mode():
        assert torch.allclose(exported(image), model(image), rtol=0, atol=1e-5)


def test_one_tiny_image_cannot_be_averaged_over() -> None:
    with pytest.raises(UserError, match="one image of 32x32 px.*more per batch") as caught:
        small("semantic_fpn", "resnet10t").train()(torch.zeros(1, 3, 32, 32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("head", "backbone"), [("semantic_fpn", "swin"), ("topformer_head", "swin")])
def test_what_is_spared_from_weight_decay_has_the_models_own_names(head: str, backbone: str) -> None:
    with torch.device("meta"):
        model = small(head, "swin_tiny_patch4_window7_224")
    spared = model.no_weight_decay()
    assert spared and spared <= {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("head", SEGMENTERS)
def test_the_classifier_is_the_last_convolution(head: str) -> None:
    classifier = small(head, "resnet10t", num_classes=7).get_classifier()
    assert isinstance(classifier, nn.Conv2d) and classifier.out_channels == 7


@pytest.mark.parametrize(
    ("head", "backbone"), [b for b in BOTH if "test_resnet" in b[1] or "topformer" in b[1]]
)
def test_frozen_norms_are_the_backbones_alone(head: str, backbone: str) -> None:
    model = small(head, backbone, backbone_norm="frozen")
    part = parts_of(model).part_of
    norms = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for _ in range(2):
        for name, norm in norms:
            assert norm.training == (part[f"{name}.weight"] != "backbone"), name
        model.eval().train()
    assert {norm.training for _, norm in norms} == {True, False}
    assert all(norm.training for norm in small(head, backbone).modules())
    with pytest.raises(UserError, match="backbone_norm 'still' given: choose frozen or live"):
        small(head, backbone, backbone_norm="still")


def test_layer_decay_numbers_the_backbone_and_then_the_rest() -> None:
    model = small("semantic_fpn", "mscsa_test_resnet")
    number = model.group_matcher()
    rest = {name: number(name) for name, _ in model.named_parameters() if "backbone.backbone." not in name}
    assert set(rest.values()) == {float("inf")}
    own = [number(name) for name, _ in model.named_parameters() if "backbone.backbone." in name]
    assert own == sorted(own) and len(set(own)) > 3
    with pytest.raises(UserError, match="names no layer groups for DenseTopFormer"):
        small("topformer_head", "topformer_tiny").group_matcher()


@pytest.mark.parametrize("images", [[], [torch.rand(3, 32, 32)], (), torch.rand(1, 3, 32, 32).numpy()])
def test_what_is_no_tensor_is_one_line(images: object) -> None:
    """Detectors take a list, segmenters do not."""
    with pytest.raises(
        UserError, match=r"^a (list|tuple|ndarray) given as images: give one tensor \(B, 3, H, W\)$"
    ):
        small("semantic_fpn", "test_resnet")(images)
