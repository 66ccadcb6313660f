"""Measuring and using trained models: scores over a data set, predictions for single images.

Needs neither lightning nor the training code. What a file of weights says about itself
(`weights_file`) is enough to rebuild the model and its preprocessing.
"""

from mscsa.evaluation.classify import Prediction, classify
from mscsa.evaluation.coco_ap import DetectionScores, InstanceScores, measure_detection
from mscsa.evaluation.detect import DetectedObjects, detect
from mscsa.evaluation.detections import Detections, find_objects
from mscsa.evaluation.evaluate import Evaluation, evaluate
from mscsa.evaluation.miou import SegmentationScores, measure_segmentation
from mscsa.evaluation.models import build_model
from mscsa.evaluation.segment import Segmentation, segment
from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.evaluation.top1 import Accuracy, measure_accuracy
from mscsa.evaluation.weights_file import load_trained, read_info

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
    "build_model",
    "classify",
    "detect",
    "evaluate",
    "find_objects",
    "load_trained",
    "measure_accuracy",
    "measure_detection",
    "measure_segmentation",
    "read_info",
    "segment",
]
