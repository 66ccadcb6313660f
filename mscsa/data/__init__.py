"""Data: embedded scenes and image folders, their transforms, and a loader that resumes exactly."""

from mscsa.data.checks import Problem as Problem
from mscsa.data.checks import check_image_folder as check_image_folder
from mscsa.data.contract import ClassificationDataset as ClassificationDataset
from mscsa.data.contract import Split as Split
from mscsa.data.contract import Transform as Transform
from mscsa.data.image_folder import ImageFolder as ImageFolder
from mscsa.data.images import load_image as load_image
from mscsa.data.loading import Batch as Batch
from mscsa.data.loading import ImageLoader as ImageLoader
from mscsa.data.loading import build_dataset as build_dataset
from mscsa.data.loading import build_datasets as build_datasets
from mscsa.data.loading import build_eval_loader as build_eval_loader
from mscsa.data.loading import build_train_loader as build_train_loader
from mscsa.data.sampler import EvalSampler as EvalSampler
from mscsa.data.sampler import ResumableBatchSampler as ResumableBatchSampler
from mscsa.data.sampler import SampleKey as SampleKey
from mscsa.data.scenes import Scene as Scene
from mscsa.data.scenes import SceneClassification as SceneClassification
from mscsa.data.scenes import render_scene as render_scene
from mscsa.data.seeding import derive_seed as derive_seed
from mscsa.data.seeding import seeded as seeded
from mscsa.data.transforms import build_transforms as build_transforms
