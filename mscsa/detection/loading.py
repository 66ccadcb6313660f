"""Starting a detector from a classifier's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mscsa.checkpoints import LoadReport, load_parts, load_weights, read_state_dict
from mscsa.detection.detector import Detector
from mscsa.models.model import MSCSAModel


def load_backbone(detector: Detector, source: str | Path | Mapping[str, Tensor]) -> LoadReport:
    """Fill a detector from a classifier of the same backbone and MSCSA, or from a detector.

    Of a classifier, backbone and MSCSA are filled; FPN, heads and fusion stay as built. No parameter depends
    on the pooling stride, so that it may differ.

    Args:
        source: Path (see `read_state_dict`) or state dict; keys of `mscsa.create_model` or of timm.
    Raises:
        UserError: If it is missing or unreadable, or leaves more than a tenth of the values to fill as they
            are; the detector is then unchanged.
    """
    state = read_state_dict(source)[0] if isinstance(source, (str, Path)) else dict(source)
    if any(key.startswith("net.") for key in state):
        return load_weights(detector, state)
    if isinstance(detector.pyramid, MSCSAModel):
        prefixes = {part: detector.body + part for part in ("backbone.", "mscsa.")}
    else:
        prefixes = {"": f"{detector.body}backbone."}
    return load_parts(detector, state, prefixes)
