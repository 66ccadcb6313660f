"""MSCSA: Multi-Stage Cross-Scale Attention for any timm backbone with a feature pyramid.

Importing this package registers its models with timm.
"""

from . import detection as detection
from . import segmentation as segmentation
from .attention import MSCSA as MSCSA
from .attention import MSCSAConfig as MSCSAConfig
from .attention import MSCSANeck as MSCSANeck
from .checkpoints import load_addon as load_addon
from .checkpoints import load_weights as load_weights
from .checkpoints import save_addon as save_addon
from .checkpoints import save_weights as save_weights
from .errors import UserError as UserError
from .models import MSCSAModel as MSCSAModel
from .models import add_to as add_to
from .models import create_model as create_model
from .official import load_official as load_official

__version__ = "0.1.0"
