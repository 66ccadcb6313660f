"""Object detection and instance segmentation: detectors on any backbone's pyramid."""

from mscsa.detection.build import build_detector
from mscsa.detection.detector import Detector
from mscsa.detection.loading import load_backbone

__all__ = ["Detector", "build_detector", "load_backbone"]
