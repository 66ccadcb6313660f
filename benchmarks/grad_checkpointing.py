"""What gradient checkpointing of the backbone saves in memory and costs in time, in training a detector.

Memory is measured in a process per variant, time interleaved in one. Run from the repository's root:

    python benchmarks/grad_checkpointing.py --json benchmarks/results/grad_checkpointing.json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mscsa.cost.model_pair import build_pair
from mscsa.report import Table, percent_more, show, write_json
from mscsa.speed.interleaved import summarize, time_interleaved
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.peak_memory import measure_peak_memory
from mscsa.speed.steps import StepOptions, build_step
from mscsa_cli.parsing import parse_size


@dataclass(frozen=True, kw_only=True)
class Saving:
    """A detector's training step without and with checkpointing."""

    model: str
    peak_mib: tuple[float, float]
    """Weights, gradients and optimiser state included."""
    weights_mib: float
    """Of these: four times the parameters, which checkpointing cannot save."""
    seconds: tuple[float, float]
    """Medians over the rounds."""
    time_ratio: float
    """With / without, median over the rounds."""
    time_ratio_range: tuple[float, float]


def measure(pair: dict[str, Any], size: tuple[int, int], *, rounds: int, threads: int) -> list[Saving]:
    """Measure both arms of a pair with one image per step.

    Args:
        pair: Arguments of `build_pair`.
        size: (H, W) in pixels.
        rounds: Training steps of each variant that are timed.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    variants = [StepOptions(grad_checkpointing=is_on) for is_on in (False, True)]
    peaks = [
        measure_peak_memory(
            pair, size, batch_sizes=(1,), modes=("training",), options=options, threads=threads
        )
        for options in variants
    ]
    savings = []
    for is_model in (False, True):
        built = [build_pair(**pair) for _ in variants]
        arms = [each.model if is_model else each.baseline for each in built]
        steps = [
            build_step(arm, "training", 1, size, options) for arm, options in zip(arms, variants, strict=True)
        ]
        times = summarize(time_interleaved(steps, rounds, lambda: None), "training", 1)
        without, with_it = ([p.mebibytes for p in each if p.is_model == is_model] for each in peaks)
        savings.append(
            Saving(
                model=built[0].name if is_model else built[0].baseline_name,
                peak_mib=(without[0], with_it[0]),
                weights_mib=4 * sum(p.numel() * p.element_size() for p in arms[0].parameters()) / 2**20,
                seconds=(times.timings[0].median_ms / 1000, times.timings[1].median_ms / 1000),
                time_ratio=times.ratios[0].median,
                time_ratio_range=times.ratios[0].range,
            )
        )
    return savings


def main() -> None:
    """Measure a detector, show it, and write it as JSON."""
    parser = argparse.ArgumentParser(description="What gradient checkpointing saves and costs.")
    parser.add_argument("--model", default="resnet50", help="timm name of a backbone")
    parser.add_argument("--head", default="mask_rcnn", help="detector or segmenter on it")
    parser.add_argument("--size", default="416x640", help="height x width of the image")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each variant that are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    machine = {**describe_machine(StepOptions()), "threads": arguments.threads}
    pair = {"name": arguments.model, "head": arguments.head}
    savings = measure(pair, parse_size(arguments.size), rounds=arguments.rounds, threads=arguments.threads)
    show(
        Table(
            title=f"Training step of {arguments.head}, 1 image of {arguments.size} px: without and with",
            columns=(
                "backbone",
                "peak MiB",
                "with",
                "change",
                "of weights",
                "seconds",
                "with",
                "time ratio",
                "over rounds",
            ),
            rows=[
                (
                    each.model,
                    *(f"{peak:.0f}" for peak in each.peak_mib),
                    percent_more(each.peak_mib[1], each.peak_mib[0]),
                    f"{each.weights_mib:.0f}",
                    *(f"{seconds:.2f}" for seconds in each.seconds),
                    f"x{each.time_ratio:.3f}",
                    "{:.3f} - {:.3f}".format(*each.time_ratio_range),
                )
                for each in savings
            ],
            notes=(machine_line(machine),),
        )
    )
    if arguments.json:
        settings = {
            "head": arguments.head,
            "size": arguments.size,
            "batch_size": 1,
            "rounds": arguments.rounds,
        }
        write_json(
            arguments.json, {**settings, "results": [asdict(each) for each in savings], "machine": machine}
        )


if __name__ == "__main__":
    main()
