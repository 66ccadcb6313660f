"""The idea of the paper, in plain PyTorch: nothing here imports more than torch."""

from mscsa.attention.config import MSCSAConfig as MSCSAConfig
from mscsa.attention.cost import Macs as Macs
from mscsa.attention.cost import config_for_budget as config_for_budget
from mscsa.attention.cost import mscsa_macs as mscsa_macs
from mscsa.attention.cross_scale import CrossScaleAttention as CrossScaleAttention
from mscsa.attention.feed_forward import FeedForward as FeedForward
from mscsa.attention.fusion import MSCSANeck as MSCSANeck
from mscsa.attention.fusion import PyramidFusion as PyramidFusion
from mscsa.attention.module import MSCSA as MSCSA
