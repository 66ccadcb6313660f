"""Reading, checking and writing weights: files of any training code, into any model of ours or of timm."""

from mscsa.checkpoints.addon import load_addon as load_addon
from mscsa.checkpoints.addon import save_addon as save_addon
from mscsa.checkpoints.loading import load_weights as load_weights
from mscsa.checkpoints.reading import read_state_dict as read_state_dict
from mscsa.checkpoints.report import LoadReport as LoadReport
from mscsa.checkpoints.saving import save_weights as save_weights
