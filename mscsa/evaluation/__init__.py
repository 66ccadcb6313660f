"""Measuring and using trained classifiers: accuracy over a data set, predictions for single images.

Needs neither lightning nor the training code. What a file of weights says about itself
(`weights_file`) is enough to rebuild the model and its preprocessing.
"""

from mscsa.evaluation.classifier import Prediction, evaluate, predict
from mscsa.evaluation.models import build_model
from mscsa.evaluation.top1 import Accuracy, measure_accuracy

__all__ = ["Accuracy", "Prediction", "build_model", "evaluate", "measure_accuracy", "predict"]
