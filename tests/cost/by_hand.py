"""What MSCSA alone costs, worked out by hand from Table 7 and the definitions."""

BY_HAND_224 = {
    **{"ResNet-18": 0.199, "ResNet-50": 0.507, "PVTv2-B0": 0.081, "PVTv2-B1": 0.218, "PVTv2-B2": 0.501},
    **{"P2T-Tiny": 0.227, "Shunted-T": 0.221, "Swin-T": 0.622, "ConvNeXt-T": 0.622, "CoaT Tiny": 1.90},
    **{"TopFormer-T": 0.055, "TopFormer-B": 0.176, "CoaT Small": 8.00},
}
"""GMACs of MSCSA alone at 224x224, worked out by hand."""

BY_HAND_DENSE = {
    **{"ResNet-18": 5.92, "ResNet-50": 14.96, "PVTv2-B0": 2.70, "PVTv2-B1": 6.35, "PVTv2-B2": 12.99},
    **{"P2T-Tiny": 7.10, "Shunted-T": 6.73, "Swin-T": 16.24, "ConvNeXt-T": 16.24},
    **{"CoaT Tiny": 13.4, "CoaT Small": 49.9},
}
"""GMACs of MSCSA alone at 800x1280 with its fusions, worked out by hand."""
