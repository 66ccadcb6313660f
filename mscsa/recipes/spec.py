"""What a run is: typed, frozen descriptions of model, data, augmentation, optimisation and schedule.

Torch-free and at the bottom of the import order, so that the command line can read, print and
override a recipe before anything heavy is imported. `mscsa.training` turns a `Recipe` into a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model to build."""

    name: str
    """A timm model name, registered (`mscsa_pvt_v2_b1`) or plain (`pvt_v2_b1`)."""
    mscsa: dict[str, Any] | None = None
    """`MSCSAConfig` fields; adds MSCSA to the backbone `name`. {} leaves the choice to `create_model`."""
    budget: float | None = None
    """Add MSCSA to `name` and let it cost at most this share of the backbone's MACs (0.10 = +10 %)."""
    pretrained: bool = False
    """Start the backbone from timm's published weights (needs network or a local cache)."""
    checkpoint: str | None = None
    """Start the whole model from this file (.safetensors, or .pth/.ckpt read without running code)."""
    drop_path_rate: float = 0.0
    """Stochastic depth of the backbone and of MSCSA."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    freeze: tuple[str, ...] = ()
    """Prefixes of parameter names that stay fixed, with their BN statistics (`backbone.stem`)."""
    backbone_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the backbone's own timm constructor."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where the images come from and how they are batched."""

    kind: Literal["scenes", "folder"]
    """`scenes`: rendered from embedded digits. `folder`: ROOT/train/CLASS/*.jpg and ROOT/val/..."""
    root: str | None = None
    """Folder of the images (kind `folder`)."""
    image_size: int = 224
    """Side of the square input in pixels."""
    batch_size: int = 1024
    """Images per optimiser step over all processes."""
    eval_batch_size: int = 256
    """Images per evaluation step and process."""
    workers: int = 8
    """Loader processes per process; 0 loads in the training process."""
    num_train: int = 0
    """Number of training scenes per epoch (kind `scenes`)."""
    num_val: int = 0
    """Number of validation scenes (kind `scenes`)."""
    num_classes: int | None = None
    """Number of classes that the folder must hold; null takes what is there."""


@dataclass(frozen=True, kw_only=True)
class AugmentSpec:
    """Training-time augmentation, in timm's terms (paper App. C.1 unless 0 or null)."""

    scale: tuple[float, float] = (0.08, 1.0)
    """Area range of the random resized crop."""
    hflip: float = 0.5
    """Probability of a horizontal flip."""
    color_jitter: float | None = 0.4
    """Strength of colour jitter; timm ignores it where `auto_augment` is set."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """timm policy string: RandAugment (`rand-...`), AutoAugment (`original`, `v0`), AugMix (`augmix-...`)."""
    random_erasing: float = 0.25
    """Probability of random erasing, pixel mode."""
    mixup: float = 0.8
    """Mixup alpha; 0 turns it off."""
    cutmix: float = 1.0
    """CutMix alpha; 0 turns it off."""
    mix_prob: float = 1.0
    """Probability that a batch is mixed."""
    mix_switch_prob: float = 0.5
    """Probability of CutMix where both are on."""
    label_smoothing: float = 0.1
    """Label smoothing."""
    repeats: int = 3
    """Repeated augmentation: every image appears this often, differently augmented; 1 turns it off."""
    interpolation: str | None = None
    """Resampling of crops; null takes the model's own."""


@dataclass(frozen=True, kw_only=True)
class OptimSpec:
    """Optimiser and learning-rate schedule."""

    optimizer: Literal["adamw", "sgd", "rmsproptf"] = "adamw"
    """timm's name of the optimiser."""
    lr: float = 1e-3
    """Learning rate after the warm-up."""
    weight_decay: float = 0.05
    """Weight decay; biases, norms and what the model names in `no_weight_decay` are spared."""
    momentum: float = 0.9
    """Momentum of SGD and RMSprop."""
    eps: float | None = None
    """Epsilon of the optimiser; null takes its own default."""
    betas: tuple[float, float] | None = None
    """Betas of AdamW; null takes its own default."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup_epochs: float = 5.0
    """Length of the linear warm-up."""
    warmup_lr: float = 1e-6
    """Learning rate at the first step of the warm-up."""
    min_lr: float = 1e-5
    """Last learning rate of the cosine."""
    decay_epochs: float = 2.4
    """Epochs between two steps (schedule `step`)."""
    decay_rate: float = 0.973
    """Factor of each step (schedule `step`)."""
    layer_decay: float | None = None
    """Learning-rate factor per layer group from the head down (fine-tuning); null is off."""
    clip_grad: float | None = None
    """Largest gradient norm; null is off."""
    ema_decay: float | None = None
    """Decay of a moving average of the weights, which is then evaluated and exported; null is off."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Length, seed, precision and processes of a run."""

    epochs: int = 300
    """Passes over the training set."""
    max_steps: int | None = None
    """Stop after this many optimiser steps, before the epochs are over."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation, mixing and dropout."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    """Lightning's name of the arithmetic."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device kind."""
    devices: int = 1
    """Processes on this machine; more than one trains by DDP."""
    num_nodes: int = 1
    """Machines."""
    sync_batchnorm: bool = False
    """Batch statistics over all processes (GPU only)."""
    accumulate: int = 1
    """Batches per optimiser step; `batch_size` is their sum."""
    channels_last: bool = True
    """Run convolutions in channels-last memory layout."""
    grad_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    checkpoint_every: int = 500
    """Optimiser steps between two saves of `last.ckpt`; it is also saved after each epoch."""
    eval_every: int = 1
    """Epochs between two evaluations; the last epoch is always evaluated."""
    log_every: int = 50
    """Optimiser steps between two log entries."""
    threads: int | None = None
    """CPU threads per process; null leaves torch's choice."""


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
    model: ModelSpec
    """Which model to build."""
    data: DataSpec
    """Which images, at which size, in which batches."""
    augment: AugmentSpec = AugmentSpec()
    """Training-time augmentation."""
    optim: OptimSpec = OptimSpec()
    """Optimiser and schedule."""
    run: RunSpec = RunSpec()
    """Length, seed, precision and processes."""

    @property
    def command(self) -> str:
        """The command line that runs it."""
        root = " --data.root PATH" if self.data.kind == "folder" else ""
        return f"mscsa train {self.name}{root}"
