"""Object detection and instance segmentation: detectors on any backbone's pyramid."""

from mscsa.detection.build import build_detector
from mscsa.detection.detector import Detector

__all__ = ["Detector", "build_detector"]
