"""Object detection and instance segmentation: four detectors on any backbone's pyramid."""

from mscsa.detection.build import DETECTORS, build_detector
from mscsa.detection.detector import Detector
from mscsa.detection.loading import load_backbone

__all__ = ["DETECTORS", "Detector", "build_detector", "load_backbone"]
