"""Whole models: built from a recipe's description, or from the file of weights that a run wrote."""

from mscsa.assembly.build import build_model as build_model
from mscsa.assembly.build import check_input_size as check_input_size
from mscsa.assembly.build import resolved_spec as resolved_spec
from mscsa.assembly.weights_file import WeightsInfo as WeightsInfo
from mscsa.assembly.weights_file import load_trained as load_trained
from mscsa.assembly.weights_file import read_info as read_info
