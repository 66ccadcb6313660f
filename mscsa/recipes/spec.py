"""What a run is: typed, frozen descriptions of model, data, augmentation, optimisation and schedule.

Torch-free and at the bottom of the import order, so that the command line can read, print and
override a recipe before anything heavy is imported. `mscsa.training` turns a `Recipe` into a run.
"""

from __future__ import annotations

import os
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from mscsa.heads import Task, find_head
from mscsa.names import parse_model_name
from mscsa.neck_table import MSCSA_NECK
from mscsa.recipes.limits import BELOW_1, check_limits, limited


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model to build."""

    name: str
    """A timm model name, registered (`mscsa_pvt_v2_b1`) or plain (`pvt_v2_b1`)."""
    head: str | None = None
    """What stands on the backbone's pyramid, one of `mscsa.heads.HEADS` (`semantic_fpn`, `mask_rcnn`, ...);
    null for a classifier."""
    head_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the head."""
    mscsa: dict[str, Any] | None = None
    """`MSCSAConfig` fields; adds MSCSA to the backbone `name`. {} leaves the choice to `create_model`."""
    neck: str | None = None
    """What mixes the levels under the head, one of `mscsa.necks.NECKS` (`fpn`, `bifpn`, ...); `mscsa` is what
    `mscsa` and the prefix of `name` mean; null for none, or for MSCSA by these."""
    neck_kwargs: dict[str, Any] = field(default_factory=dict)
    """Fields of the configuration of `neck`; the rest are its defaults, or what `budget` leaves."""
    budget: float | None = limited(None, is_open=True)
    """Add MSCSA, or `neck`, and let it cost at most this share of the backbone's MACs (0.10 = +10 %)."""
    keep_classifier: bool = False
    """With MSCSA as a classifier: keep the backbone's own, and add MSCSA's logits to its, 0 at the start."""
    pretrained: bool = False
    """Start the backbone from timm's published weights (needs network or a local cache). A `checkpoint` takes
    their place, which also starts a backbone that timm has no weights of."""
    checkpoint: str | None = None
    """Start from this file (.safetensors, or .pth/.ckpt read without running code): the same model, or a
    classifier's for the backbone and MSCSA under a dense task's head."""
    baseline_checkpoint: str | None = None
    """The same for the model without MSCSA (`mscsa compare`)."""
    drop_path_rate: float | None = limited(None, 0, BELOW_1)
    """Stochastic depth of the backbone and of MSCSA; null takes the backbone's own default for both."""
    drop_rate: float | None = limited(None, 0, BELOW_1)
    """Dropout before the classifier; null takes the model's own default."""
    frozen: bool = False
    """Keep the whole backbone as it starts: its maps are computed once, kept on disk and read from there (not
    for classifiers). Sizes and mirroring are drawn among kept variants, and the crop of a segmenter starts at
    multiples of the deepest stride; detectors crop none."""
    freeze: tuple[str, ...] = ()
    """Prefixes of parameter names that stay fixed, with their BN statistics (`backbone.stem`)."""
    backbone_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the backbone's own timm constructor."""
    loss: dict[str, Any] = field(default_factory=dict)
    """What a segmenter minimises, where it is not cross-entropy alone: `class_weights`, a list of one number
    for each class; `focal_gamma`, which turns cross-entropy into the focal loss; `cross_entropy` (1) and
    `dice` (0), by which the two are weighted."""

    def __post_init__(self) -> None:
        check_limits("model", self)

    @property
    def task(self) -> Task:
        """What the model is for, by its head.

        Raises:
            UserError: If there is no such head.
        """
        return "classification" if self.head is None else find_head(self.head).task

    @property
    def neck_name(self) -> str | None:
        """The neck that the model has, by its name in the table, however it is asked for; None for none."""
        if self.neck is not None:
            return self.neck
        is_asked = self.mscsa is not None or self.budget is not None
        return MSCSA_NECK if is_asked or parse_model_name(self.name).has_mscsa else None


@dataclass(frozen=True, kw_only=True)
class DataSpec(
    metaclass=ABCMeta
):  # not of `ABC`: jsonargparse reads as one type what is a dataclass throughout
    """Where the images come from and how they are batched; each task has a form of its own."""

    kind: str
    """Form of the data set."""
    root: str | None = None
    """Folder of the data set (all kinds that are not rendered)."""
    batch_size: int = limited(16, 1)
    """Images per optimiser step over all processes."""
    eval_batch_size: int = limited(1, 1)
    """Images per evaluation step and process."""
    workers: int = limited(8)
    """Loader processes per process; 0 loads in the training process."""
    max_bad: int = limited(0)
    """Images of each split that may be unreadable: in training the next readable one takes the place of such
    an image, in evaluation it is left out; `bad_images.txt` lists them."""
    num_train: int = limited(0)
    """Number of training images per epoch (kinds that are rendered)."""
    num_val: int = limited(0)
    """Number of validation images (kinds that are rendered)."""
    num_classes: int | None = limited(None, 1)
    """Number of classes that the data set must have; null takes what is there."""

    def __post_init__(self) -> None:
        check_limits("data", self)

    @property
    def is_rendered(self) -> bool:
        """Whether the images are rendered from what packages bundle, and no folder is needed."""
        return self.kind in ("scenes", "collages")

    @property
    def places(self) -> dict[str, str]:
        """Fields that say where on this machine the data is, by name, without those that are not given."""
        given = {name: getattr(self, name, None) for name in PLACES}
        return {name: place for name, place in given.items() if place is not None}

    def without_places(self) -> Self:
        """The same data, for others, who have it elsewhere."""
        nowhere: dict[str, Any] = dict.fromkeys(self.places)
        return replace(self, **nowhere)

    def with_whole_places(self) -> Self:
        """The same data, found from any folder, as by `mscsa eval RUN` in another; so are maps kept of it."""
        places: dict[str, Any] = {name: os.path.abspath(place) for name, place in self.places.items()}
        return replace(self, **places)

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, int]:
        """(H, W) in pixels at which the model's cost is counted and its budget holds."""


@dataclass(frozen=True, kw_only=True)
class ClassificationData(DataSpec):
    """Images with one label each."""

    kind: Literal["scenes", "folder"]
    """`scenes`: rendered from embedded digits. `folder`: ROOT/train/CLASS/*.jpg, ROOT/val/... (or valid), or
    ROOT/CLASS/*.jpg alone, of which a fifth of each class is val, by a hash of the names; or a table such as
    ROOT/labels.csv with the columns filename, label and, if there is one, split."""
    image_size: int = limited(224, 1)
    """Side of the square input in pixels."""
    batch_size: int = limited(1024, 1)
    """Images per optimiser step over all processes."""
    eval_batch_size: int = limited(256, 1)
    """Images per evaluation step and process."""

    @property
    def input_size(self) -> tuple[int, int]:
        """The square input."""
        return self.image_size, self.image_size


@dataclass(frozen=True, kw_only=True)
class SegmentationData(DataSpec):
    """Images with a class for each pixel."""

    kind: Literal["scenes", "collages", "masks", "ade20k"]
    """`scenes`: rendered digits on background. `collages`: pieces of photographs that scikit-image and
    scikit-learn bundle, each a class. `masks`: ROOT/images/SPLIT/*.jpg, ROOT/labels/SPLIT/*.png
    (index of the class, 255 ignored), ROOT/classes.txt, or another layout of label maps (docs/data.md):
    Cityscapes', Pascal VOC's, SPLIT/images and SPLIT/masks, one folder for both splits, colours.
    `ade20k`: ROOT/images and ROOT/annotations as ADE20K's ADEChallengeData2016, whose label 0 is ignored."""
    image_size: int = limited(512, 1)
    """Side of the square training crop in pixels."""
    short_side: int = limited(512, 1)
    """Shorter side to which images are resized before the random scale, and in evaluation, in pixels."""
    long_side: int = limited(2048, 1)
    """Limit of the longer side in that resizing, in pixels."""
    size_multiple: int = limited(1, 1)
    """Evaluation stretches both sides to multiples of it, in pixels; 1 keeps the image's shape."""
    max_digits: int = limited(6, 1)
    """Most digits in a scene (kind `scenes`)."""

    @property
    def input_size(self) -> tuple[int, int]:
        """The training crop."""
        return self.image_size, self.image_size


GIVEN_PLACES = ("train_annotations", "train_images", "val_annotations", "val_images")
"""Fields of `DetectionData` that name files and folders one by one, in place of `root`."""

PLACES = ("root", *GIVEN_PLACES)
"""Fields of the data that name places of one machine: a file of weights, which others get, has none."""


@dataclass(frozen=True, kw_only=True)
class DetectionData(DataSpec):
    """Images with objects: boxes, classes and, for instance segmentation, masks."""

    kind: Literal["scenes", "coco"]
    """`scenes`: rendered digits. `coco`: ROOT/annotations/instances_SPLIT.json with images in ROOT/SPLIT or
    ROOT/images/SPLIT, or ROOT/SPLIT/_annotations.coco.json beside them, where SPLIT is train or train2017,
    and val, val2017, valid or validation; or one file for all images, as CVAT and Label Studio write it, of
    which a fifth is val, by a hash of the names; or YOLO's ROOT/data.yaml with images and labels, or Pascal
    VOC's ROOT/JPEGImages, Annotations and ImageSets/Main."""
    train_annotations: str | None = None
    """File in COCO's format of the training set, wherever it is; then all four places are given."""
    train_images: str | None = None
    """Folder of its images."""
    val_annotations: str | None = None
    """File in COCO's format of the validation set."""
    val_images: str | None = None
    """Folder of its images."""
    short_side: int = limited(800, 1)
    """Shorter side to which images are resized, in pixels; the side of a scene."""
    long_side: int = limited(1333, 1)
    """Limit of the longer side in that resizing, in pixels."""
    keep_empty: bool = True
    """Train on images without objects too."""
    max_digits: int = limited(6, 1)
    """Most digits in a scene (kind `scenes`)."""

    @property
    def is_given(self) -> bool:
        """Whether files and folders are named one by one."""
        return any(getattr(self, name) is not None for name in GIVEN_PLACES)

    @property
    def input_size(self) -> tuple[int, int]:
        """The shorter side and 1.6 times it, as far as the limit allows; 800x1280 is the paper's Table 2."""
        return self.short_side, min(self.long_side, 8 * self.short_side // 5)


@dataclass(frozen=True, kw_only=True)
class AugmentSpec:
    """Training-time augmentation, whatever the task."""

    hflip: float = limited(0.5, 0, 1)
    """Probability of a horizontal flip."""
    repeats: int = limited(1, 1)
    """Repeated augmentation: every image appears this often, differently augmented; 1 turns it off."""

    def __post_init__(self) -> None:
        check_limits("augment", self)


@dataclass(frozen=True, kw_only=True)
class SegmentationAugment(AugmentSpec):
    """Augmentation of images with label maps (paper App. C.3; figures of TopFormer's public settings)."""

    scale: tuple[float, float] = limited((0.5, 2.0), is_open=True, ascending=True)
    """Range of the random factor on the resized image."""
    max_class_share: float = limited(0.75, 0, 1)
    """A crop in which one class has this share of the known pixels or more is drawn again, ten times in
    all; 1 takes the first."""
    photometric: bool = True
    """Random brightness, contrast, saturation and hue."""
    vflip: float = limited(0.0, 0, 1)
    """Probability of swapping top and bottom (aerial images, microscopy)."""
    rotation: float = limited(0.0, 0, 180)
    """Largest angle in degrees by which an image is turned, either way, before it is cropped."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """Classes that are each other in a mirror image, such as [[left door, right door]]; empty takes what the
    data set says (COCO's `flip_to`)."""


@dataclass(frozen=True, kw_only=True)
class DetectionAugment(AugmentSpec):
    """Augmentation of images with objects (paper App. C.2)."""

    short_sides: tuple[int, ...] = limited((), 1)
    """Shorter sides in pixels of which one is drawn for each image (multi-scale training); empty takes
    `data.short_side` always."""
    crop_sides: tuple[int, int] | None = limited(None, 1, ascending=True)
    """Range of a random crop's sides in pixels, cut out of half of the images before the resizing (Deformable
    DETR); null crops none."""
    crop_short_sides: tuple[int, ...] = limited((400, 500, 600), 1)
    """Shorter sides in pixels of which one is drawn for an image before it is cropped."""
    vflip: float = limited(0.0, 0, 1)
    """Probability of swapping top and bottom (aerial images, microscopy)."""
    quarter_turns: float = limited(0.0, 0, 1)
    """Probability of a turn by 90, 180 or 270 degrees."""
    photometric: bool = False
    """Random brightness, contrast, saturation and hue."""
    scale: tuple[float, float] = limited((1.0, 1.0), is_open=True, ascending=True)
    """Range of a random factor on the size (scale jitter); an image that becomes larger than without it is
    cut to that size, at random."""
    copy_paste: float = limited(0.0, 0, 1)
    """Probability that objects of another image are pasted into an image; needs masks, also of detectors that
    learn boxes alone."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """Classes that are each other in a mirror image, such as [[left door, right door]]; empty takes what the
    data set says (COCO's `flip_to`)."""


@dataclass(frozen=True, kw_only=True)
class ClassificationAugment(AugmentSpec):
    """Augmentation of images to classify, in timm's terms (paper App. C.1 unless 0 or null)."""

    scale: tuple[float, float] = limited((0.08, 1.0), 0, 1, is_open=True, ascending=True)
    """Area range of the random resized crop."""
    color_jitter: float | None = limited(0.4)
    """Strength of colour jitter; timm ignores it where `auto_augment` is set."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """timm policy string: RandAugment (`rand-...`), AutoAugment (`original`, `v0`), AugMix (`augmix-...`)."""
    random_erasing: float = limited(0.25, 0, 1)
    """Probability of random erasing, pixel mode."""
    mixup: float = limited(0.8)
    """Mixup alpha; 0 turns it off."""
    cutmix: float = limited(1.0)
    """CutMix alpha; 0 turns it off."""
    mix_prob: float = limited(1.0, 0, 1)
    """Probability that a batch is mixed."""
    mix_switch_prob: float = limited(0.5, 0, 1)
    """Probability of CutMix where both are on."""
    label_smoothing: float = limited(0.1, 0, BELOW_1)
    """Label smoothing."""
    repeats: int = limited(3, 1)
    """Repeated augmentation: every image appears this often, differently augmented; 1 turns it off."""
    interpolation: str | None = None
    """Resampling of crops; null takes the model's own."""

    @property
    def is_mixing(self) -> bool:
        """Whether batches are mixed."""
        return self.mix_prob > 0 and (self.mixup > 0 or self.cutmix > 0)


PARTS: dict[Task, tuple[type[DataSpec], type[AugmentSpec]]] = {
    "classification": (ClassificationData, ClassificationAugment),
    "segmentation": (SegmentationData, SegmentationAugment),
    "detection": (DetectionData, DetectionAugment),
    "instance_segmentation": (DetectionData, DetectionAugment),
}
"""What describes data and augmentation of each task."""


@dataclass(frozen=True, kw_only=True)
class OptimSpec:
    """Optimiser and learning-rate schedule."""

    optimizer: Literal["adamw", "sgd", "momentum", "rmsproptf"] = "adamw"
    """timm's name of the optimiser; `sgd` has Nesterov's momentum, `momentum` the plain one."""
    lr: float = limited(1e-3)
    """Learning rate after the warm-up."""
    weight_decay: float = limited(0.05)
    """Weight decay; biases, norms and what the model names in `no_weight_decay` are spared."""
    momentum: float = limited(0.9, 0, BELOW_1)
    """Momentum of SGD (`sgd`, `momentum`) and RMSprop."""
    eps: float | None = limited(None, is_open=True)
    """Epsilon of the optimiser; null takes its own default."""
    betas: tuple[float, float] | None = limited(None, 0, BELOW_1)
    """Betas of AdamW; null takes its own default."""
    schedule: Literal["cosine", "step", "multistep", "poly", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup_epochs: float = limited(5.0)
    """Length of the linear warm-up."""
    warmup_steps: int | None = limited(None)
    """Length of the warm-up in optimiser steps, in place of `warmup_epochs`."""
    warmup_lr: float = limited(1e-6)
    """Learning rate at the first step of the warm-up."""
    min_lr: float = limited(1e-5)
    """Last learning rate (schedules `cosine` and `poly`)."""
    decay_epochs: float = limited(2.4, is_open=True)
    """Epochs between two steps (schedule `step`)."""
    decay_rate: float = limited(0.973, 0, 1, is_open=True)
    """Factor of each step (schedules `step` and `multistep`)."""
    milestones: tuple[float, ...] = limited((), is_open=True)
    """Epochs after which the rate is multiplied by `decay_rate` (schedule `multistep`)."""
    power: float = limited(1.0, is_open=True)
    """Exponent of the falling line (schedule `poly`)."""
    head_lr_factor: float = limited(1.0)
    """Learning rate of a dense task's head, relative to that of backbone and MSCSA, which is `lr`."""
    layer_decay: float | None = limited(None, 0, 1, is_open=True)
    """Learning-rate factor per layer group from the head down (fine-tuning); null is off."""
    clip_grad: float | None = limited(None, is_open=True)
    """Largest gradient norm; null is off."""
    ema_decay: float | None = limited(None, 0, BELOW_1)
    """Decay of a moving average of the weights, which grows up to this in the first steps. Both the average
    and the weights themselves are evaluated, and the better are exported; null is off."""

    def __post_init__(self) -> None:
        check_limits("optim", self)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Length, seed, precision and processes of a run."""

    epochs: int = limited(300, 1)
    """Passes over the training set."""
    steps: int | None = limited(None, 1)
    """Length in optimiser steps, in place of `epochs`; schedules span it."""
    max_steps: int | None = limited(None, 1)
    """Stop after this many optimiser steps, wherever the schedule then is."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation, mixing and dropout."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    """Lightning's name of the arithmetic."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device kind."""
    devices: int = limited(1, 1)
    """Processes on this machine; more than one trains as `strategy` says."""
    num_nodes: int = limited(1, 1)
    """Machines."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """What several processes have of the model: each all of it (`ddp`), or each its share of parameters,
    gradients and the optimiser's state (`fsdp`), for a model that is too large for one GPU to train."""
    sync_batchnorm: bool = False
    """Batch statistics over all processes, where there are several (GPU only)."""
    accumulate: int = limited(1, 1)
    """Batches per optimiser step; `batch_size` is their sum."""
    channels_last: bool = True
    """Run convolutions in channels-last memory layout."""
    grad_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    checkpoint_every: int = limited(500, 1)
    """Optimiser steps between two saves of `last.ckpt`; it is also saved after each epoch."""
    eval_every: int = limited(1, 1)
    """Epochs between two evaluations; the last epoch is always evaluated."""
    log_every: int = limited(50, 1)
    """Optimiser steps between two log entries."""
    logger: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    """Where the numbers of `metrics.csv` go too: TensorBoard's files, Weights & Biases, MLflow."""
    monitor: str | None = None
    """Score by which evaluations are ranked, a column of `metrics.csv` after `val_`: best.safetensors,
    `patience` and `keep` go by it. Less is better of `loss`, more of others; null takes the main score."""
    patience: int | None = limited(None, 1)
    """End the run after so many evaluations in a row without a better score; null trains to the end."""
    keep: int = limited(1, 1)
    """Keep the weights of so many of the best evaluations: with 2 or more in kept/step_N.safetensors, too."""
    compile: bool = False
    """Let torch.compile make programs of the training step, of a detector's backbone and neck; evaluation
    runs without. That a resumed run has the same bits is not promised. Not with `model.frozen`."""
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    """How torch may round in float32 matrix products (`high` is TF32 on GPUs); null leaves torch's choice."""
    deterministic: bool = False
    """Allow operations alone that give the same bits each time: two runs on one kind of GPU with the same
    versions end alike. An operation that has no such form ends the run by name. On a CPU all runs are so."""
    threads: int | None = limited(None, 1)
    """CPU threads per process; null leaves torch's choice."""

    def __post_init__(self) -> None:
        check_limits("run", self)


WORDS = ("paper", "expected", "cost")
"""Fields of a recipe that say what is known of it, in prose: no run depends on them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, whole: what `mscsa train NAME` does."""

    name: str
    """`family/model`, as `mscsa train` takes it."""
    paper: str
    """Row of the paper that it reproduces, or where it comes from."""
    expected: str
    """Score to expect, and who measured it."""
    cost: str
    """What it takes: MACs of the model, epochs, batch."""
    starts_from: str | None = None
    """Recipe whose weights it starts from, given as `model.checkpoint`; null starts from scratch."""
    model: ModelSpec
    """Which model to build."""
    data: DataSpec
    """Which images, at which size, in which batches."""
    augment: AugmentSpec
    """Training-time augmentation."""
    optim: OptimSpec = OptimSpec()
    """Optimiser and schedule."""
    run: RunSpec = RunSpec()
    """Length, seed, precision and processes."""

    @property
    def command(self) -> str:
        """The command line that runs it."""
        root = "" if self.data.is_rendered else " --data.root PATH"
        start = "" if self.starts_from is None else " --model.checkpoint FILE"
        return f"mscsa train {self.name}{root}{start}"
