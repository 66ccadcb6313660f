"""Small segmenters for the tests."""

from __future__ import annotations

import torch

from mscsa.heads import HEADS
from mscsa.segmentation import Segmenter, build_segmenter

SEGMENTERS = [name for name, head in HEADS.items() if head.task == "segmentation"]
BACKBONES = ("test_resnet", "mscsa_test_resnet", "pvt_v2_b0", "mscsa_pvt_v2_b0", "topformer_tiny")
BACKBONES += ("mscsa_topformer_tiny", "mscsa_swin_tiny_patch4_window7_224")
BOTH = [(head, backbone) for head in SEGMENTERS for backbone in BACKBONES]
ANY_SIZE = [(head, backbone) for head, backbone in BOTH if "swin" not in backbone]


def small(head: str, backbone: str, num_classes: int = 5, **options: object) -> Segmenter:
    """Build a small segmenter, the same each time."""
    torch.manual_seed(0)
    if head == "semantic_fpn":
        options = {"fpn_channels": 32, "head_channels": 32, **options}
    if backbone.startswith("mscsa_"):
        options = {"fields": {"pool_stride": 16}, **options}
    return build_segmenter(head, backbone, num_classes, **options)
