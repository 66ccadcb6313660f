"""Both heads on any backbone: sizes, gradients, options, and what MSCSA changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mscsa.attention import MSCSA
from mscsa.errors import UserError
from mscsa.models.build import build_pyramid
from mscsa.segmentation import SEGMENTERS, Segmenter, build_segmenter

BACKBONES = ("resnet10t", "mscsa_resnet10t", "pvt_v2_b0", "mscsa_pvt_v2_b0", "topformer_tiny")
BACKBONES += ("mscsa_topformer_tiny", "mscsa_swin_tiny_patch4_window7_224")
BOTH = [(head, backbone) for head in SEGMENTERS for backbone in BACKBONES]


def small(head: str, backbone: str, num_classes: int = 5, **options: object) -> Segmenter:
    torch.manual_seed(0)
    if head == "semantic_fpn":
        options = {"fpn_channels": 32, "head_channels": 32, **options}
    if backbone.startswith("mscsa_"):
        options = {"fields": {"pool_stride": 16}, **options}
    return build_segmenter(head, backbone, num_classes, **options)


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


@pytest.mark.parametrize(("head", "backbone"), [(h, b) for h, b in BOTH if "swin" not in b])
def test_an_odd_size_is_padded_and_cropped_to_the_last_bit(head: str, backbone: str) -> None:
    model = small(head, backbone).eval()
    image = torch.randn(1, 3, 97, 131)
    by_hand = torch.zeros(1, 3, 128, 160)
    by_hand[..., :97, :131] = image
    with torch.inference_mode():
        assert torch.equal(model(image), model(by_hand)[..., :97, :131])


@pytest.mark.parametrize(("head", "backbone"), [(h, b) for h, b in BOTH if "swin" not in b])
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
    assert all(name.endswith(("bn.bias", "norm.bias")) and "mscsa" not in name for name in dead), dead


@pytest.mark.parametrize("head", SEGMENTERS)
def test_mscsa_takes_part(head: str) -> None:
    model = small(head, "mscsa_resnet10t").eval()
    image = torch.randn(1, 3, 64, 96)
    mscsa = next(module for module in model.modules() if isinstance(module, MSCSA))
    with torch.inference_mode():
        before = model(image)
        for parameter in mscsa.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        assert (model(image) - before).abs().max() > 1e-5


def test_mscsa_stands_in_for_the_extractor() -> None:
    """Under TopFormer's head MSCSA gives the tokens; its fusion is not built."""
    model = small("topformer_head", "mscsa_resnet10t")
    assert isinstance(model.backbone.trans, MSCSA)
    assert not [name for name in model.state_dict() if "fusion" in name]
    topformer = build_segmenter("topformer_head", "mscsa_topformer_tiny", 5)
    assert topformer.backbone.trans.config.pool_stride == 64


def test_a_ready_pyramid_serves_as_well() -> None:
    pyramid = build_pyramid("resnet10t")
    model = build_segmenter("semantic_fpn", pyramid, 3, fpn_channels=16, head_channels=32, norm="gn")
    assert model.backbone is pyramid
    assert not [m for m in model.decode_head.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with pytest.raises(UserError, match="pretrained given with a built backbone"):
        build_segmenter("semantic_fpn", pyramid, 3, pretrained=True)


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


def test_bad_input_is_one_line() -> None:
    cases = [
        (lambda: build_segmenter("unet", "resnet18", 3), "no segmenter is called 'unet'.*semantic_fpn"),
        (lambda: build_segmenter("semantic_fpn", "resnet81", 3), "no model is called 'resnet81'"),
        (
            lambda: build_segmenter("semantic_fpn", "vit_tiny_patch16_224", 3),
            "two or more strides",
        ),
        (lambda: build_segmenter("semantic_fpn", "resnet18", 0), "num_classes=0"),
        (
            lambda: build_segmenter("semantic_fpn", "resnet18", 3, fpn_chanels=8),
            "no option 'fpn_chanels': did you mean fpn_channels",
        ),
        (
            lambda: small("semantic_fpn", "resnet10t").train()(torch.zeros(1, 3, 32, 32)),
            "one image of 32x32 px.*more per batch",
        ),
    ]
    for build, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            build()
        assert "\n" not in str(caught.value)
