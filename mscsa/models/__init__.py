"""A backbone with MSCSA: its name, its pyramid, its building, its entry in timm's registry.

Importing it registers the paper's models with timm.
"""

from mscsa.models import register as register
from mscsa.models.build import add_to as add_to
from mscsa.models.build import build_pyramid as build_pyramid
from mscsa.models.build import create_model as create_model
from mscsa.models.model import MSCSAModel as MSCSAModel
from mscsa.models.neck import NeckPyramid as NeckPyramid
