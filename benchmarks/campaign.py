"""The evidence campaign: what MSCSA does for the score at equal cost (benchmarks/results/PROTOCOL.md).

Each row is one `mscsa compare`, which goes on where it stopped. From a folder with the data sets in it:

    python benchmarks/campaign.py show
    python benchmarks/campaign.py run frozen_nuclei --runs runs/campaign -- --jobs 2

What stands after -- goes to `mscsa compare`. `run` writes the row to benchmarks/results/campaign/ROW.json,
which `python -m benchmarks.evidence` reads. `latency` times the arms of all rows that have their file,
each model once, to benchmarks/results/campaign/latency.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mscsa.assembly.build import build_model
from mscsa.neck_table import OTHER_NECKS
from mscsa.recipes.spec import ModelSpec
from mscsa.report import write_json
from mscsa.speed.interleaved import compare_speed
from mscsa.speed.machine import describe_machine
from mscsa.speed.steps import StepOptions
from mscsa_runtime.machine import num_cores

RESULTS = Path(__file__).parent / "results" / "campaign"

_NO_MSP = {"downsampling": "none"}
TABLE_4 = {
    "all_removed": {"parallel_conv": False, "intra_ffn": False, **_NO_MSP},
    "pcp": {"intra_ffn": False, **_NO_MSP},
    "pcp_intra": _NO_MSP,
}
TABLE_5 = {
    "avgpool": {"downsampling": "parallel_avgpool"},
    "cascaded": {"downsampling": "cascaded_dwconv"},
    "single": {"downsampling": "single_dwconv"},
}
"""Rows of the paper's tables; MSCSA itself is the last of the one and the first of the other."""

KNOBS = {
    "stride_8": {"pool_stride": 8},
    "stride_32": {"pool_stride": 32},
    "depth_2": {"depth": 2},
    "heads_4": {"num_heads": 4},
    "head_dim_8": {"head_dim": 8},
    "gate_1": {"gate_scale": 1.0},
    "trunc_normal": {"init": "trunc_normal"},
    "fan_in": {"init": "fan_in"},
    "budget_05": {"budget": 0.05},
    "budget_10": {"budget": 0.10},
    "budget_15": {"budget": 0.15},
}
"""What the paper leaves open."""

STARTS = {name: KNOBS[name] for name in ("gate_1", "trunc_normal", "fan_in")}
"""How MSCSA begins."""


STARTS_ALONE = ("gate_scale", "init")
"""What is of the weights as they start, and takes no time."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison of the campaign."""

    recipe: str
    options: tuple[str, ...]
    num_classes: int = 11
    seeds: int = 10
    necks: bool = False
    variants: dict[str, dict[str, object]] | None = None
    shares: str | None = None
    """Row whose folder it uses, so that arms which both have are trained once."""

    def command(self, runs: str) -> list[str]:
        """Give the command that makes it, for a folder of runs."""
        options = [*self.options, "--seeds", str(self.seeds)]
        options += ["--necks", ",".join(OTHER_NECKS)] if self.necks else []
        options += ["--no-control", "--variants", json.dumps(self.variants)] if self.variants else []
        return ["mscsa", "compare", self.recipe, *options, "--out", f"{runs}/{self.shares or self.name}"]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of all that it compares."""
        necks = OTHER_NECKS if self.necks else ()
        variants = self.variants or {}
        return ("baseline", *(() if variants else ("control",)), *necks, *variants, "mscsa")

    @property
    def name(self) -> str:
        """Its name in `ROWS`."""
        return next(name for name, row in ROWS.items() if row is self)


_SEGMENT = "frozen_semantic_fpn/mscsa_tf_efficientnet_lite0"
_COLLAGES = "frozen_collages/mscsa_tf_efficientnet_lite0"
_CAMVID = ("--data.root", "camvid11", "--block", "5")
_CAMVID_SHORT = (*_CAMVID, "--run.steps", "300")
_CAMVID_LONG = (*_CAMVID, "--run.steps", "1200")
_CAMVID_192 = (*_CAMVID, "--data.image_size", "192", "--run.steps", "400", "--model.budget", "0.14")
# The recipe's is for images of 512 px; sizes, head and budget are those of the frozen rows.
_CAMVID_FINETUNED = (
    *(*_CAMVID, "--data.image_size", "128", "--data.short_side", "288", "--data.long_side", "640"),
    *("--data.eval_batch_size", "4", "--data.workers", "0", "--run.eval_every", "1000"),
    *("--model.head_kwargs", "{fpn_channels: 64, head_channels: 64, backbone_norm: frozen}"),
    *("--model.mscsa", "{pool_stride: 16}", "--model.budget", "0.25"),
)
_MASKS = "frozen_mask_rcnn/mscsa_tf_efficientnet_lite0"
_NUCLEI = ("--data.root", "nuclei")
# Four epochs are short for the recipe's augmentation and average of weights, made for twenty.
_IMAGENETTE = (
    *("--data.root", "imagenette128", "--data.image_size", "96", "--data.workers", "0"),
    *("--augment.auto_augment", "null", "--augment.mixup", "0", "--augment.cutmix", "0"),
    *("--optim.warmup_epochs", "0.5", "--optim.ema_decay", "null", "--run.epochs", "4"),
    *("--model.mscsa", "{pool_stride: 16}"),
)
_TOKENS = Row(recipe="finetune/mscsa_tf_efficientnet_lite0", options=_IMAGENETTE, num_classes=10, seeds=6)
_KEPT = replace(_TOKENS, options=(*_IMAGENETTE, "--model.keep_classifier", "true"))
# Its classes say left and right: no mirroring.
_CARPARTS = ("--data.root", "carparts", "--augment.hflip", "0")

ROWS: dict[str, Row] = {
    "frozen_camvid_long": Row(recipe=_SEGMENT, options=_CAMVID_LONG, necks=True),
    "frozen_camvid_lite2": Row(recipe=_SEGMENT.replace("lite0", "lite2"), options=_CAMVID_LONG, seeds=6),
    "frozen_camvid": Row(recipe=_SEGMENT, options=_CAMVID_SHORT, seeds=6, necks=True),
    # As the campaign was first set.
    "frozen_camvid_192": Row(recipe=_SEGMENT, options=_CAMVID_192, seeds=6),
    "frozen_camvid_192_necks": Row(
        recipe=_SEGMENT, options=_CAMVID_192, seeds=6, necks=True, shares="frozen_camvid_192"
    ),
    "frozen_camvid_192_starts": Row(
        recipe=_SEGMENT, options=_CAMVID_192, seeds=6, variants=STARTS, shares="frozen_camvid_192"
    ),
    "frozen_camvid_192_table_4": Row(
        recipe=_SEGMENT, options=_CAMVID_192, seeds=6, variants=TABLE_4, shares="frozen_camvid_192"
    ),
    "frozen_camvid_192_table_5": Row(
        recipe=_SEGMENT, options=_CAMVID_192, seeds=6, variants=TABLE_5, shares="frozen_camvid_192"
    ),
    "frozen_nuclei": Row(recipe=_MASKS, options=_NUCLEI, num_classes=1, seeds=6),
    "frozen_nuclei_necks": Row(
        recipe=_MASKS, options=_NUCLEI, num_classes=1, seeds=6, necks=True, shares="frozen_nuclei"
    ),
    "frozen_carparts": Row(recipe=_MASKS, options=_CARPARTS, num_classes=18, seeds=6),
    "frozen_carparts_necks": Row(
        recipe=_MASKS, options=_CARPARTS, num_classes=18, seeds=6, necks=True, shares="frozen_carparts"
    ),
    "finetuned_camvid_recipe": Row(
        recipe="finetune_segmentation/mscsa_tf_efficientnet_lite0",
        options=(*_CAMVID_FINETUNED, "--optim.lr", "4e-4", "--run.steps", "800"),
        seeds=6,
    ),
    "finetuned_camvid": Row(
        recipe=_SEGMENT,
        options=(
            *(*_CAMVID, "--run.steps", "600", "--model.frozen", "false", "--augment.scale", "[0.75,1.5]"),
            *("--augment.photometric", "true", "--optim.lr", "3e-4", "--optim.head_lr_factor", "3"),
        ),
        seeds=6,
    ),
    "finetuned_imagenette": replace(_KEPT),
    "finetuned_imagenette_tokens": replace(_TOKENS),
    # The same two with today's start of a new classifier.
    "finetuned_imagenette_start": replace(_TOKENS),
    "finetuned_imagenette_kept": replace(_KEPT),
    "frozen_collages_knobs": Row(recipe=_COLLAGES, options=(), num_classes=15, variants=KNOBS),
    "frozen_camvid_rich": Row(
        recipe=_SEGMENT, options=(*_CAMVID_LONG, "--model.budget", "0.5"), seeds=6, necks=True
    ),
}


def main() -> None:
    """Show the commands, or run some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=("show", "run", "latency"))
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all if none")
    parser.add_argument("--commit", help="of the runs, where they were trained outside a repository")
    parser.add_argument("--runs", default="runs/campaign", help="folder of the runs")
    given = sys.argv[1:]
    more = given[given.index("--") + 1 :] if "--" in given else []
    options = parser.parse_args(given[: len(given) - len(more) - bool(more)])
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row is called {unknown[0]}: there are {', '.join(ROWS)}")
    if options.action == "latency":
        if options.rows:
            parser.error("latency takes no rows: all are timed in one run")
        _measure_latency()
        return
    for name in options.rows or ROWS:
        command = ROWS[name].command(options.runs)
        print(shlex.join(command), flush=True)
        if options.action == "run":
            _run(name, [*command, *more], options.commit)


def _run(name: str, command: list[str], commit: str | None) -> None:
    """Run a row, and keep what it came to."""
    done = subprocess.run([sys.executable, "-m", "mscsa_cli", *command[1:]], check=False)
    if done.returncode:
        sys.exit(f"{name} failed: the same command goes on")
    out = Path(command[command.index("--out") + 1])
    RESULTS.mkdir(exist_ok=True)
    result = json.loads((out / "compare.json").read_text())
    commit = result["training_environment"]["git_commit"] or commit
    write_json(RESULTS / f"{name}.json", result | {"commit": commit})


def _measure_latency() -> None:
    """Time a call of one image in the arms of all rows that have their file, with weights as they start.

    Each model is timed once, by turns with all others of the same input size, so that rows and variants with
    the same layers have the same time. Detectors are left out: untrained ones find by chance more or less,
    which takes more or less time.
    """
    options = StepOptions(device="cpu", channels_last=True, folded=True)
    torch.set_num_threads(num_cores())
    files = {name: RESULTS / f"{name}.json" for name in ROWS}
    found = {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}
    found = {
        name: row for name, row in found.items() if "mask_ap" not in row["arms"]["mscsa"]["other_scores"]
    }
    of_size: dict[tuple[int, int], dict[str, tuple[dict[str, Any], int]]] = {}
    for name, row in found.items():
        models = of_size.setdefault((row["input_size"][0], row["input_size"][1]), {})
        for recipe in row["recipes"].values():
            models[_spec_of(recipe)] = (recipe["model"], ROWS[name].num_classes)
    times = {}
    for size, models in of_size.items():
        print(f"{size[0]}x{size[1]} px: {len(models)} models", flush=True)
        built = [
            build_model(
                ModelSpec(**spec | {"pretrained": False, "frozen": False}), num_classes, input_size=size
            )
            for spec, num_classes in models.values()
        ]
        (measured,) = compare_speed(
            built, size, batch_sizes=(1,), modes=("inference",), options=options, rounds=15
        )
        times[size] = dict(zip(models, measured.timings, strict=True))
    rows = {}
    for name, row in found.items():
        size = (row["input_size"][0], row["input_size"][1])
        arms = {arm: asdict(times[size][_spec_of(recipe)]) for arm, recipe in row["recipes"].items()}
        rows[name] = {"input_size": size, "arms": arms}
        print(name, {arm: round(each["median_ms"], 2) for arm, each in arms.items()}, flush=True)
    write_json(RESULTS / "latency.json", {"machine": describe_machine(options), "rows": rows})


def _spec_of(recipe: dict[str, Any]) -> str:
    """Tell models apart: what is computed, whatever the weights are."""
    spec = asdict(ModelSpec(**recipe["model"]))  # with the fields that older files do not have
    for key in ("pretrained", "frozen", "checkpoint", "baseline_checkpoint"):
        del spec[key]
    if spec["mscsa"]:
        spec["mscsa"] = {key: value for key, value in spec["mscsa"].items() if key not in STARTS_ALONE}
    return json.dumps(spec, sort_keys=True)


if __name__ == "__main__":
    main()
