"""What a model is made of and what it costs, part by part, against its backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mscsa.attention.config import MSCSAConfig
from mscsa.attention.cost import Macs, mscsa_macs
from mscsa.attention.fusion import PyramidFusion
from mscsa.attention.module import MSCSA
from mscsa.attention.pooling import token_map_size
from mscsa.cost.model_pair import ModelPair, build_pair
from mscsa.detection.detector import Detector
from mscsa.errors import UserError
from mscsa.macs import count_macs, count_parameters, run_and_count
from mscsa.models.neck import NeckPyramid
from mscsa.neck_table import MSCSA_NECK
from mscsa.necks.cost import neck_macs

_NO_MACS = Macs(squeeze=0, csa=0, attention=0, ffn=0, intra_ffn=0, fusion=0)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One level that the neck reads."""

    stride: int
    """Input pixels per map pixel."""
    channels: int
    size: tuple[int, int]
    """(H_i, W_i)."""
    token_channels: int
    """c_i: its share of MSCSA's token map; 0 for another neck."""
    is_fused: bool
    """Whether the level is given back, fused or mixed (dense form)."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model with MSCSA, or another neck, beside its backbone, for one image."""

    name: str
    baseline_name: str
    is_dense: bool
    head: str | None
    """What stands on the pyramid; None for a classifier and a bare pyramid."""
    neck: str
    """Its name in `mscsa.necks.NECKS`."""
    input_size: tuple[int, int]
    """(H, W) in pixels."""
    stages: tuple[Stage, ...]
    token_size: tuple[int, int] | None
    """(h, w) of MSCSA's token map."""
    config: Any
    """The neck's."""
    macs: int
    """Multiply-adds of the model: convolutions and matrix products."""
    baseline_macs: int
    neck_macs: int
    """The neck alone (closed form)."""
    mscsa_macs: Macs
    """Those of MSCSA by component; nothing of another neck."""
    head_macs: int
    """The model's classifier, or what stands on its pyramid."""
    parameters: int
    baseline_parameters: int
    neck_parameters: int
    """The neck alone, with its norms."""
    mscsa_parameters: dict[str, int]
    """Those of MSCSA by the components of `Macs`; nothing of another neck."""
    head_parameters: int
    """The same, with the classifier's norm."""
    counted_as: str
    """A sentence on what of the head is counted; "" where it is all."""


def describe_model(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    dense: bool = False,
    head: str | None = None,
    budget: float | None = None,
    fields: Mapping[str, Any] | None = None,
    neck: str | None = None,
    neck_config: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Build `name` without data and take its measure.

    Args:
        name: timm name of a backbone, with `mscsa_` before it or not.
        size: (H, W) of the image; the model's default if None.
        dense: Take the pyramid form.
        head: Take the pyramid form with this head for segmentation or detection.
        budget: As `mscsa.create_model`; it holds at `size`.
        fields: `MSCSAConfig` fields by name.
        neck: Another neck in MSCSA's place, as `build_pair`.
        neck_config: Fields of its configuration by name.
    Raises:
        UserError: If there is no such model, or it does not take the size.
    """
    with torch.device("meta"):
        pair = build_pair(
            name,
            dense=dense,
            head=head,
            budget=budget,
            size=size,
            fields=fields,
            neck=neck,
            neck_config=neck_config,
        )
    for model in (pair.baseline, pair.model):  # transformers makes a parameter elsewhere; see `count_macs`
        model.to("meta").requires_grad_(False)
    return describe_pair(pair, size or pair.input_size)


def describe_pair(pair: ModelPair, size: tuple[int, int]) -> ModelInfo:
    """Take the measure of a pair on the meta device, at one image of (H, W) pixels."""
    model = pair.model
    other = next((each for each in model.modules() if isinstance(each, NeckPyramid)), None)
    neck: Any = _only(model, MSCSA) if other is None else other.neck
    macs, sizes = _count(model, neck, size)
    baseline_macs, _ = _count(pair.baseline, None, size)
    head_macs, head_parameters = _head_cost(pair, macs, size)
    return ModelInfo(
        name=pair.name,
        baseline_name=pair.baseline_name,
        is_dense=pair.is_dense,
        head=pair.head,
        input_size=size,
        config=neck.config,
        macs=macs,
        baseline_macs=baseline_macs,
        head_macs=head_macs,
        parameters=count_parameters(model),
        baseline_parameters=count_parameters(pair.baseline),
        head_parameters=head_parameters,
        counted_as=model.net.counted_as if isinstance(model, Detector) else "",
        **(_of_mscsa(model, neck, sizes) if other is None else _of_other(other, sizes)),
    )


def _of_mscsa(model: nn.Module, attention: MSCSA, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Give the fields of `ModelInfo` that are about MSCSA."""
    fusion = next((m for m in model.modules() if isinstance(m, PyramidFusion)), None)
    fused = _fused_levels(model)
    macs, parameters = _closed_form(attention, sizes, fused), _parameters_by_part(attention, fusion)
    return {
        "neck": MSCSA_NECK,
        "stages": _stages(attention, sizes, attention.stage_channels, fused),
        "token_size": token_map_size(sizes, attention.strides, attention.config.pool_stride),
        "neck_macs": macs.total,
        "mscsa_macs": macs,
        "neck_parameters": sum(parameters.values()),
        "mscsa_parameters": parameters,
    }


def _of_other(pyramid: NeckPyramid, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Give the fields of `ModelInfo` that are about another neck."""
    name, neck = pyramid.neck_name, pyramid.neck
    return {
        "neck": name,
        "stages": _stages(neck, sizes, [0] * len(sizes), neck.out_levels),
        "token_size": None,
        "neck_macs": neck_macs(name, neck.channels, neck.strides, sizes, neck.config, neck.out_levels),
        "mscsa_macs": _NO_MACS,
        "neck_parameters": count_parameters(neck),
        "mscsa_parameters": {},
    }


def _stages(
    neck: Any, sizes: list[tuple[int, int]], token_channels: Sequence[int], given_back: Sequence[int]
) -> tuple[Stage, ...]:
    rows = zip(neck.strides, neck.channels, sizes, token_channels, strict=True)
    return tuple(
        Stage(stride=s, channels=c, size=hw, token_channels=t, is_fused=i in given_back)
        for i, (s, c, hw, t) in enumerate(rows)
    )


def count_model(model: nn.Module, size: tuple[int, int]) -> int:
    """Count the multiply-adds of a model of any task at one image of (H, W) pixels.

    A detector is counted on a fixed workload (`Detector.run_fixed`), all others as `count_macs` does.
    """
    return count_macs(model, size, run=_run)


def count_mscsa(model: nn.Module, size: tuple[int, int]) -> tuple[MSCSAConfig, Macs]:
    """Give the configuration of a model's MSCSA and its multiply-adds at one image of (H, W) pixels.

    Args:
        model: A model with one MSCSA module, on the meta device.
    """
    attention = _only(model, MSCSA)
    _, sizes = _count(model, attention, size)
    return attention.config, _closed_form(attention, sizes, _fused_levels(model))


def _head_cost(pair: ModelPair, macs: int, size: tuple[int, int]) -> tuple[int, int]:
    """Count MACs and parameters of the classifier, or of what stands on the pyramid."""
    model = pair.model
    if pair.head is not None:
        pyramid = model.pyramid if isinstance(model, Detector) else model.backbone
        divisor = model.size_divisor
        padded = (size[0] + -size[0] % divisor, size[1] + -size[1] % divisor)  # what the pyramid sees
        pyramid_macs, _ = _count(pyramid, None, padded)
        return macs - pyramid_macs, count_parameters(model) - count_parameters(pyramid)
    if pair.is_dense:
        return 0, 0
    classifier = model.get_classifier()
    parts = [model.head, model.norm] if hasattr(model, "norm") else []
    return (
        classifier.weight.numel() if isinstance(classifier, nn.Linear) else 0,
        sum(count_parameters(part) for part in parts),
    )


def _parameters_by_part(attention: MSCSA, fusion: PyramidFusion | None) -> dict[str, int]:
    """Count MSCSA's parameters under the names of `Macs`; a branch's norm belongs to it."""
    counts = {"squeeze": count_parameters(attention.squeezes), "csa": 0, "ffn": 0, "intra_ffn": 0}
    for block in attention.blocks:
        first = "intra_ffn" if attention.config.intra_ffn else "ffn"
        branches: list[tuple[str, Any, Any]] = [
            ("csa", block.csa1, block.norm1),
            (first, block.ffn1, block.norm2),
            ("csa", block.csa2, block.norm3),
            ("ffn", block.ffn2, block.norm4),
        ]
        for part, branch, norm in branches:
            counts[part] += count_parameters(branch) + count_parameters(norm)
    if fusion is not None:
        counts["fusion"] = count_parameters(fusion)
    return counts


def _run(model: Any, images: Tensor) -> None:
    if isinstance(model, Detector):
        model.run_fixed(images)
    else:
        model(images)


def _closed_form(attention: MSCSA, sizes: list[tuple[int, int]], fused: tuple[int, ...]) -> Macs:
    return mscsa_macs(attention.channels, attention.strides, sizes, attention.config, fused)


def _fused_levels(model: nn.Module) -> tuple[int, ...]:
    fusion = next((m for m in model.modules() if isinstance(m, PyramidFusion)), None)
    return () if fusion is None else fusion.levels


def _only(model: nn.Module, kind: type[MSCSA]) -> MSCSA:
    found = [module for module in model.modules() if isinstance(module, kind)]
    if len(found) != 1:
        raise ValueError(f"{type(model).__name__} has {len(found)} MSCSA modules: 1 is expected")
    return found[0]


def _count(
    model: nn.Module, neck: nn.Module | None, size: tuple[int, int]
) -> tuple[int, list[tuple[int, int]]]:
    """Count a model's multiply-adds and note the sizes of the maps that its neck reads.

    Raises:
        UserError: If the model does not take images of `size`.
    """
    sizes: list[tuple[int, int]] = []

    def note_sizes(_: nn.Module, inputs: tuple[Sequence[Tensor], ...]) -> None:
        sizes.extend((x.shape[2], x.shape[3]) for x in inputs[0])

    hook = neck.register_forward_pre_hook(note_sizes) if neck else None
    model.eval()
    image = torch.empty(1, 3, *size, device="meta")
    try:
        macs = run_and_count(lambda: _run(model, image))[1]
    except (AssertionError, RuntimeError) as error:  # without data or device, only the size can be wrong
        reason, (height, width) = " ".join(str(error).split())[:200], size
        raise UserError(
            f"{type(model).__name__} does not take images of {height}x{width}: {reason}; give another size"
        ) from error
    finally:
        if hook:
            hook.remove()
    return macs, sizes
