"""Necks that mix the levels of a pyramid, side by side: MSCSA and those it is compared with."""

from mscsa.neck_table import NECKS as NECKS
from mscsa.neck_table import find_neck as find_neck
from mscsa.necks.bifpn import BiFPN as BiFPN
from mscsa.necks.bifpn import BiFPNConfig as BiFPNConfig
from mscsa.necks.build import build_neck as build_neck
from mscsa.necks.build import neck_config as neck_config
from mscsa.necks.cost import neck_config_for_budget as neck_config_for_budget
from mscsa.necks.cost import neck_macs as neck_macs
from mscsa.necks.fpn import FPN as FPN
from mscsa.necks.fpn import FPNConfig as FPNConfig
from mscsa.necks.pafpn import PAFPN as PAFPN
from mscsa.necks.pafpn import PAFPNConfig as PAFPNConfig
from mscsa.necks.topformer import TopFormerNeck as TopFormerNeck
from mscsa.necks.topformer import TopFormerNeckConfig as TopFormerNeckConfig
