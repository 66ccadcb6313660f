"""Where MSCSA's time goes: its operations by kind, and how fast each kind computes, beside its backbone's.

Seen in torch's profiler, whose own cost falls on each call: many short calls look dearer than they are. One
thread, norms folded, channels-last, MSCSA by itself on maps of the backbone; beside it other necks of as many
MACs. What the core can do at most is what a large matrix product of torch's does. From the repository's root:

    python -m benchmarks.operations --json benchmarks/results/operations.json
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed import BATCH_SIZES, NECK_BUDGET, SIZE, TO_COMPILE, folded_neck_step, necks_at_equal_macs
from mscsa.cost.model_pair import build_pair
from mscsa.macs import count_macs
from mscsa.models.build import build_pyramid
from mscsa.neck_table import NECKS
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


def peak_gmacs_per_s(calls: int = 20, side: int = 1024) -> float:
    """Time a product of two large matrices, the best of some calls: what the core can do at most."""
    first, second = torch.randn(side, side), torch.randn(side, side)
    best = math.inf
    for _ in range(calls):
        start = time.process_time()
        first @ second
        best = min(best, time.process_time() - start)
    return side**3 / best / 1e9


@dataclass
class Profiles:
    """What was found: of each model the shares of its kinds of operation, and its MACs per second."""

    shares: list[Share] = field(default_factory=list)
    gmacs_per_s: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0
    """GMAC/s of a large product, the best over the whole run."""

    def add(self, label: str, batch_size: int, macs: int, step: Callable[[], None], passes: int) -> None:
        """Profile a function that runs `macs` for each image once."""
        self.peak = max(self.peak, peak_gmacs_per_s())
        shares = measure(label, batch_size, step, passes)
        self.shares += shares
        spent_ms = sum(each.ms for each in shares)
        self.gmacs_per_s[f"{label}, batch {batch_size}"] = batch_size * macs / spent_ms / 1e6


def profile_presets(profiles: Profiles, names: Sequence[str], passes: int) -> None:
    """Profile MSCSA and the backbone of presets."""
    options = StepOptions(channels_last=True, folded=True)
    for name in names:
        for batch_size in BATCH_SIZES:
            pair, count = build_pair(name), max(1, passes // batch_size)
            base = count_macs(pair.baseline, SIZE)
            added = count_macs(pair.model, SIZE) - base
            alone = folded_neck_step(pair.model, batch_size)
            profiles.add(f"MSCSA on {name}", batch_size, added, alone, count)
            whole = build_step(pair.baseline, "inference", batch_size, SIZE, options)
            profiles.add(name, batch_size, base, whole, max(1, count // 4))


def profile_necks(profiles: Profiles, names: Sequence[str], passes: int) -> None:
    """Profile all necks of MSCSA's MACs on backbones."""
    for name in names:
        models, shares = necks_at_equal_macs(name)
        base = count_macs(build_pyramid(name), SIZE)
        for neck, model in models.items():
            for batch_size in BATCH_SIZES:
                label = f"{NECKS[neck].title} at {100 * NECK_BUDGET:.0f} % on {name}"
                step = folded_neck_step(model, batch_size)
                macs = round(shares[neck] * base)
                profiles.add(label, batch_size, macs, step, max(1, passes // batch_size))


def main() -> None:
    """Profile presets and necks at batch 1 and 16, show and write what was found."""
    parser = argparse.ArgumentParser(description="Where MSCSA's time goes.")
    parser.add_argument("--presets", nargs="*", default=list(TO_COMPILE))
    parser.add_argument("--necks", nargs="*", default=["pvt_v2_b1"], help="backbones of the necks")
    parser.add_argument("--passes", type=int, default=64, help="forward passes at batch 1; fewer at 16")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = describe_machine(StepOptions(channels_last=True, folded=True))
    profiles = Profiles()
    profile_presets(profiles, arguments.presets, arguments.passes)
    profile_necks(profiles, arguments.necks, arguments.passes)
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
                for each in profiles.shares
            ],
            notes=(
                machine_line(machine),
                f"a product of two matrices of 1024 x 1024: {profiles.peak:.1f} GMAC/s",
                *(
                    f"{label}: {speed:.1f} GMAC/s over all operations"
                    for label, speed in profiles.gmacs_per_s.items()
                ),
            ),
        )
    )
    if arguments.json:
        write_json(
            arguments.json,
            {
                "machine": machine,
                "operations": [asdict(each) for each in profiles.shares],
                "gmacs_per_s": profiles.gmacs_per_s,
                "peak_gmacs_per_s": profiles.peak,
            },
        )


if __name__ == "__main__":
    main()
