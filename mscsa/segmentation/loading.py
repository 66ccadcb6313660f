"""Starting a segmenter from a classifier's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mscsa.attention import MSCSA
from mscsa.checkpoints import LoadReport, load_parts, load_weights, read_state_dict
from mscsa.models.model import MSCSAModel
from mscsa.models.pyramid import BackbonePyramid
from mscsa.segmentation.dense_topformer import DenseTopFormer
from mscsa.segmentation.segmenter import Segmenter


def load_backbone(segmenter: Segmenter, source: str | Path | Mapping[str, Tensor]) -> LoadReport:
    """Fill a segmenter from a classifier of the same backbone and MSCSA, or from a segmenter.

    Of a classifier, backbone and MSCSA are filled; head, fusion and injection stay as built. No parameter
    depends on the pooling stride, so that it may differ.

    Args:
        source: Path (see `read_state_dict`) or state dict; keys of `mscsa.create_model` or of timm.
    Raises:
        UserError: If it is missing or unreadable, or leaves more than a tenth of the values to fill as they
            are; the segmenter is then unchanged.
    """
    state = read_state_dict(source)[0] if isinstance(source, (str, Path)) else dict(source)
    if any(key.startswith(segmenter.head_prefixes) for key in state):
        return load_weights(segmenter, state)
    return load_parts(segmenter, state, _classifier_prefixes(segmenter))


def _classifier_prefixes(segmenter: Segmenter) -> dict[str, str]:
    """Say where in the segmenter the parts of its classifier are: prefix of the key there -> here."""
    backbone = segmenter.backbone
    if isinstance(backbone, MSCSAModel):
        return {"backbone.": "backbone.backbone.", "mscsa.": "backbone.mscsa."}
    if not isinstance(backbone, DenseTopFormer):
        return {"": "backbone.backbone."}
    is_other = isinstance(backbone.tpm, BackbonePyramid)
    if isinstance(backbone.trans, MSCSA):
        own = {"backbone.": "backbone.tpm.backbone."} if is_other else {"backbone.tpm.": "backbone.tpm."}
        return {**own, "mscsa.": "backbone.trans."}
    if is_other:
        return {"": "backbone.tpm.backbone."}
    return {"tpm.": "backbone.tpm.", "trans.": "backbone.trans."}
