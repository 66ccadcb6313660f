"""What saves memory in training a detector, and what it costs in time: folded frozen norms, checkpointing.

Memory is measured in a process per variant, time interleaved in one. Run from the repository's root:

    python benchmarks/training_memory.py --threads 1 --json benchmarks/results/training_memory.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from mscsa.cost.model_pair import build_pair
from mscsa.report import Table, percent_more, show, write_json
from mscsa.speed.interleaved import summarize, synchronizer, time_interleaved
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.peak_memory import measure_peak_memory
from mscsa.speed.steps import StepOptions, build_step
from mscsa_cli.parsing import parse_size

VARIANTS = {
    "plain": StepOptions(),
    "folded": StepOptions(folded=True),
    "checkpointed": StepOptions(grad_checkpointing=True),
    "folded, checkpointed": StepOptions(folded=True, grad_checkpointing=True),
}
"""What is compared, the first with the others; `mscsa train` folds."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Training steps of one detector in a variant."""

    model: str
    variant: str
    peak_mib: float
    """Weights, gradients and optimiser state included."""
    weights_mib: float
    """Of these: four times the parameters, which no variant saves."""
    seconds: float
    """Median over the rounds."""
    time_ratio: float
    """To the first variant, median over the rounds."""
    time_ratio_range: tuple[float, float]


def measure(
    pair: dict[str, Any], size: tuple[int, int], *, batch_size: int, rounds: int, threads: int, device: str
) -> list[Measured]:
    """Measure both arms of a pair.

    Args:
        pair: Arguments of `build_pair`.
        size: (H, W) in pixels.
        batch_size: Images per step.
        rounds: Training steps of each variant that are timed.
        threads: CPU threads.
        device: torch's name of the device.
    """
    torch.set_num_threads(threads)
    variants = {name: replace(options, device=device) for name, options in VARIANTS.items()}
    peaks = [
        measure_peak_memory(
            pair, size, batch_sizes=(batch_size,), modes=("training",), options=options, threads=threads
        )
        for options in variants.values()
    ]
    results = []
    for is_model in (False, True):
        built = [build_pair(**pair) for _ in variants]
        arms = [each.model if is_model else each.baseline for each in built]
        steps = [
            build_step(arm, "training", batch_size, size, options)
            for arm, options in zip(arms, variants.values(), strict=True)
        ]
        seconds = time_interleaved(steps, rounds, synchronizer(device), _clock(device, threads))
        times = summarize(seconds, "training", batch_size)
        for i, variant in enumerate(variants):
            (peak,) = (p.mebibytes for p in peaks[i] if p.is_model == is_model)
            results.append(
                Measured(
                    model=built[0].name if is_model else built[0].baseline_name,
                    variant=variant,
                    peak_mib=peak,
                    weights_mib=4 * sum(p.numel() * p.element_size() for p in arms[i].parameters()) / 2**20,
                    seconds=times.timings[i].median_ms / 1000,
                    time_ratio=times.ratios[i - 1].median if i else 1.0,
                    time_ratio_range=times.ratios[i - 1].range if i else (1.0, 1.0),
                )
            )
    return results


def _clock(device: str, threads: int) -> Callable[[], float]:
    """Choose CPU time where there is but one thread: other programs' is not counted in it."""
    return time.process_time if device == "cpu" and threads == 1 else time.perf_counter


def main() -> None:
    """Measure a detector, show it, and write it as JSON."""
    parser = argparse.ArgumentParser(description="What saves memory in training, and what it costs.")
    parser.add_argument("--model", default="resnet50", help="timm name of a backbone")
    parser.add_argument("--head", default="mask_rcnn", help="detector or segmenter on it")
    parser.add_argument("--size", default="416x640", help="height x width of the image")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each variant that are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--batch-size", type=int, default=1, help="images per step")
    parser.add_argument("--device", default="cpu", help="torch's name of it")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    machine = {**describe_machine(StepOptions(device=arguments.device)), "threads": arguments.threads}
    pair = {"name": arguments.model, "head": arguments.head}
    results = measure(
        pair,
        parse_size(arguments.size),
        batch_size=arguments.batch_size,
        rounds=arguments.rounds,
        threads=arguments.threads,
        device=arguments.device,
    )
    plain = {each.model: each for each in results if each.variant == "plain"}
    show(
        Table(
            title=f"Training step of {arguments.head}, {arguments.batch_size} x {arguments.size} px",
            columns=("backbone", "variant", "peak MiB", "change", "of weights", "seconds", "ratio", "rounds"),
            rows=[
                (
                    each.model,
                    each.variant,
                    f"{each.peak_mib:.0f}",
                    percent_more(each.peak_mib, plain[each.model].peak_mib),
                    f"{each.weights_mib:.0f}",
                    f"{each.seconds:.2f}",
                    f"x{each.time_ratio:.3f}",
                    "{:.3f} - {:.3f}".format(*each.time_ratio_range),
                )
                for each in results
            ],
            notes=(machine_line(machine),),
        )
    )
    if arguments.json:
        settings = {
            "head": arguments.head,
            "size": arguments.size,
            "batch_size": arguments.batch_size,
            "rounds": arguments.rounds,
        }
        write_json(
            arguments.json, {**settings, "results": [asdict(each) for each in results], "machine": machine}
        )


if __name__ == "__main__":
    main()
