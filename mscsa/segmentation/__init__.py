"""Semantic segmentation: heads on any backbone's pyramid, with or without MSCSA."""

from mscsa.segmentation.build import build_segmenter
from mscsa.segmentation.segmenter import Segmenter
from mscsa.segmentation.semantic_fpn import SemanticFPNHead
from mscsa.segmentation.topformer_head import TopFormerHead

__all__ = ["Segmenter", "SemanticFPNHead", "TopFormerHead", "build_segmenter"]
