"""TopFormer's head: the sum of the injected maps, depthwise where the TopFormer's own is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from mscsa.attention import MSCSA
from mscsa.backbones.topformer import SIZES
from mscsa.macs import run_and_count
from mscsa.segmentation import TopFormerHead, build_segmenter
from tests.segmentation.small import small

CHANNELS, STRIDES = (64, 128, 256, 512), (4, 8, 16, 32)
"""Of a ResNet-18."""


def test_maps_are_summed_at_the_finest() -> None:
    head = TopFormerHead(8, 5).eval()
    maps = [torch.randn(2, 8, *size) for size in ((13, 17), (7, 9), (4, 5))]
    total = maps[0] + sum(F.interpolate(x, (13, 17), mode="bilinear", align_corners=False) for x in maps[1:])
    with torch.inference_mode():
        logits, expected = head(maps), head.conv_seg(head.linear_fuse(total).relu())
    assert logits.shape == (2, 5, 13, 17)
    assert torch.allclose(logits, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "channels", "groups"),
    [
        ("topformer_tiny", 128, 128),
        ("mscsa_topformer_tiny", 128, 128),
        ("topformer_base", 256, 1),
        ("resnet10t", 256, 1),
    ],
)
def test_width_and_fusion_are_the_topformers_own(backbone: str, channels: int, groups: int) -> None:
    """Of a TopFormer its size says both; whatever else a backbone is called, it gets TopFormer-B's."""
    with torch.device("meta"):
        fuse = build_segmenter("topformer_head", backbone, 5).decode_head.linear_fuse.get_submodule("conv")
    assert isinstance(fuse, nn.Conv2d)
    assert (fuse.out_channels, fuse.groups) == (channels, groups)
    assert SIZES["topformer_tiny"].has_depthwise_head and not SIZES["topformer_base"].has_depthwise_head


def test_options_replace_the_topformers_own() -> None:
    head = small("topformer_head", "topformer_tiny", injected_channels=24, depthwise=False).decode_head
    assert (head.linear_fuse.conv.out_channels, head.linear_fuse.conv.groups) == (24, 1)


def test_mscsa_stands_in_for_the_extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under TopFormer's head MSCSA gives the tokens; its fusion is not built."""
    monkeypatch.setattr("mscsa.attention.fusion.LevelFusion", None)  # whoever built one would fail
    model = small("topformer_head", "mscsa_resnet10t")
    assert isinstance(model.backbone.trans, MSCSA)
    assert not [name for name in model.state_dict() if "fusion" in name]
    topformer = build_segmenter("topformer_head", "mscsa_topformer_tiny", 5)
    assert topformer.backbone.trans.config.pool_stride == 64


def test_a_budget_is_spent_on_tokens_alone() -> None:
    """The head's own injection takes the place of MSCSA's fusions, which cost nothing here."""
    fields = {"num_heads": 2, "pool_stride": 16}
    with torch.device("meta"):
        model = build_segmenter(
            "topformer_head", "resnet18", 5, budget=0.1, budget_size=(256, 256), fields=fields
        )
    maps = [
        torch.empty(1, c, 256 // s, 256 // s, device="meta") for c, s in zip(CHANNELS, STRIDES, strict=True)
    ]
    mscsa, backbone = model.backbone.trans.eval(), model.backbone.tpm.eval()
    image = torch.empty(1, 3, 256, 256, device="meta")
    share = run_and_count(lambda: mscsa(maps))[1] / run_and_count(lambda: backbone(image))[1]
    assert 0.09 <= share <= 0.1


def rates_of(module: nn.Module) -> list[float]:
    return [float(m.drop_prob or 0) for m in module.modules() if isinstance(m, DropPath)]


def test_the_extractor_drops_paths_as_the_backbone_does() -> None:
    given = small("topformer_head", "resnet10t", drop_path_rate=0.3).backbone
    with torch.device("meta"):
        own = small("topformer_head", "swin_tiny_patch4_window7_224").backbone
    for dense, rate in ((given, 0.3), (own, 0.1)):  # 0.1 is Swin's own
        assert max(rates_of(dense.tpm)) == pytest.approx(rate)
        assert max(rates_of(dense.trans)) == pytest.approx(rate)
    assert not rates_of(small("topformer_head", "topformer_tiny").backbone)
    topformer = small("topformer_head", "topformer_tiny", drop_path_rate=0.3).backbone
    assert max(rates_of(topformer.trans)) == pytest.approx(0.3)
