"""Trained models in other runtimes: ONNX Runtime, OpenVINO, torch.export; `mscsa_runtime` runs them."""

from mscsa.export.export import Exported as Exported
from mscsa.export.export import export_checkpoint as export_checkpoint
from mscsa.export.formats import FORMATS as FORMATS
from mscsa.export.scoring import evaluate_artifact as evaluate_artifact
