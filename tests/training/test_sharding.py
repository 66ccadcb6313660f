"""A model that is cut up among processes computes what it did, and is whole again for all who ask."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

import mscsa
from mscsa.segmentation import build_segmenter
from mscsa.training.sharding import (
    LARGEST,
    SMALLEST,
    check_shardable,
    completed,
    find_units,
    gathered,
    local,
    shard,
)
from tests.detection.small import DETECTORS, batch, small
from tests.refusals import one_line_error
from tests.training.processes import finish, free_port, group_environment, start


def classifier(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options)


def segmenter(backbone: str) -> nn.Module:
    torch.manual_seed(0)
    return build_segmenter("semantic_fpn", backbone, 4, fpn_channels=16, head_channels=16)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: classifier("test_resnet"),
    "vit": lambda: classifier("test_vit"),
    "mscsa": lambda: mscsa.create_model("test_convnext", num_classes=5, num_heads=2, head_dim=8),
    "segmenter": lambda: segmenter("mscsa_test_resnet"),
    **{name: lambda name=name: small(name, "mscsa_test_resnet") for name in DETECTORS},  # type: ignore[misc]
}
FAMILIES = (
    *("swin_tiny_patch4_window7_224", "pvt_v2_b0", "mscsa_pvt_v2_b0", "coat_lite_tiny", "densenet121"),
    *("test_efficientnet", "test_nfnet", "regnetx_002", "mobilevit_xxs", "xcit_nano_12_p8_224", "levit_128s"),
)
"""Backbones that are built in different ways."""


def loss_of(model: Any) -> Tensor:
    """One number that all outputs enter, the same in each process."""
    torch.manual_seed(1)
    dtype = next(model.parameters()).dtype
    if hasattr(model, "loss_count"):
        losses = model(*batch((64, 96, 2), (64, 64, 1), dtype=dtype))
        return torch.stack(list(losses.values())).sum()
    size = (model.pretrained_cfg or {}).get("input_size", (3, 64, 64))
    out = model(torch.rand(2, *size, generator=torch.Generator().manual_seed(2), dtype=dtype))
    out = out[0] if isinstance(out, tuple) else out
    weighted = out * torch.linspace(0.5, 1.5, out.numel(), dtype=dtype).view_as(out)
    return (weighted + weighted.square()).mean()


def compare_gradients(rank: int, names: tuple[str, ...], found: Path) -> None:
    """Note how far the gradients of each model's shares are from those of the whole, in the first process."""
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    lines = [f"{name} {worst_difference(build(name), mesh):g}" for name in names]
    if rank == 0:
        found.write_text("\n".join(lines))
    dist.destroy_process_group()


def worst_difference(model: nn.Module, mesh: Any) -> float:
    """Sum gradients up over two backward passes, as accumulated batches do, in a model and in its shares."""
    whole, shared = model, copy.deepcopy(model)
    shard(shared, mesh)
    for each in (whole, whole, shared, shared):
        loss_of(each).backward()
    worst, largest = 0.0, 0.0
    for ours, theirs in zip(shared.parameters(), whole.parameters(), strict=True):
        assert isinstance(ours, DTensor) and (ours.grad is None) == (theirs.grad is None)
        if theirs.grad is not None and ours.grad is not None:
            largest = max(largest, theirs.grad.abs().max().item())
            difference = completed(ours.grad) - theirs.grad
            worst = max(worst, difference.abs().max().item())
    assert largest > 1e-6
    return worst / largest


def build(name: str) -> nn.Module:
    return (BUILDERS[name]() if name in BUILDERS else classifier(name)).double().train()


def assert_same_gradients(names: tuple[str, ...], found: Path) -> None:
    port = free_port()
    pair = [
        start(compare_gradients, rank, names, found, env=group_environment(rank, 2, port))
        for rank in range(2)
    ]
    assert [finish(process, 900.0) for process in pair] == [0, 0]
    differences = dict(line.split() for line in found.read_text().splitlines())
    assert tuple(differences) == names
    assert {name: value for name, value in differences.items() if float(value) > 1e-12} == {}


def test_shares_have_the_gradients_of_the_whole(tmp_path: Path) -> None:
    assert_same_gradients(("vit",), tmp_path / "found")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "vit"])
def test_shares_of_each_kind_have_the_gradients_of_the_whole(tmp_path: Path, name: str) -> None:
    assert_same_gradients((name,), tmp_path / "found")


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_shares_of_other_backbones_have_the_gradients_of_the_whole(tmp_path: Path, name: str) -> None:
    assert_same_gradients((name,), tmp_path / "found")


@pytest.mark.parametrize("name", ["vit", "mscsa", "segmenter", "mask_rcnn"])
def test_units_are_apart_and_of_a_size(name: str) -> None:
    model = BUILDERS[name]()
    units = find_units(model)
    total = sum(p.numel() for p in model.parameters())
    assert len(units) >= 4
    for unit in units:
        size = sum(p.numel() for p in model.get_submodule(unit).parameters())
        assert SMALLEST <= size / total <= LARGEST
        assert not [other for other in units if other != unit and other.startswith(f"{unit}.")]


def test_a_large_model_is_gathered_in_small_parts() -> None:
    """Its blocks are units as they are, and hardly anything is left to the whole step."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    units = find_units(model)
    assert sorted(units) == sorted(["patch_embed", "head", *(f"blocks.{i}" for i in range(12))])
    rest = [p.numel() for name, p in model.named_parameters() if not name.startswith(tuple(units))]
    assert sum(rest) < 0.01 * sum(p.numel() for p in model.parameters())


def test_heads_are_in_no_unit() -> None:
    """One process may find nothing to look at with them, where another does."""
    for name in ("segmenter", "mask_rcnn", "deformable_detr"):
        model: Any = BUILDERS[name]()
        units = find_units(model)
        assert units and not [unit for unit in units if f"{unit}.".startswith(tuple(model.head_prefixes))]
        assert not [head for head in model.head_prefixes if head.startswith(tuple(f"{u}." for u in units))]


class Odd(nn.Module):
    """Parts that run once, twice, and never, two that share a parameter, and two that share a module."""

    pretrained_cfg = {"input_size": (3, 8, 8)}

    def __init__(self) -> None:
        super().__init__()
        parts = ("once", "twice", "never", "tied", "other", *(f"more{i}" for i in range(8)))
        for name in parts:
            self.add_module(name, nn.Conv2d(3, 3, 1))
        self.other.weight = self.tied.weight
        self.left, self.right = nn.Sequential(nn.Conv2d(3, 3, 1)), nn.Sequential()
        self.right.append(self.left[0])

    def forward(self, x: Tensor) -> Tensor:
        for name, part in self.named_children():
            for _ in range({"twice": 2, "never": 0}.get(name, 1)):
                x = part(x)
        return x


class DataDependent(Odd):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool((x >= 0).all()) else x


def test_what_is_not_run_once_or_is_not_apart_is_in_no_unit() -> None:
    assert find_units(Odd()) == ["once", *(f"more{i}" for i in range(8))]


def test_what_cannot_be_tried_without_data_is_gathered_as_one() -> None:
    assert find_units(DataDependent()) == []


def test_a_parameter_without_dimensions_is_one_line() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    check_shardable(model)
    model[0].scale = nn.Parameter(torch.tensor(1.0))
    one_line_error(
        lambda: check_shardable(model), "run.strategy fsdp cannot cut up 0.scale, which is one number"
    )


def test_plain_values_are_as_they_were() -> None:
    values = {"a": torch.ones(2), "b": [1, None, {"c": torch.zeros(1)}]}
    kept = gathered(values, is_kept=True)
    assert kept["a"] is values["a"] and kept["b"][2]["c"] is values["b"][2]["c"]  # type: ignore[index]
    assert gathered(values, is_kept=False) == {}
    assert local(values["a"]) is values["a"]  # type: ignore[arg-type]
