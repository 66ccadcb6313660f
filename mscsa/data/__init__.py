"""Data: embedded scenes, folders of images, label maps and objects; transforms; a loader that resumes.

What is named here is for users of the library; its own code imports a name from the module that defines it.
"""

from mscsa.data.check_dataset import check_dataset as check_dataset
from mscsa.data.class_folders.dataset import ImageFolder as ImageFolder
from mscsa.data.coco.dataset import CocoDetection as CocoDetection
from mscsa.data.contract import ObjectDataset as ObjectDataset
from mscsa.data.contract import TaskDataset as TaskDataset
from mscsa.data.datasets import build_dataset as build_dataset
from mscsa.data.datasets import build_datasets as build_datasets
from mscsa.data.datasets import class_names_of as class_names_of
from mscsa.data.images import load_image as load_image
from mscsa.data.label_maps.dataset import SegmentationFolder as SegmentationFolder
from mscsa.data.loading import build_eval_loader as build_eval_loader
from mscsa.data.loading import build_train_loader as build_train_loader
from mscsa.data.problems import Problem as Problem
from mscsa.data.sampler import ResumableBatchSampler as ResumableBatchSampler
from mscsa.data.scenes.classification import SceneClassification as SceneClassification
from mscsa.data.scenes.collection import SceneCollection as SceneCollection
from mscsa.data.scenes.detection import SceneDetection as SceneDetection
from mscsa.data.scenes.scene import Scene as Scene
from mscsa.data.scenes.scene import render_scene as render_scene
from mscsa.data.scenes.segmentation import SceneSegmentation as SceneSegmentation
