"""Measuring and using trained models: scores over a data set, predictions for single images.

Needs neither lightning nor the training code. What is named here is for users of the library; its own code
imports a name from the module that defines it.
"""

from mscsa.evaluation.classify import LoadedClassifier as LoadedClassifier
from mscsa.evaluation.classify import Prediction as Prediction
from mscsa.evaluation.classify import classify as classify
from mscsa.evaluation.classify import load_classifier as load_classifier
from mscsa.evaluation.coco_ap import DetectionScores as DetectionScores
from mscsa.evaluation.coco_ap import InstanceScores as InstanceScores
from mscsa.evaluation.coco_ap import measure_detection as measure_detection
from mscsa.evaluation.detect import DetectedObjects as DetectedObjects
from mscsa.evaluation.detect import LoadedDetector as LoadedDetector
from mscsa.evaluation.detect import detect as detect
from mscsa.evaluation.detect import load_detector as load_detector
from mscsa.evaluation.detection_inference import DetectionInference as DetectionInference
from mscsa.evaluation.detections import Detections as Detections
from mscsa.evaluation.evaluate import Evaluation as Evaluation
from mscsa.evaluation.evaluate import evaluate as evaluate
from mscsa.evaluation.miou import SegmentationScores as SegmentationScores
from mscsa.evaluation.miou import measure_segmentation as measure_segmentation
from mscsa.evaluation.segment import LoadedSegmenter as LoadedSegmenter
from mscsa.evaluation.segment import Segmentation as Segmentation
from mscsa.evaluation.segment import load_segmenter as load_segmenter
from mscsa.evaluation.segment import segment as segment
from mscsa.evaluation.segmentation_inference import SegmentationInference as SegmentationInference
from mscsa.evaluation.top1 import Accuracy as Accuracy
from mscsa.evaluation.top1 import measure_accuracy as measure_accuracy
