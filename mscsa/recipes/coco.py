"""COCO detection and instance segmentation: the rows of the paper's Table 2, trained as its App. C.2 says.

One pair of rows makes two recipes, `coco_DETECTOR/NAME` and `coco_DETECTOR/mscsa_NAME`, which share
everything but the backbone. Each starts from its own classifier of Table 6 (`model.checkpoint`).

From App. C.2: optimisers, learning rates, weight decays, batch sizes, epochs and their milestones, the 500
steps of warm-up, flips and image sizes. What it leaves out, which for Swin and ConvNeXt is rate and weight
decay too, follows public settings:

* MMDetection: warm-up from a thousandth of the rate; SGD with plain momentum; images without objects left
  out. Of a ResNet, batch norms keep the statistics of their pre-training, stem and first stage stay fixed,
  and there is no stochastic depth. For Deformable DETR: images without objects too, half of them cropped
  before the multi-scale resizing, all of a ResNet's batch norms fixed, no warm-up, gradients clipped at 0.1,
  and a tenth of the rate for the backbone (MSCSA with it), the sampling offsets and the reference points.
* Swin-T's own (Mask R-CNN, 1x): rate 1e-4, weight decay 0.05, stochastic depth 0.1 (0.2 in its 3x), a norm
  for each level.
* ConvNeXt-T's own (Mask R-CNN, of which there is only 3x): rate 1e-4, weight decay 0.05, stochastic depth
  0.4, a norm for each level, and rates that fall by 0.95 from each of 7 groups of layers to the one before:
  here as much in all, over the 19 that timm has.
* PVTv2's and P2T's own: stochastic depth 0.1. CoaT's own: 0.2 for Small, 0 for Mini and so for Tiny here.

In all rows biases and norms are spared from weight decay, as in ConvNeXt's, and arithmetic is
float32, as in MMDetection's, PVTv2's and P2T's; the others' is half precision (`--run.precision 16-mixed`).
MSCSA's batch norms are live, for its fusion has no statistics yet: two images of a process are few, so that
several processes join theirs (`run.sync_batchnorm`).

Known to differ from MMDetection's settings: box losses of Mask R-CNN and its proposal network are smooth L1
with a beta of 1/9 (torchvision's), there L1; box heads start as torch's linear layers do, there by Xavier
and with a deviation of 0.01 and 0.001; mask targets are shares of a cell, there 0 or 1; images are resized
with antialiasing, there without; images below 32 px stay, there they are left out. With `run.accumulate`
Deformable DETR and RetinaNet divide the losses by the objects of the whole batch, there by those of each
part. In MMDetection `norm_eval` holds every batch norm inside the backbone module; whether the authors had
MSCSA in there is not known, here it is live. All hold for both recipes of a pair.

The printed baselines that the authors did not train are public figures, not all of them trained as App. C.2
says: PVTv2's at twice the rate, RetinaNet's at half of it; Swin-T's and CoaT Small's with multi-scale inputs
and crops, where Table 2 has a single scale for Swin and App. C.2 no crops for CoaT. Those of Cascade Mask
R-CNN, RetinaNet and Deformable DETR started from the standard pre-training, their +MSCSA rows from a
stronger one. The baselines here are matched, and only such a pair says what MSCSA brings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mscsa.paper import TABLE_2, DetectorRow, Origin
from mscsa.recipes.spec import DetectionAugment, DetectionData, ModelSpec, OptimSpec, Recipe, RunSpec

ONE_X = OptimSpec(
    lr=1e-4,
    weight_decay=1e-4,
    schedule="multistep",
    milestones=(8, 11),
    decay_rate=0.1,
    warmup_steps=500,
    warmup_lr=1e-7,
)
"""AdamW as in App. C.2 (Mask R-CNN on ResNet, PVTv2 and P2T)."""

COAT_OPTIM = replace(ONE_X, weight_decay=0.05)
"""CoaT in App. C.2; Swin's own settings are the same."""

CONVNEXT_OPTIM = replace(COAT_OPTIM, layer_decay=0.9813)
"""0.9813 ** 19 is 0.95 ** 7: the stem learns at 0.7 of the head's rate."""

SGD_OPTIM = replace(ONE_X, optimizer="momentum", lr=0.02, warmup_lr=2e-5)
"""SGD as in App. C.2 (Cascade Mask R-CNN, RetinaNet)."""

DETR_OPTIM = replace(
    ONE_X, lr=2e-5, head_lr_factor=10.0, milestones=(40,), warmup_steps=0, warmup_lr=0.0, clip_grad=0.1
)
"""Deformable DETR in App. C.2, whose 2e-4 is that of the transformer."""

SHORT_SIDES = tuple(range(480, 801, 32))
"""Multi-scale inputs."""

RESNET_FROZEN = ("conv1", "bn1", "layer1")
"""Stem and first stage, in timm's names."""

RESNET50_NORMS = tuple(
    f"layer{stage}.{block}.{norm}"
    for stage, blocks in ((2, 4), (3, 6), (4, 3))
    for block in range(blocks)
    for norm in ("bn1", "bn2", "bn3", *(("downsample.1",) if block == 0 else ()))
)
"""Batch norms of the other stages."""

ORIGINS: dict[Origin, str] = {
    "public": "as printed: the public one",
    "re-trained": "backbone re-trained by its authors",
    "trained": "trained by its authors",
}
"""What a recipe says of where a baseline's figures come from."""
UNMATCHED = "from the standard pre-training: not matched to +MSCSA"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a detector of Table 2 is trained, without and with MSCSA."""

    drop_path_rate: float = 0.0
    """Stochastic depth of backbone and MSCSA."""
    remark: str = ""
    """How the printed baseline was trained otherwise; goes on from `ORIGINS`."""
    multi_scale: bool = False
    """Whether the shorter side is drawn from `SHORT_SIDES`."""
    level_norm: bool = False
    """Whether each of the backbone's maps has a norm before the FPN."""
    optim: OptimSpec = ONE_X
    """Optimiser and schedule."""


_PVT = Settings(drop_path_rate=0.1, remark=" at twice the rate")

MASK_RCNN: dict[str, Settings] = {
    "coat_tiny": Settings(multi_scale=True, optim=COAT_OPTIM),
    "coat_small": Settings(
        drop_path_rate=0.2, remark=", multi-scale with crops", multi_scale=True, optim=COAT_OPTIM
    ),
    "resnet50": Settings(),
    "pvt_v2_b0": _PVT,
    "pvt_v2_b1": _PVT,
    "pvt_v2_b2": _PVT,
    "p2t_tiny": Settings(drop_path_rate=0.1),
    "swin_tiny_patch4_window7_224": Settings(
        drop_path_rate=0.1, remark=", multi-scale with crops", level_norm=True, optim=COAT_OPTIM
    ),
    "convnext_tiny": Settings(drop_path_rate=0.4, level_norm=True, optim=CONVNEXT_OPTIM),
}
"""timm's name of the backbone -> settings under Mask R-CNN."""

SETTINGS: dict[tuple[str, str], Settings] = {
    **{("mask_rcnn", backbone): settings for backbone, settings in MASK_RCNN.items()},
    ("cascade_mask_rcnn", "resnet50"): Settings(remark=f", {UNMATCHED}", optim=SGD_OPTIM),
    ("retinanet", "resnet50"): Settings(remark=f" at half the rate, {UNMATCHED}", optim=SGD_OPTIM),
    ("deformable_detr", "resnet50"): Settings(remark=f", {UNMATCHED}", multi_scale=True, optim=DETR_OPTIM),
}
"""(Detector, timm's name of the backbone) -> settings."""


def _frozen(row: DetectorRow) -> tuple[str, ...]:
    """Name what MMDetection fixes in a ResNet, by the place that the backbone has in our detectors."""
    if row.backbone != "resnet50":
        return ()
    if row.head != "deformable_detr":
        return tuple(f"net.backbone.body.backbone.{part}" for part in RESNET_FROZEN)
    place = "net.transformer.model.backbone.model.body.backbone"
    return tuple(f"{place}.{part}" for part in (*RESNET_FROZEN, *RESNET50_NORMS))


def _recipe(row: DetectorRow, *, with_mscsa: bool) -> Recipe:
    name = row.model_name(with_mscsa=with_mscsa)
    settings = SETTINGS[row.head, row.backbone]
    is_detr = row.head == "deformable_detr"
    epochs, batch_size = (50, 32) if is_detr else (12, 16)
    form = "+MSCSA" if with_mscsa else "baseline"
    origin = "as printed" if with_mscsa else ORIGINS[row.origin] + settings.remark
    masks = "" if row.mask_ap is None else f", {row.mask_ap[with_mscsa]} % mask AP"
    return Recipe(
        name=f"coco_{row.head}/{name}",
        paper=f"Table 2, {row.head} on {row.backbone}, {form}; settings of App. C.2",
        expected=(
            f"{row.box_ap[with_mscsa]} % box AP{masks} on COCO val2017 (paper, Table 2, {origin}); "
            "not measured here"
        ),
        cost=f"{row.gmacs[with_mscsa]:g} GMACs (paper) at 800x1280 px, {epochs} epochs, batch {batch_size}",
        starts_from=f"imagenet/{name}",
        model=ModelSpec(
            name=name,
            head=row.head,
            head_kwargs={"level_norm": True} if settings.level_norm else {},
            drop_path_rate=settings.drop_path_rate,
            freeze=_frozen(row),
        ),
        data=DetectionData(
            kind="coco",
            short_side=800,
            long_side=1333,
            batch_size=batch_size,
            eval_batch_size=1,
            num_classes=80,
            keep_empty=is_detr,
        ),
        augment=DetectionAugment(
            hflip=0.5,
            short_sides=SHORT_SIDES if settings.multi_scale else (),
            crop_sides=(384, 600) if is_detr else None,
        ),
        optim=settings.optim,
        run=RunSpec(epochs=epochs, sync_batchnorm=True),
    )


COCO: tuple[Recipe, ...] = tuple(
    _recipe(row, with_mscsa=with_mscsa) for row in TABLE_2 for with_mscsa in (False, True)
)
