"""The idea of the paper, in plain PyTorch: nothing here imports more than torch."""

from .config import MSCSAConfig as MSCSAConfig
from .cost import Macs as Macs
from .cost import config_for_budget as config_for_budget
from .cost import mscsa_macs as mscsa_macs
from .cross_scale import CrossScaleAttention as CrossScaleAttention
from .feed_forward import FeedForward as FeedForward
from .fusion import MSCSANeck as MSCSANeck
from .fusion import PyramidFusion as PyramidFusion
from .module import MSCSA as MSCSA
