"""How MSCSA should start: schemes for its convolutions, its fusion and the gate, over paired seeds.

Each arm is trained from the same seeds as the baseline without MSCSA, which sees the same batches. Run from
the repository's root; what is done already is kept, so that more seeds or arms can be added:

    python benchmarks/starts.py camvid --root PATH --out benchmarks/results/starts_camvid.json
    python benchmarks/starts.py nuclei --root PATH --out benchmarks/results/starts_nuclei.json
    python benchmarks/starts.py collages --out benchmarks/results/starts_collages.json
    python benchmarks/starts.py scenes --out benchmarks/results/starts_scenes.json

`camvid` (images with label maps), `nuclei` (COCO's format, as foreground and background) and `collages`
(embedded) train a Semantic FPN on frozen maps of EfficientNet-Lite0; `scenes` (embedded) trains a ResNet-10t
classifier from scratch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mscsa.assembly.build import build_model
from mscsa.attention.fusion import LevelFusion
from mscsa.cost.matched_control import matched_control
from mscsa.data.coco.layouts import find_objects, image_path
from mscsa.data.coco.masks import decode_segmentation
from mscsa.data.contract import sample_index
from mscsa.data.datasets import build_datasets, class_names_of
from mscsa.data.images import load_image
from mscsa.data.loading import build_eval_loader, build_train_loader
from mscsa.data.sampler import ResumableBatchSampler
from mscsa.data.seeding import derive_seed
from mscsa.evaluation.scores import SCORES, measure
from mscsa.frozen import freeze_backbone, frozen_prefix, prepare
from mscsa.recipes import get_recipe
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.length import epoch_length, run_length
from mscsa.recipes.spec import Recipe
from mscsa.report import write_json
from mscsa.speed.machine import describe_machine
from mscsa.speed.steps import StepOptions
from mscsa.training.freezing import freeze, hold_in_eval
from mscsa.training.module import seed_generators
from mscsa.training.objectives import build_objective
from mscsa.training.optimization import build_optimizer, build_scheduler


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to start."""

    fields: dict[str, Any] | None
    """Of MSCSAConfig; None for the baseline without MSCSA."""
    change: Callable[[Any], None] | None = None
    """What is done to the built model: a start that the library does not offer, because it lost."""
    keep_classifier: bool = False
    """Whether the backbone's own classifier stays."""
    head_channels: int | None = None
    """Width of the head, for the baseline that spends MACs there."""
    norm_lr: float = 1.0
    """Factor on the learning rate of the fusion's norms."""
    mscsa_lr: float = 1.0
    """Factor on the learning rate of MSCSA and of the classifier behind it."""


def _fusions(model: nn.Module) -> list[LevelFusion]:
    return [module for module in model.modules() if isinstance(module, LevelFusion)]


def random_fusion(model: nn.Module) -> None:
    """Start the fusion's convolution at random, as before: gate and bias are noise of the maps' size."""
    for fuse in _fusions(model):
        nn.init.trunc_normal_(fuse.project.weight, std=0.02)


def zero_norm(model: nn.Module) -> None:
    """Start the fusion's norm, not its convolution, at 0: it grows at the pace of the learning rate."""
    random_fusion(model)
    for fuse in _fusions(model):
        nn.init.zeros_(fuse.norm.weight)


def small_norm(model: nn.Module) -> None:
    """Start the fusion's norm at 0.2: nearly the identity."""
    random_fusion(model)
    for fuse in _fusions(model):
        nn.init.constant_(fuse.norm.weight, 0.2)


def dead_branches(model: nn.Module) -> None:
    """The former identity start: the norm at 0, and the last projection of every branch."""
    zero_norm(model)
    for name, parameter in model.named_parameters():
        if ".blocks." in name and ".project." in name:
            nn.init.zeros_(parameter)


WEIGHTS = {
    scheme: Arm(fields={"init": scheme})
    for scheme in ("average", "average_fan_in", "fan_in", "fan_out", "uniform", "trunc_normal")
}
FUSIONS = {
    "random fusion": Arm(fields={}, change=random_fusion),
    "random fusion, gate 1": Arm(fields={"gate_scale": 1.0}, change=random_fusion),
    "gate 1": Arm(fields={"gate_scale": 1.0}),
    "norm at 0": Arm(fields={}, change=zero_norm),
    "norm at 0, 10 times its rate": Arm(fields={}, change=zero_norm, norm_lr=10.0),
    "norm at 0.2": Arm(fields={}, change=small_norm),
    "norm at 0, branches at 0": Arm(fields={}, change=dead_branches),
    "as before": Arm(fields={"init": "trunc_normal", "gate_scale": 1.0}, change=random_fusion),
}


def random_classifier(model: nn.Module) -> None:
    """Start the classifier of MSCSA's tokens, beside the kept one, at random instead of at 0."""
    nn.init.trunc_normal_(model.head.weight, std=0.02)


def no_blocks(model: nn.Module) -> None:
    """Pool, squeeze and concatenate the stages without attention: what the classifier reads alone."""
    model.mscsa.blocks = nn.ModuleList()


def no_norm(model: nn.Module) -> None:
    """Leave out the norm before the classifier."""
    model.norm = nn.Identity()


CLASSIFIERS = {
    "kept classifier": Arm(fields={}, keep_classifier=True),
    "kept classifier, tokens' at random": Arm(fields={}, change=random_classifier, keep_classifier=True),
    "kept classifier, 4x4 tokens": Arm(fields={"pool_stride": 16}, keep_classifier=True),
    "pooled to 4x4 tokens": Arm(fields={"pool_stride": 16}),
    "pooled to 2x2 tokens": Arm(fields={"pool_stride": 32}),
    "no blocks": Arm(fields={}, change=no_blocks),
    "no final norm": Arm(fields={}, change=no_norm),
    "half the rate": Arm(fields={}, mscsa_lr=0.5),
    "twice the rate": Arm(fields={}, mscsa_lr=2.0),
}
BASELINE = "baseline"
CONTROL = "head of the same MACs"


def settings(name: str, root: str | None) -> tuple[Recipe, dict[str, Arm]]:
    """Give the recipe with MSCSA and the arms of a setting."""
    if name == "scenes":
        return get_recipe("scenes/mscsa_resnet10t"), {BASELINE: Arm(fields=None), **WEIGHTS, **CLASSIFIERS}
    family = "frozen_collages" if name == "collages" else "frozen_semantic_fpn"
    recipe = get_recipe(f"{family}/mscsa_tf_efficientnet_lite0")
    # A narrow head, so that runs are short.
    narrow = replace(recipe.model, head_kwargs={"fpn_channels": 32, "head_channels": 32})
    recipe = replace(recipe, model=narrow, data=replace(recipe.data, root=root))
    if name == "collages":
        sides = {"image_size": 128, "short_side": 128, "long_side": 128}
        recipe = replace(recipe, data=replace(recipe.data, **sides))
    if name == "nuclei":
        recipe = replace(recipe, data=replace(recipe.data, short_side=256))
    control = matched_control(recipe, len(class_names_of(recipe.data))).recipe
    assert control is not None
    wider = {
        CONTROL: Arm(fields=None, head_channels=control.model.head_kwargs["head_channels"]),
        "wider head": Arm(fields=None, head_channels=36),  # for a third of MSCSA's MACs
    }
    return recipe, {BASELINE: Arm(fields=None), **wider, **WEIGHTS, **FUSIONS}


def label_maps(root: str) -> str:
    """Draw a COCO data set's objects as label maps of foreground and background, in a folder beside it."""
    out = Path(f"{root}_masks")
    for split in ("train", "val") if not (out / "classes.txt").exists() else ():
        objects = find_objects(root, split)
        file, folder = objects.file, objects.folder
        found = json.loads(file.read_text())
        of_image: dict[int, list[Any]] = {}
        for each in found["annotations"]:
            of_image.setdefault(each["image_id"], []).append(each["segmentation"])
        for image in found["images"]:
            size = image["height"], image["width"]
            labels = np.zeros(size, np.uint8)
            for segmentation in of_image.get(image["id"], []):
                labels[decode_segmentation(segmentation, size)] = 1
            path = image_path(folder, image["file_name"])
            for kind, picture in (("images", load_image(path)), ("labels", Image.fromarray(labels))):
                (out / kind / split).mkdir(parents=True, exist_ok=True)
                picture.save(out / kind / split / f"{path.stem}.png")
    (out / "classes.txt").write_text("background\nnucleus\n")
    return str(out)


_SAMPLES: dict[tuple[str, int], Any] = {}


class _Remembered:
    """Scenes, each rendered once in a process: unaugmented, they are the same in all epochs and runs."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: Any) -> Any:
        name = self._dataset.describe(sample_index(key)), sample_index(key)
        if name not in _SAMPLES:
            _SAMPLES[name] = self._dataset[key]
        return _SAMPLES[name]


def run_arm(recipe: Recipe, arm: Arm, seed: int) -> dict[str, float]:
    """Train one arm with one seed and score it."""
    torch.set_num_threads(1)
    recipe = replace(recipe, run=replace(recipe.run, seed=seed))
    if arm.fields is None:
        recipe = baseline_of(recipe)
    spec = recipe.model
    if arm.fields:
        spec = replace(spec, mscsa={**(spec.mscsa or {}), **arm.fields})
    spec = replace(spec, keep_classifier=arm.keep_classifier)
    if arm.head_channels:
        spec = replace(spec, head_kwargs=dict.fromkeys(spec.head_kwargs, arm.head_channels))
    recipe = replace(recipe, model=spec)
    seed_generators(derive_seed("model", seed))
    num_classes = len(class_names_of(recipe.data))
    model = build_model(spec, num_classes, input_size=recipe.data.input_size)
    if arm.change is not None:
        arm.change(model)
    sets: Any = build_datasets(recipe.data, recipe.augment, dict(model.pretrained_cfg), seed)
    if recipe.data.kind == "scenes":
        sets = tuple(_Remembered(each) for each in sets)
    held: list[str] = []
    if spec.frozen:
        sets = freeze_backbone(model, recipe, sets)
        held = freeze(model, [frozen_prefix(model)])
    start = time.monotonic()
    loss = _train(model, recipe, arm, sets[0], held, build_objective(recipe, num_classes))
    seconds = time.monotonic() - start
    loader = build_eval_loader(sets[1], recipe.data)
    scores: Any = measure(spec.task, model, loader, device=torch.device("cpu"))
    return {"score": getattr(scores, scores.MAIN), "train_loss": loss, "seconds": seconds}


def _train(
    model: nn.Module, recipe: Recipe, arm: Arm, dataset: Any, held: list[str], objective: Any
) -> float:
    """Train as the recipe says; give the mean loss of the last fifth."""
    optimizer = build_optimizer(model, recipe.optim)
    norms = [p for fuse in _fusions(model) for p in fuse.norm.parameters()]
    added = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    _set_rate(optimizer, norms, arm.norm_lr)
    _set_rate(optimizer, added, arm.mscsa_lr)
    epoch = epoch_length(recipe, len(dataset))
    scheduler = build_scheduler(optimizer, recipe.optim, recipe.run, epoch)
    sampler = ResumableBatchSampler(len(dataset), recipe.data.batch_size, seed=recipe.run.seed)
    loader = build_train_loader(dataset, sampler, workers=0)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    hold_in_eval(model, held)
    steps = run_length(recipe.run, epoch)
    losses: list[float] = []
    while len(losses) < steps:
        for images, targets, _ in loader:
            if len(losses) == steps:
                break
            scheduler.step_update(len(losses))
            loss = objective(model, images.contiguous(memory_format=torch.channels_last), targets).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return mean(losses[-steps // 5 :])


def _set_rate(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], factor: float) -> None:
    """Give parameters groups of their own, with a factor on the learning rate."""
    apart = {id(p) for p in parameters}
    for group in list(optimizer.param_groups) if factor != 1 else []:
        own = [p for p in group["params"] if id(p) in apart]
        if own:
            group["params"] = [p for p in group["params"] if id(p) not in apart]
            optimizer.add_param_group({**group, "params": own, "lr_scale": factor})


def main() -> None:
    """Run what is missing, and write the scores and their paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("setting", choices=("camvid", "nuclei", "collages", "scenes"))
    parser.add_argument("--root")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, help="of each run; the recipe's if not given")
    parser.add_argument("--epochs", type=int, help="of each run, for `scenes`; the recipe's if not given")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--arms", nargs="*", help="all if not given")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    root = label_maps(options.root) if options.setting == "nuclei" else options.root
    recipe, arms = settings(options.setting, root)
    if options.steps:
        recipe = replace(recipe, run=replace(recipe.run, steps=options.steps))
    if options.epochs:
        recipe = replace(recipe, run=replace(recipe.run, epochs=options.epochs))
    if recipe.model.frozen:
        prepare(recipe)
    done: dict[str, dict[str, Any]] = {}
    if options.out.exists():
        done = json.loads(options.out.read_text())["runs"]
    chosen = options.arms or list(arms)
    todo = [
        (name, seed)
        for seed in range(options.seeds)
        for name in chosen
        if str(seed) not in done.get(name, {})
    ]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run_arm, recipe, arms[name], seed): (name, seed) for name, seed in todo}
        for future in as_completed(futures):
            name, seed = futures[future]
            if future.exception():
                pool.shutdown(cancel_futures=True)
            done.setdefault(name, {})[str(seed)] = future.result()
            print(name, seed, done[name][str(seed)], flush=True)
            _write(options.out, options.setting, recipe, done)


def _write(path: Path, setting: str, recipe: Recipe, runs: dict[str, dict[str, Any]]) -> None:
    base = runs.get(BASELINE, {})
    summary = {}
    for name, by_seed in runs.items():
        seeds = sorted(by_seed, key=int)
        scores = [by_seed[seed]["score"] for seed in seeds]
        paired = [by_seed[seed]["score"] - base[seed]["score"] for seed in seeds if seed in base]
        summary[name] = {"scores": scores, "mean": mean(scores), "minus_baseline": paired}
        summary[name]["mean_minus_baseline"] = mean(paired) if paired else None
    content = {
        "setting": setting,
        "metric": SCORES[recipe.model.task].MAIN,
        "recipe": asdict(recipe) | {"data": {**asdict(recipe.data), "root": None}},
        "machine": describe_machine(StepOptions(device="cpu")),
        "summary": summary,
        "runs": runs,
    }
    write_json(path, content)


if __name__ == "__main__":
    main()
