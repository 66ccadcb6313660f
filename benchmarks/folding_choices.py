"""What was tried of the norms before the attentions and of the fusion, against what is there.

All variants of a row are timed in turn, in CPU time of one thread. Run from the repository's root:

    python benchmarks/folding_choices.py --json benchmarks/results/folding_choices.json
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.attention.folding import affine, fold_before
from mscsa.attention.fusion import scaled_and_shifted
from mscsa.attention.module import MSCSABlock
from mscsa.backbones.presets import PRESETS
from mscsa.models.build import create_model
from mscsa.report import Table, show, write_json
from mscsa.speed.interleaved import summarize, time_interleaved
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions

CHANNELS_LAST = torch.channels_last


class Bordered(nn.Module):
    """K_j and V_j of a map that was downsampled raw, and what the norm's shift adds to them.

    The depthwise convolution pads the normed map with zeros, so that the shift is missing at the border: the
    convolution of a map of ones shows where.
    """

    kernel_O1kk: Tensor

    def __init__(self, kv: nn.Conv2d, kernel_O1kk: Tensor, stride: Any, *, cached: bool) -> None:
        super().__init__()
        self.kv, self.stride, self.cached = kv, stride, cached
        self.register_buffer("kernel_O1kk", kernel_O1kk)
        self.size = (0, 0)
        self.known: dict[tuple[int, int], Tensor] = {}

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Project, and add the term of the border."""
        border = self.known.get(self.size)
        if border is None:
            border = F.conv2d(x_BDhw.new_ones(1, 1, *self.size), self.kernel_O1kk, None, self.stride, 1)
            border = border.contiguous(memory_format=CHANNELS_LAST)
            if self.cached:
                self.known[self.size] = border
        return self.kv(x_BDhw) + border


def without_norm(block: MSCSABlock, *, cached: bool) -> MSCSABlock:
    """Fold the norms before the attentions of a copy of a block, too, with a term for the border."""
    block = copy.deepcopy(block)
    for name, csa in (("norm1", block.csa1), ("norm3", block.csa2)):
        scale, shift = affine(block.get_submodule(name))
        bordered = []
        downsample: Any
        kv: Any
        for downsample, kv in zip(csa.downsamples, csa.kvs, strict=True):
            weight = downsample.weight.double()
            kernel = torch.einsum(
                "oc,ckl->okl", kv.weight.double().flatten(1), weight[:, 0] * shift[:, None, None]
            )
            downsample.weight = nn.Parameter((weight * scale[:, None, None, None]).float())
            bordered.append(Bordered(kv, kernel[:, None].float(), downsample.stride, cached=cached))
        csa.kvs = nn.ModuleList(bordered)
        csa.register_forward_pre_hook(_tell_size)
        fold_before(block, name, csa.qkv)
    return block.eval()


def _tell_size(csa: nn.Module, args: tuple[Tensor]) -> None:
    for each in csa.kvs:  # type: ignore[union-attr]
        each.size = args[0].shape[-2:]


def blocks_of(name: str) -> dict[str, MSCSABlock]:
    """Give a preset's block in variants that compute the same."""
    model: Any = create_model(name)
    plain = model.mscsa.blocks[0].eval().to(memory_format=CHANNELS_LAST)
    for norm in (plain.norm1, plain.norm2, plain.norm3, plain.norm4):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    kept = copy.deepcopy(plain).fuse()
    return {
        "no norm folded": plain,
        "those before feed-forwards (what is there)": kept,
        "all, with a border term": without_norm(kept, cached=False),
        "all, with a kept border term": without_norm(kept, cached=True),
    }


def fusions_of(x: Tensor, gate: Tensor, bias: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Give the fusion of a level in variants that compute the same."""
    up = partial(F.interpolate, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def one_upsampling() -> Tensor:
        gates, biases = up(torch.cat([gate, bias], dim=1)).chunk(2, dim=1)
        return scaled_and_shifted(x, gates, biases)

    return {
        "X * gate + bias": lambda: x * up(gate) + up(bias),
        "one pass (what is there)": lambda: scaled_and_shifted(x, up(gate), up(bias)),
        "one pass, one upsampling": one_upsampling,
    }


def measure(variants: Mapping[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Check that all give the same, and time them in turn: median milliseconds, by variant."""
    with torch.inference_mode():
        first, *others = (variant() for variant in variants.values())
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-4)
        steps = [partial(_call, variant) for variant in variants.values()]
        times = time_interleaved(steps, rounds, lambda: None, time.process_time)
    timings = summarize(times, "inference", 1).timings
    return {name: timing.median_ms for name, timing in zip(variants, timings, strict=True)}


def _call(variant: Callable[[], Tensor]) -> None:
    variant()


def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="*", choices=list(PRESETS), default=["pvt_v2_b0", "resnet50"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = {**describe_machine(StepOptions(channels_last=True)), "clock": "CPU time of one thread"}
    rows: list[dict[str, Any]] = []
    for name in arguments.presets:
        blocks = blocks_of(name)
        for batch_size in (1, 16):
            width = blocks["no norm folded"].norm1.num_features
            x = torch.randn(batch_size, width, 7, 7).contiguous(memory_format=CHANNELS_LAST)
            variants = {key: partial(block, x) for key, block in blocks.items()}
            rows.append(
                {"what": f"block of {name}", "batch_size": batch_size, **measure(variants, arguments.rounds)}
            )
    for layout in (torch.contiguous_format, CHANNELS_LAST):
        for batch_size in (1, 16):
            x = torch.randn(batch_size, 128, 28, 28).contiguous(memory_format=layout)
            gate, bias = (
                torch.rand(batch_size, 128, 7, 7).contiguous(memory_format=CHANNELS_LAST) for _ in range(2)
            )
            what = f"fusion of a {str(layout).removeprefix('torch.')} map"
            found = measure(fusions_of(x, gate, bias), arguments.rounds)
            rows.append({"what": what, "batch_size": batch_size, **found})
    write_json(arguments.json, {"machine": machine, "milliseconds": rows})
    cells = [
        (f"{row['what']}, batch {row['batch_size']}", key, f"{value:.3f}")
        for row in rows
        for key, value in row.items()
        if key not in ("what", "batch_size")
    ]
    show(
        Table(
            title="Milliseconds",
            columns=("what", "variant", "ms"),
            rows=cells,
            notes=(machine_line(machine),),
        )
    )


if __name__ == "__main__":
    main()
