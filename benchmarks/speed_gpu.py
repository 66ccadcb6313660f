"""Tables 2 and 6 on a GPU: what MSCSA costs in time, eager, folded, compiled and as CUDA graphs.

All arms of a row are timed in turn in one process, in wall time. The file is written after each row, so that
a run that is cut off leaves what it had. torch compiles first, each model in a process of its own, for what
it wrote is taken from its cache afterwards. Run from the repository's root:

    python benchmarks/speed_gpu.py --json benchmarks/results/speed_gpu.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from mscsa.commit import git_commit
from mscsa.cost.model_pair import build_pair
from mscsa.paper import TABLE_2, TABLE_6
from mscsa.report import Table, show, write_json
from mscsa.speed.interleaved import summarize, time_interleaved
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions, build_step

TABLE_6_SIZE, TABLE_2_SIZE = (224, 224), (800, 1280)
AS_PRINTED = StepOptions(device="cuda")
"""float32, contiguous, nothing folded: as the paper's frames per second were most likely taken."""
HALF = StepOptions(device="cuda", dtype="float16", channels_last=True, folded=True)
FORMS = {
    "float32": AS_PRINTED,
    "float16, folded": HALF,
    "float16, folded, CUDA graph": replace(HALF, cuda_graph=True),
    "float16, folded, compiled": replace(HALF, compiled=True),
    "float16, folded, compiled, CUDA graph": replace(HALF, compiled=True, cuda_graph=True),
}
SMALL_BATCH, LARGE_BATCH = 1, 128


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model against the one that the paper sets it against, in one form."""

    name: str
    head: str | None
    form: str
    batch_size: int
    time_ratio: float
    """Time with MSCSA / time without; median over the rounds."""
    time_ratio_range: tuple[float, float]
    p50_ms: tuple[float, float]
    p95_ms: tuple[float, float]
    images_per_s: tuple[float, float]
    rounds: int


def measure(
    pair: dict[str, Any], size: tuple[int, int], batch_size: int, forms: Sequence[str], rounds: int
) -> Iterator[Row]:
    """Time both arms of a pair in all forms, all in turn."""
    steps: list[Callable[[], None]] = []
    for form in forms:
        built = build_pair(**pair)
        steps += [
            build_step(arm, "inference", batch_size, size, FORMS[form])
            for arm in (built.baseline, built.model)
        ]
    times = time_interleaved(steps, rounds, torch.cuda.synchronize)
    for i, form in enumerate(forms):
        both = summarize(times[2 * i : 2 * i + 2], "inference", batch_size)
        (first, second), (ratio,) = both.timings, both.ratios
        yield Row(
            name=pair["name"],
            head=pair.get("head"),
            form=form,
            batch_size=batch_size,
            time_ratio=ratio.median,
            time_ratio_range=ratio.range,
            p50_ms=(first.median_ms, second.median_ms),
            p95_ms=(first.p95_ms, second.p95_ms),
            images_per_s=(first.images_per_s, second.images_per_s),
            rounds=rounds,
        )


def compile_first(names: Sequence[str], processes: int, seconds: float) -> None:
    """Let torch write its programs into its cache; what is not done in time is compiled when it is timed."""

    def compile_one(job: tuple[str, int]) -> None:
        name, batch_size = job
        subprocess.run(
            [sys.executable, __file__, "--compile-only", name, str(batch_size)], timeout=seconds, check=True
        )

    jobs = [(name, batch_size) for name in names for batch_size in (SMALL_BATCH, LARGE_BATCH)]
    with ThreadPoolExecutor(processes) as pool:
        for job, done in [(job, pool.submit(compile_one, job)) for job in jobs]:
            if done.exception() is not None:
                print(*job, "not compiled:", done.exception())


def compile_only(name: str, batch_size: int) -> None:
    """Compile both arms of a pair, as they are timed afterwards."""
    pair = build_pair(name)
    for arm in (pair.baseline, pair.model):
        build_step(arm, "inference", batch_size, TABLE_6_SIZE, replace(HALF, compiled=True))()


def planned(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Iterator[Row]]]]:
    """List what is to be measured, the first that should be there first."""
    eager = [form for form, options in FORMS.items() if not options.compiled]
    for row in TABLE_6:
        if row.backbone not in arguments.rows:
            continue
        forms = list(FORMS) if row.backbone in arguments.compiled else eager
        for batch_size in (SMALL_BATCH, LARGE_BATCH):
            # A graph saves launches; at the large batch there is no wait for one.
            chosen = [form for form in forms if batch_size == SMALL_BATCH or not FORMS[form].cuda_graph]
            yield (
                "table_6",
                lambda row=row, batch_size=batch_size, chosen=chosen: measure(
                    {"name": row.backbone}, TABLE_6_SIZE, batch_size, chosen, arguments.rounds
                ),
            )
    for detector in TABLE_2:
        pair = {"name": detector.backbone, "head": detector.head}
        yield (
            "table_2",
            lambda pair=pair: measure(
                pair, TABLE_2_SIZE, SMALL_BATCH, ["float32", "float16, folded"], arguments.rounds
            ),
        )


def table_of(title: str, rows: Sequence[Row], machine: dict[str, Any]) -> Table:
    """Lay rows out."""
    return Table(
        title=title,
        columns=("model", "form", "batch", "images/s", "with MSCSA", "time", "over rounds"),
        rows=[
            (
                f"{row.head}, {row.name}" if row.head else row.name,
                row.form,
                str(row.batch_size),
                *(f"{each:.0f}" for each in row.images_per_s),
                f"x{row.time_ratio:.2f}",
                "{:.2f} - {:.2f}".format(*row.time_ratio_range),
            )
            for row in rows
        ],
        notes=(machine_line(machine),),
    )


def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiled", nargs="*", default=[row.backbone for row in TABLE_6])
    parser.add_argument("--rows", nargs="*", default=[row.backbone for row in TABLE_6], help="of Table 6")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3600, help="begin no row after these")
    parser.add_argument("--processes", type=int, default=8, help="that compile side by side; 0 for none")
    parser.add_argument("--compile-seconds", type=float, default=300, help="for each model")
    parser.add_argument("--compile-only", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--commit", help="that runs, where it is installed outside a repository")
    parser.add_argument("--json", default="benchmarks/results/speed_gpu.json")
    arguments = parser.parse_args()
    if arguments.compile_only:
        compile_only(arguments.compile_only[0], int(arguments.compile_only[1]))
        return
    start = time.perf_counter()
    if arguments.processes:
        compile_first(arguments.compiled, arguments.processes, arguments.compile_seconds)
        print(f"compiled after {time.perf_counter() - start:.0f} s")
    machine, commit = describe_machine(AS_PRINTED), git_commit() or arguments.commit
    found: dict[str, list[Row]] = {"table_6": [], "table_2": []}
    for kind, job in planned(arguments):
        if time.perf_counter() - start > arguments.seconds:
            print("no time left for the rest")
            break
        for row in job():
            found[kind].append(row)
            print(row.name, row.head, row.form, row.batch_size, f"x{row.time_ratio:.3f}", flush=True)
        plain = {key: [asdict(row) for row in rows] for key, rows in found.items()}
        said = {"machine": machine, "commit": commit, "size": [TABLE_6_SIZE, TABLE_2_SIZE]}
        write_json(arguments.json, said | plain)
    titles = {"table_6": "Table 6 at 224 px", "table_2": "Table 2 at 800x1280 px"}
    show(*(table_of(titles[kind], rows, machine) for kind, rows in found.items()))


if __name__ == "__main__":
    main()
