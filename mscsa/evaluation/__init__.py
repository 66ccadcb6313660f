"""Measuring and using trained models: scores over a data set, predictions for single images.

Needs neither lightning nor the training code.
"""

from mscsa.evaluation.classify import Prediction, classify
from mscsa.evaluation.coco_ap import DetectionScores, InstanceScores, measure_detection
from mscsa.evaluation.detect import DetectedObjects, detect
from mscsa.evaluation.detections import Detections, find_objects
from mscsa.evaluation.evaluate import Evaluation, evaluate
from mscsa.evaluation.miou import SegmentationScores, measure_segmentation
from mscsa.evaluation.segment import Segmentation, segment
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.top1 import Accuracy, measure_accuracy

__all__ = [
    "Accuracy",
    "DetectedObjects",
    "DetectionScores",
    "Detections",
    "Evaluation",
    "InstanceScores",
    "Prediction",
    "Segmentation",
    "SegmentationInference",
    "SegmentationScores",
    "classify",
    "detect",
    "evaluate",
    "find_objects",
    "measure_accuracy",
    "measure_detection",
    "measure_segmentation",
    "segment",
]
