"""MSCSA: Multi-Stage Cross-Scale Attention for any timm backbone with a feature pyramid.

Importing this package registers its models with timm.
"""

from mscsa import detection as detection
from mscsa import segmentation as segmentation
from mscsa.attention.config import MSCSAConfig as MSCSAConfig
from mscsa.attention.fusion import MSCSANeck as MSCSANeck
from mscsa.attention.module import MSCSA as MSCSA
from mscsa.checkpoints.addon import load_addon as load_addon
from mscsa.checkpoints.addon import save_addon as save_addon
from mscsa.checkpoints.loading import load_weights as load_weights
from mscsa.checkpoints.saving import save_weights as save_weights
from mscsa.errors import UserError as UserError
from mscsa.folding import fold_frozen_norms as fold_frozen_norms
from mscsa.folding import fold_norms as fold_norms
from mscsa.models.build import add_to as add_to
from mscsa.models.build import create_model as create_model
from mscsa.models.model import MSCSAModel as MSCSAModel
from mscsa.official import load_official as load_official

__version__ = "0.1.0"
