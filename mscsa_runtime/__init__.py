"""Exported models (`mscsa export`) in their own runtimes: numpy, Pillow, and torch for torch's alone.

>>> model = Artifact("exported")
>>> labels = segment(model, PIL.Image.open("street.jpg").convert("RGB"))
"""

from mscsa_runtime.artifact import Artifact as Artifact
from mscsa_runtime.artifact import find_artifact as find_artifact
from mscsa_runtime.errors import ArtifactError as ArtifactError
from mscsa_runtime.metadata import Metadata as Metadata
from mscsa_runtime.predictions import class_probabilities as class_probabilities
from mscsa_runtime.predictions import classify as classify
from mscsa_runtime.predictions import detect as detect
from mscsa_runtime.predictions import segment as segment
