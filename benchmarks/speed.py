"""What MSCSA costs in time, eager, folded and compiled, and what other necks of the same MACs do.

All arms of a row are timed in turn in one process. The file is written after each row, so that a run that is
cut off leaves what it had. Run from the repository's root:

    python benchmarks/speed.py --json benchmarks/results/speed.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from mscsa.backbones.presets import PRESETS
from mscsa.cost.model_pair import build_pair
from mscsa.folding import fold_norms
from mscsa.macs import count_macs
from mscsa.models.build import build_pyramid
from mscsa.models.pyramid import BackboneModel
from mscsa.neck_table import NECKS
from mscsa.report import Table, show, write_json
from mscsa.speed.interleaved import Comparison, summarize, time_interleaved
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions, build_step

SIZE = (224, 224)
FORMS = {"eager": StepOptions(channels_last=True), "folded": StepOptions(channels_last=True, folded=True)}
COMPILED = StepOptions(channels_last=True, folded=True, compiled=True)
BATCH_SIZES = (1, 16)
TO_COMPILE = ("pvt_v2_b0", "resnet50", "pvt_v2_b1", "convnext_tiny")
"""Presets that are timed compiled, too: minutes each."""
NECK_BUDGET = 0.14
"""Share of the backbone's MACs that each neck may cost."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model against its backbone in one form, or a neck by itself."""

    name: str
    form: str
    batch_size: int
    macs_share: float
    """What is added to the backbone's MACs, as a share of them; negative where MSCSA replaces more."""
    time_share: float
    """The same of its time; median over the rounds."""
    time_share_range: tuple[float, float]
    p50_ms: tuple[float, float]
    """Of the backbone; and of what is added, or of the whole model where that is timed."""
    p95_ms: tuple[float, float]
    rounds: int


def time_steps(steps: Sequence[Callable[[], None]], rounds: int) -> list[list[list[float]]]:
    """Time functions in turn, in seconds that this process computes: other programs' are not counted."""
    return time_interleaved(steps, rounds, lambda: None, time.process_time)


def row_of(name: str, form: str, macs_share: float, both: Comparison, *, adds: bool) -> Row:
    """Make a row of two arms; `adds` where the second has the first in it."""
    (first, second), (ratio,) = both.timings, both.ratios
    less = 1.0 if adds else 0.0
    return Row(
        name=name,
        form=form,
        batch_size=both.batch_size,
        macs_share=macs_share,
        time_share=ratio.median - less,
        time_share_range=(ratio.range[0] - less, ratio.range[1] - less),
        p50_ms=(first.median_ms, second.median_ms),
        p95_ms=(first.p95_ms, second.p95_ms),
        rounds=both.rounds,
    )


def neck_step(model: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    """Give a function that runs a model's neck alone, on maps of its backbone."""
    assert isinstance(model, BackboneModel)
    with torch.inference_mode():
        maps = {level.index: model.read(image, [level.index])[0] for level in model.levels}
    model.reading = lambda _, indices: [maps[index] for index in indices]

    def step() -> None:
        with torch.inference_mode():
            model(image)

    return step


def measure_preset(name: str, batch_size: int, rounds: int, *, compiled: bool) -> list[Row]:
    """Time a preset of the paper against its backbone, in all forms, all in turn.

    What MSCSA adds is timed by itself, with its classifier, on maps of the backbone: the difference of two
    whole models is lost in their noise. Whole are compiled ones, and those in which MSCSA replaces a part.
    """
    forms = {**FORMS, **({"compiled": COMPILED} if compiled else {})}
    pairs = [build_pair(name) for _ in forms]
    own, base = count_macs(pairs[0].model, SIZE), count_macs(pairs[0].baseline, SIZE)
    image = torch.randn(batch_size, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    is_added = name in PRESETS and PRESETS[name].replaces is None  # CoaT's whole models are no presets
    is_alone = {form: is_added and not options.compiled for form, options in forms.items()}
    steps = []
    for pair, (form, options) in zip(pairs, forms.items(), strict=True):
        steps.append(build_step(pair.baseline, "inference", batch_size, SIZE, options))
        model = pair.model.to(memory_format=torch.channels_last).eval()
        if is_alone[form]:
            steps.append(neck_step(fold_norms(model) if options.folded else model, image))
        else:
            steps.append(build_step(model, "inference", batch_size, SIZE, options))
    times = time_steps(steps, rounds)
    rows = []
    for i, form in enumerate(forms):
        both = summarize(times[2 * i : 2 * i + 2], "inference", batch_size)
        rows.append(row_of(name, form, own / base - 1, both, adds=not is_alone[form]))
    return rows


def necks_at_equal_macs(name: str) -> tuple[dict[str, BackboneModel], dict[str, float]]:
    """Build all necks of the same MACs on a backbone, and give their shares of its MACs."""
    build = partial(build_pyramid, name, budget=NECK_BUDGET, budget_size=SIZE)
    models = {neck: build(neck=neck) for neck in NECKS}
    base = count_macs(build_pyramid(name), SIZE)
    return models, {neck: count_macs(model, SIZE) / base - 1 for neck, model in models.items()}


def folded_neck_step(model: nn.Module, batch_size: int) -> Callable[[], None]:
    """Give a function that runs a folded, channels-last model's neck alone."""
    image = torch.randn(batch_size, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    return neck_step(fold_norms(model.to(memory_format=torch.channels_last).eval()), image)


def measure_necks(name: str, batch_size: int, rounds: int) -> list[Row]:
    """Time all necks of the same MACs by themselves, and the backbone, all in turn."""
    models, shares = necks_at_equal_macs(name)
    backbone = build_step(build_pyramid(name), "inference", batch_size, SIZE, FORMS["folded"])
    times = time_steps(
        [backbone, *(folded_neck_step(model, batch_size) for model in models.values())], rounds
    )
    return [
        row_of(
            f"{NECKS[neck].title} on {name}",
            "folded, neck alone",
            shares[neck],
            summarize([times[0], times[i + 1]], "inference", batch_size),
            adds=False,
        )
        for i, neck in enumerate(models)
    ]


def table_of(title: str, rows: Sequence[Row], machine: dict[str, Any]) -> Table:
    """Lay rows out."""
    return Table(
        title=title,
        columns=(
            "model",
            "form",
            "batch",
            "MACs +%",
            "time +%",
            "over rounds",
            "time / MACs",
            "p50 ms",
            "p95 ms",
        ),
        rows=[
            (
                row.name,
                row.form,
                str(row.batch_size),
                f"{100 * row.macs_share:.1f}",
                f"{100 * row.time_share:.1f}",
                f"{100 * row.time_share_range[0]:.1f} - {100 * row.time_share_range[1]:.1f}",
                f"{row.time_share / row.macs_share:.2f}" if row.macs_share > 0 else "-",
                f"{row.p50_ms[0]:.1f}, {row.p50_ms[1]:.1f}",
                f"{row.p95_ms[0]:.1f}, {row.p95_ms[1]:.1f}",
            )
            for row in rows
        ],
        notes=(machine_line(machine),),
    )


def planned(arguments: argparse.Namespace) -> list[tuple[str, Callable[[], list[Row]]]]:
    """List what is to be measured, the first that should be there first."""
    of_preset = partial(partial, measure_preset, rounds=arguments.rounds)
    jobs: list[tuple[str, Callable[[], list[Row]]]] = [
        ("presets", of_preset(name, batch_size, compiled=name in arguments.compiled))
        for batch_size in BATCH_SIZES
        for name in arguments.presets
    ]
    for name in arguments.necks:
        jobs += [("necks", partial(measure_necks, name, size, arguments.rounds)) for size in BATCH_SIZES]
    return jobs


def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), help="coat_tiny and _small, too")
    parser.add_argument(
        "--compiled", nargs="*", default=list(TO_COMPILE), help="presets to compile, too: minutes each"
    )
    parser.add_argument(
        "--necks", nargs="*", default=["pvt_v2_b1", "resnet50"], help="backbones of the necks"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = {**describe_machine(FORMS["eager"]), "clock": "CPU time of one thread"}
    found: dict[str, list[Row]] = {"presets": [], "necks": []}
    for kind, job in planned(arguments):
        rows = job()
        found[kind] += rows
        print(
            *(f"{row.name} {row.form}, batch {row.batch_size}: {row.time_share:+.3f}" for row in rows),
            sep="\n",
        )
        plain = {key: [asdict(row) for row in value] for key, value in found.items()}
        write_json(arguments.json, {"machine": machine, "size": SIZE, **plain})
    titles = {
        "presets": "Time that MSCSA adds to its backbone",
        "necks": "Necks alone, as shares of the backbone",
    }
    show(*(table_of(titles[kind], rows_of, machine) for kind, rows_of in found.items()))


if __name__ == "__main__":
    main()
