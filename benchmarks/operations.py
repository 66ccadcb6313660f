"""Where MSCSA's time goes: its operations by kind, and how fast each kind computes, beside its backbone's.

Seen in torch's profiler, whose own cost falls on each call: many short calls look dearer than they are. One
thread, norms folded, channels-last, MSCSA by itself on maps of the backbone. Run from the repository's root:

    python -m benchmarks.operations --json benchmarks/results/operations.json
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed import LARGE_BATCHES, SIZE, neck_step
from mscsa.cost.model_pair import build_pair
from mscsa.folding import fold_norms
from mscsa.macs import count_macs
from mscsa.report import Table, show, write_json
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions, build_step

CONVOLUTIONS = ("1x1 convolutions", "depthwise convolutions", "other convolutions")
KINDS = {
    "attention": ("scaled_dot_product", "softmax", "bmm"),
    "linear layers": ("addmm", "mm"),
    "activations": ("hardswish", "hardsigmoid", "gelu", "relu", "silu"),
    "norms": ("native_batch_norm", "native_layer_norm"),
    "pooling": ("avg_pool2d", "adaptive_avg_pool2d", "sum", "mean", "max_pool2d"),
    "resizing": ("upsample",),
    "sums and products": ("add", "mul", "addcmul", "div"),
    "copies": ("copy_", "cat", "clone", "constant_pad", "fill_"),
}
"""Kind of operation -> how the names of torch's begin, after `aten::`."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """One kind of operation in one model."""

    model: str
    batch_size: int
    kind: str
    calls: float
    """In one forward pass."""
    ms: float
    """Of one forward pass, without what it calls."""
    share: float
    """Of the time of all operations."""
    gmacs_per_s: float | None
    """Multiply-adds per second, of 1x1 convolutions with stride 1."""


def kind_of(name: str, shapes: Sequence[Any]) -> str:
    """Name the kind of an operation.

    Args:
        name: torch's, such as `aten::add`.
        shapes: Of its inputs.
    """
    name = name.removeprefix("aten::")
    if "conv" in name and len(shapes) > 1 and len(shapes[1]) == 4:
        _, channels, *kernel = shapes[1]
        if kernel == [1, 1]:
            return CONVOLUTIONS[0]
        return CONVOLUTIONS[1] if channels == 1 else CONVOLUTIONS[2]
    return next((kind for kind, names in KINDS.items() if name.lstrip("_").startswith(names)), "calls")


def measure(model: str, batch_size: int, step: Callable[[], None], passes: int) -> list[Share]:
    """Profile a function that runs a model once."""
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(passes):
            step()
    time_us: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    macs = 0
    for event in profiler.key_averages(group_by_input_shape=True):
        kind = kind_of(event.key, event.input_shapes)
        time_us[kind] += event.self_cpu_time_total
        # One name alone of those by which a convolution calls itself on its way down.
        if kind not in CONVOLUTIONS or event.key == "aten::conv2d":
            calls[kind] += event.count
        if kind == CONVOLUTIONS[0] and event.key == "aten::conv2d":
            (images, _, height, width), weight = event.input_shapes[0], event.input_shapes[1]
            macs += event.count * images * height * width * math.prod(weight)
    total = sum(time_us.values())
    return [
        Share(
            model=model,
            batch_size=batch_size,
            kind=kind,
            calls=calls[kind] / passes,
            ms=spent / passes / 1000,
            share=spent / total,
            gmacs_per_s=macs / spent / 1000 if kind == CONVOLUTIONS[0] else None,
        )
        for kind, spent in sorted(time_us.items(), key=lambda item: -item[1])
    ]


def mscsa_step(model: nn.Module, batch_size: int) -> Callable[[], None]:
    """Give a function that runs a folded model's MSCSA alone."""
    image = torch.randn(batch_size, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    return neck_step(fold_norms(model.to(memory_format=torch.channels_last).eval()), image)


def main() -> None:
    """Profile presets at batch 1 and 16, show and write what was found."""
    parser = argparse.ArgumentParser(description="Where MSCSA's time goes.")
    parser.add_argument("--presets", nargs="*", default=list(LARGE_BATCHES))
    parser.add_argument(
        "--passes", type=int, default=20, help="forward passes at batch 1; a fifth at batch 16"
    )
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = StepOptions(channels_last=True, folded=True)
    machine = describe_machine(options)
    found: list[Share] = []
    speeds = {}
    for name in arguments.presets:
        for batch_size, passes in ((1, arguments.passes), (16, max(1, arguments.passes // 5))):
            pair = build_pair(name)
            whole = build_step(pair.baseline, "inference", batch_size, SIZE, options)
            of_backbone = measure(name, batch_size, whole, max(1, passes // 4))
            of_mscsa = measure(f"MSCSA on {name}", batch_size, mscsa_step(pair.model, batch_size), passes)
            found += [*of_mscsa, *of_backbone]
            base = count_macs(pair.baseline, SIZE)
            added = count_macs(pair.model, SIZE) - base
            for label, macs, shares in (("MSCSA", added, of_mscsa), ("backbone", base, of_backbone)):
                speeds[f"{name}, batch {batch_size}, {label}"] = (
                    batch_size * macs / sum(each.ms for each in shares) / 1e6
                )
    show(
        Table(
            title="Operations by kind",
            columns=("model", "batch", "kind", "calls", "ms", "% of time", "GMAC/s"),
            rows=[
                (
                    each.model,
                    str(each.batch_size),
                    each.kind,
                    f"{each.calls:.0f}",
                    f"{each.ms:.2f}",
                    f"{100 * each.share:.1f}",
                    "-" if each.gmacs_per_s is None else f"{each.gmacs_per_s:.0f}",
                )
                for each in found
            ],
            notes=(
                machine_line(machine),
                *(f"{label}: {speed:.1f} GMAC/s over all operations" for label, speed in speeds.items()),
            ),
        )
    )
    if arguments.json:
        write_json(
            arguments.json,
            {"machine": machine, "operations": [asdict(each) for each in found], "gmacs_per_s": speeds},
        )


if __name__ == "__main__":
    main()
