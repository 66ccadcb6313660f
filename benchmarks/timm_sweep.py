"""Build and run MSCSA on timm's backbones, and list which pass.

    python benchmarks/timm_sweep.py          # the smallest model of every timm module
    python benchmarks/timm_sweep.py --all    # shapes for every model: an hour or two on one core

Candidates are the models whose `feature_info` has two or more strides. Of these
* shapes are compared on the meta device (no data, no weights), at the model's default size and at a
  non-square one: the maps of `mscsa.create_model(name, features_only=True)` must have the shapes that
  timm's own `features_only` model gives;
* without `--all`, the smallest model of every module also runs on the CPU in both forms: maps must be
  finite and differ from the backbone's, and every parameter must get a gradient.
Each command replaces its part of `results/timm_sweep.json` and writes `timm_sweep.md` anew. Results: pass;
refused (one clear line); too large to run here (over the limit of time or memory); fail.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import queue
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIGHT: dict[str, Any] = dict(squeeze_ratio=0.25, num_heads=4, head_dim=8, mlp_ratio=1.0)
"""MSCSA's configuration in the sweep: what counts is that it runs."""
PASS, REFUSED, TOO_LARGE, FAIL = "pass", "refused", "too large to run here", "fail"
FLAT = "no pyramid"
Record = dict[str, Any]

log = logging.getLogger("timm_sweep")


# ---------------------------------------------------------------- in the worker process


def survey(name: str) -> Record:
    """Build `name` on the meta device; tell its strides, its size and whether it is a candidate."""
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(name)
    strides = [int(info["reduction"]) for info in getattr(model, "feature_info", None) or []]
    fields = {"strides": strides, "parameters": sum(p.numel() for p in model.parameters())}
    return fields if len(set(strides)) >= 2 else {**fields, "result": FLAT}


def check_shapes(name: str) -> Record:
    """Compare MSCSA's maps with timm's own at two sizes, on the meta device."""
    import timm
    import torch

    import mscsa

    record: Record = {}
    with torch.device("meta"):
        model = mscsa.create_model(name, features_only=True, config=mscsa.MSCSAConfig(**LIGHT)).eval()
        info: Any = model.feature_info
        plain = timm.create_model(name, features_only=True, out_indices=info.out_indices).eval()
    channels = info.channels()
    side = model.pretrained_cfg["input_size"][-1]
    for kind, sizes in (("default", [(side, side)]), ("non-square", [(side, side + 64), (side, 2 * side)])):
        for size in sizes:
            image = torch.empty(1, 3, *size, device="meta")
            expected = reference_shapes(plain, model, image, channels)
            if isinstance(expected, str):
                record[kind] = f"the backbone refuses {size[0]}x{size[1]}: {expected}"
                continue
            ours = [tuple(x.shape) for x in model(image)]
            if ours != expected:
                raise RuntimeError(f"{size}: shapes {ours}, the backbone's are {expected}")
            record[kind] = "x".join(map(str, size))
            break
    if "refuses" in record["default"]:
        raise RuntimeError(record["default"])
    return record


def reference_shapes(plain: Any, model: Any, image: Any, channels: list[int]) -> list[tuple[int, ...]] | str:
    """Shapes of timm's own maps as NCHW; else of the model's backbone; else why both refuse the size."""
    import torch

    try:
        shapes = [tuple(x.shape) for x in plain(image)]
    except (AssertionError, RuntimeError, ValueError, TypeError, AttributeError, IndexError):
        try:
            with torch.no_grad():
                maps = model.backbone.forward_intermediates(
                    image, indices=list(model.feature_info.out_indices), intermediates_only=True
                )
        except Exception as error:  # whatever the backbone says is its refusal
            return one_line(error)
        return [tuple(x.shape) for x in maps]
    return [
        (b, c3, c1, c2) if c1 != wanted and c3 == wanted else (b, c1, c2, c3)
        for (b, c1, c2, c3), wanted in zip(shapes, channels, strict=True)
    ]


def run_small(name: str) -> Record:
    """Run both forms on the CPU, forward and backward."""
    import torch

    import mscsa

    torch.manual_seed(0)
    model = mscsa.create_model(name, features_only=True, config=mscsa.MSCSAConfig(**LIGHT))
    info: Any = model.feature_info
    for fuse in model.fusion:  # it starts at nothing, which would show nothing
        torch.nn.init.normal_(fuse.project.weight, std=0.02)
    side = model.pretrained_cfg["input_size"][-1]
    image = torch.randn(2, 3, side, side)
    model.eval()
    with torch.no_grad():
        fused = model(image)
        own = model.backbone.forward_intermediates(
            image, indices=list(info.out_indices), intermediates_only=True
        )
    for level, (ours, theirs) in enumerate(zip(fused, own, strict=True)):
        is_fused = info.reduction()[level] >= 4
        if ours.shape != theirs.shape or not ours.isfinite().all():
            raise RuntimeError(f"level {level}: {tuple(ours.shape)}, finite {bool(ours.isfinite().all())}")
        if is_fused and torch.allclose(ours, theirs):
            raise RuntimeError(f"level {level} equals the backbone's map")
    model.train()
    check_gradients(model, sum(x.square().mean() for x in model(image)))
    classifier = mscsa.create_model(name, num_classes=5, config=mscsa.MSCSAConfig(**LIGHT)).train()
    logits = classifier(image)
    check_gradients(classifier, torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3])))
    return {}


def check_gradients(model: Any, loss: Any) -> None:
    """Backpropagate; raise unless every parameter got a gradient."""
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if missing:
        form = "pyramid" if model.is_pyramid else "classifier"
        raise RuntimeError(f"{form}: no gradient for {len(missing)} parameters: {', '.join(missing[:4])}")


CHECKS = {"shapes": check_shapes, "run": run_small}


def answer(task: str, name: str, memory_gib: float) -> Record:
    """Survey `name` and check it as `task` says; turn errors into results."""
    import mscsa

    fields: Record = {}
    try:
        fields = survey(name)
        checked = CHECKS[task](name) if task in CHECKS and "result" not in fields else {}
        return {"result": PASS, **fields, **checked}
    except mscsa.UserError as error:
        return {**fields, "result": REFUSED, "reason": one_line(error)}
    except MemoryError:
        return {**fields, "result": TOO_LARGE, "reason": f"more than {memory_gib:g} GiB"}
    except Exception as error:
        if "can't allocate memory" in str(error):
            return {**fields, "result": TOO_LARGE, "reason": f"more than {memory_gib:g} GiB"}
        return {**fields, "result": FAIL, "reason": one_line(error)}


def work(memory_gib: float) -> None:
    """Answer requests `TASK NAME` on standard input with one line of JSON each."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gib * 2**30),) * 2)
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.getLogger("timm").setLevel(logging.ERROR)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        task, name = line.split()
        print(json.dumps(answer(task, name, memory_gib)), file=answers, flush=True)


def one_line(error: BaseException) -> str:
    """Type and message of an error in at most 300 characters."""
    message = " ".join(str(error).split())
    prefix = "" if type(error).__name__ == "UserError" else f"{type(error).__name__}: "
    return (prefix + message)[:300]


# ---------------------------------------------------------------- in the parent process


class Worker:
    """A worker process that is replaced when it hangs or dies."""

    def __init__(self, memory_gib: float, limit_s: float) -> None:
        self.memory_gib, self.limit_s = memory_gib, limit_s
        self.process: subprocess.Popen[str] | None = None
        self.answers: queue.Queue[str] = queue.Queue()

    def ask(self, task: str, name: str) -> Record:
        """Run one task; a worker that dies or takes too long counts as too large."""
        process = self.process or self._start()
        assert process.stdin is not None
        started = time.monotonic()
        process.stdin.write(f"{task} {name}\n")
        process.stdin.flush()
        try:
            answer = self.answers.get(timeout=self.limit_s)
        except queue.Empty:
            self.stop()
            return {"result": TOO_LARGE, "reason": f"more than {self.limit_s:g} s"}
        if not answer:
            code = process.wait()
            self.stop()
            return {"result": TOO_LARGE, "reason": f"the process ended with code {code}"}
        return {**json.loads(answer), "seconds": round(time.monotonic() - started, 1)}

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--worker", "--memory-gib", str(self.memory_gib)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self.answers), daemon=True).start()
        return self.process

    @staticmethod
    def _read(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def stop(self) -> None:
        """End the process; the next `ask` starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def timm_models() -> Iterator[tuple[str, str]]:
    """Give (timm module, model name) for all of timm's own models."""
    import timm

    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            yield module, name


def smallest_per_module(records: dict[str, Record]) -> list[str]:
    """Choose the model with the fewest parameters of each module."""
    chosen: dict[str, str] = {}
    for name, record in sorted(records.items(), key=lambda item: item[1].get("parameters", math.inf)):
        chosen.setdefault(record["module"], name)
    return sorted(chosen.values())


def survey_all(worker: Worker, task: str, only: str | None) -> tuple[dict[str, Record], int]:
    """Run `task` for timm's models; give the records of those with a pyramid, and how many have none."""
    records: dict[str, Record] = {}
    models = [(module, name) for module, name in timm_models() if only is None or only in (module, name)]
    for count, (module, name) in enumerate(models, start=1):
        record = {"module": module, **worker.ask(task, name)}
        log.info("%s %d/%d %s: %s", task, count, len(models), name, record)
        if record["result"] != FLAT:
            records[name] = record
    return records, len(models) - len(records)


def sweep_families(worker: Worker, only: str | None) -> tuple[dict[str, Record], dict[str, Record], int]:
    """Compare and run the smallest model of every module; give shapes, runs, and how many are flat."""
    surveyed, flat = survey_all(worker, "survey", only)
    shapes: dict[str, Record] = {}
    runs: dict[str, Record] = {}
    for name in smallest_per_module(surveyed):
        module = {"module": surveyed[name]["module"]}
        shapes[name] = {**module, **worker.ask("shapes", name)}
        runs[name] = {**module, **worker.ask("run", name)}
        log.info("%s: %s, %s", name, shapes[name], runs[name])
    return shapes, runs, flat


def table(records: dict[str, Record], result: str) -> list[str]:
    """Markdown rows of the models with `result`, those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for name, record in records.items():
        if record["result"] == result:
            reasons.setdefault(f"`{record['module']}`: {record['reason']}", []).append(name)
    return [f"* {reason} ({len(names)}: {', '.join(names)})" for reason, names in reasons.items()]


def counts(records: dict[str, Record]) -> str:
    """One line of counts by result."""
    tally = Counter(record["result"] for record in records.values())
    return f"{len(records)} models: " + ", ".join(f"{tally[r]} {r}" for r in (PASS, REFUSED, TOO_LARGE, FAIL))


def module_table(shapes: dict[str, Record]) -> list[str]:
    """Markdown table of timm's modules: how many of their models pass, at any size or their own alone."""
    modules: dict[str, dict[str, Record]] = {}
    for name, record in shapes.items():
        modules.setdefault(record["module"], {})[name] = record
    lines = [
        "| module of timm | models that pass | sizes | strides | such as |",
        "| --- | --- | --- | --- | --- |",
    ]
    for module, records in sorted(modules.items()):
        passed = {name: record for name, record in records.items() if record["result"] == PASS}
        any_size = sum("refuses" not in record.get("non-square", "") for record in passed.values())
        some = f"any for {any_size}, else its own" if any_size else "its own alone"
        sizes = "any" if any_size == len(passed) else some
        strides = sorted({tuple(record["strides"]) for record in passed.values()}, key=len)
        smallest = min(passed, key=lambda name: passed[name]["parameters"], default="")
        shown = "; ".join(" ".join(map(str, each)) for each in strides)
        lines.append(f"| {module} | {len(passed)} of {len(records)} | {sizes} | {shown} | `{smallest}` |")
    return lines


def report(content: dict[str, Any]) -> str:
    """Write the result for a reader: counts, failures and refusals with their reasons, timm's modules."""
    shapes, runs, flat = content["shapes"], content["runs"], content["flat"]
    versions = ", ".join(f"{package} {version}" for package, version in content["versions"].items())
    usual = {name: r for name, r in shapes.items() if {4, 8, 16, 32} <= set(r.get("strides", ()))}
    passed = sum(r["result"] == PASS for r in usual.values())
    fixed = {name: r for name, r in shapes.items() if "refuses" in r.get("non-square", "")}
    modules = {r["module"] for r in shapes.values()}
    share = f"{passed} of {len(usual)} pass ({passed / max(1, len(usual)):.1%})"
    lines = [
        "# MSCSA on timm's backbones",
        "",
        f"Written by `benchmarks/timm_sweep.py` with {versions}.",
        "Each model's result is in `timm_sweep.json`.",
        "",
        f"* Shapes on the meta device, default and non-square size, {len(modules)} timm modules:",
        f"  {counts(shapes)}.",
        f"* Of these with strides 4, 8, 16, 32: {share}.",
        f"* {flat} more of timm's models have maps of one stride only: no pyramid, not counted above.",
        f"* Forward and backward on the CPU, smallest model of each module: {counts(runs)}.",
        f"* {len(fixed)} models pass at their default size, and their backbone takes no other shape.",
    ]
    for title, records in (("Shapes", shapes), ("CPU runs", runs)):
        for result in (FAIL, REFUSED, TOO_LARGE):
            rows = table(records, result)
            lines += ["", f"## {title}: {result}", "", *rows] if rows else []
    lines += ["", "## By module", "", *module_table(shapes)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--all", action="store_true", help="compare shapes for every model")
    parser.add_argument("--only", help="a timm module or model; prints the report and writes no file")
    parser.add_argument("--limit-s", type=float, default=300, help="seconds for one task of one model")
    parser.add_argument("--memory-gib", type=float, default=10, help="memory of a worker")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.memory_gib)
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    worker = Worker(args.memory_gib, args.limit_s)
    shapes: dict[str, Record] = {}
    runs: dict[str, Record] = {}
    try:
        if args.all:
            shapes, flat = survey_all(worker, "shapes", args.only)
        else:
            shapes, runs, flat = sweep_families(worker, args.only)
    finally:
        worker.stop()
    file = RESULTS / "timm_sweep.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() and args.only is None else {}
    content["shapes"] = shapes if args.all else {**content.get("shapes", {}), **shapes}
    content["runs"] = runs or content.get("runs", {})
    content["flat"], content["versions"] = flat, installed_versions()
    text = report(content)
    if args.only is None:
        RESULTS.mkdir(exist_ok=True)
        rows = json.dumps(content, separators=(",", ":")).replace('},"', '},\n"')
        file.write_text(rows + "\n", encoding="utf-8")
        (RESULTS / "timm_sweep.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def installed_versions() -> dict[str, str]:
    """What the results depend on."""
    import timm
    import torch

    return {"timm": timm.__version__, "torch": torch.__version__, "python": platform.python_version()}


if __name__ == "__main__":
    main()
