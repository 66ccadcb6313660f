"""Training on a frozen backbone whose maps are computed once and kept on disk.

What it measures is a neck and a head on the features of a backbone that does not learn: minutes in place of
hours, and a claim about frozen backbones, not about fine-tuned ones.
"""

from mscsa.frozen.backbone import freeze_backbone, frozen_prefix, prepare
from mscsa.frozen.keeping import check_frozen

__all__ = ["check_frozen", "freeze_backbone", "frozen_prefix", "prepare"]
