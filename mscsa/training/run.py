"""One run from a recipe to its result, new or resumed."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn

from mscsa.assembly.build import build_model, check_input_size, resolved_spec
from mscsa.assembly.weights_file import EVALUATION_INPUT, WeightsInfo
from mscsa.commit import git_commit
from mscsa.data.coco.masks import mask_encoder
from mscsa.data.contract import TaskDataset
from mscsa.data.datasets import build_datasets, class_names_of, flip_pairs_of
from mscsa.data.loading import too_many_workers
from mscsa.data.seeding import derive_seed
from mscsa.data.tolerance import TolerantDataset
from mscsa.errors import UserError
from mscsa.evaluation.running import choose_device
from mscsa.evaluation.scores import SCORES, score_names
from mscsa.files import write_text
from mscsa.frozen.backbone import freeze_backbone
from mscsa.recipes.length import check_length, run_length
from mscsa.recipes.spec import DetectionData, Recipe, RunSpec
from mscsa.run_files import LAST, METRICS, RESULT
from mscsa.signals import ended_by_sigterm
from mscsa.training import run_folder
from mscsa.training.arithmetic import arithmetic
from mscsa.training.bad_images import BadImages
from mscsa.training.callbacks import Evaluate, LogSteps
from mscsa.training.checkpointing import (
    AtomicCheckpointIO,
    SaveLast,
    check_free_space,
    read_last,
    remove_leftovers,
    set_damaged_aside,
)
from mscsa.training.checks import check_classes, check_recipe
from mscsa.training.data_module import RunData
from mscsa.training.display import Display, open_display
from mscsa.training.failures import explain
from mscsa.training.lost_weights import LostWeights, find_lost
from mscsa.training.metrics_log import MetricsCsv
from mscsa.training.module import TrainingModule, seed_generators
from mscsa.training.moving_average import MovingAverage, short_run_warning
from mscsa.training.objectives import build_objective
from mscsa.training.processes import (
    OneProcessError,
    ProcessLost,
    WatchProcesses,
    first_alone_speaks,
    is_of_lost_process,
    with_processes,
)
from mscsa.training.result import RunResult
from mscsa.training.resuming import check_same_run, is_extended, run_identity
from mscsa.training.run_log import RunLog
from mscsa.training.sharding import ShardedStrategy, check_shardable
from mscsa.training.summary import opening_lines
from mscsa.training.sync_batchnorm import SyncBatchNorms
from mscsa.training.trackers import Tracker

logger = logging.getLogger(__name__)


def train(recipe: Recipe, out_dir: str | Path, *, resume: bool = False, extend: bool = False) -> RunResult:
    """Train, evaluate and export as a recipe says.

    The folder gets `config.yaml`, `environment.json`, `log.txt`, `metrics.csv`, `last.ckpt` and the
    `previous.ckpt` before it, `best.safetensors`, `last.safetensors` (with a moving average also
    `best_other.safetensors` and `last_other.safetensors`: the worse of average and weights themselves),
    `last_images.npz` (what the last evaluation counted of each image), with `run.keep` `kept/`, and
    `result.json`. With several processes each runs this function; the first one writes.

    Args:
        out_dir: Folder of the run; a new one, or with `resume` that of a run to go on with.
        resume: Go on from `last.ckpt` as if the run had never stopped; from `previous.ckpt` with a warning if
            that is damaged. A finished run gives its result again.
        extend: With `resume`, let a run become longer whose schedule stretches over it: from there on its
            learning rate is that of a run of the new length. Otherwise this is refused.
    Raises:
        UserError: If recipe, data, folder or checkpoint is not usable.
        NonFiniteError: If the loss or a gradient is not finite.
        Interrupted: On SIGTERM or SIGINT, after saving.
        ProcessLost: If another process of the run is gone.
    """
    if extend and not resume:
        raise UserError("--extend makes a run longer that is there already: name it by --resume RUN")
    with (
        ended_by_sigterm("there was nothing new to save"),
        _quiet_lightning(),
        first_alone_speaks(),
        RunLog() as log,
        arithmetic(recipe.run),
    ):
        return _train(recipe, Path(out_dir), log, resume=resume, extend=extend)


def _train(recipe: Recipe, folder: Path, log: RunLog, *, resume: bool, extend: bool) -> RunResult:
    recipe = with_processes(replace(recipe, data=recipe.data.with_whole_places()))
    device = choose_device(recipe.run.accelerator)
    check_recipe(recipe, device)
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    start = read_last(folder) if resume else None
    session = _build_session(recipe, folder, device, start, extend=extend)
    trainer = session.trainer
    with ExitStack() as at_the_end:
        if trainer.is_global_zero:
            check_free_space(folder, session.module.model, recipe.optim, keep=recipe.run.keep)
            lock = run_folder.open_run_folder(folder, recipe, resume=resume)
            at_the_end.callback(lock.release)
            _begin(recipe, folder, log, session, device, start and start[0])
            at_the_end.callback(session.tracker.end)
            session.tracker.start()
        _fit(session, start and start[0])
        result = _result(recipe, session)
        if trainer.is_global_zero:
            write_text(folder / RESULT, json.dumps(asdict(result), indent=2) + "\n")
    return result


def _begin(
    recipe: Recipe, folder: Path, log: RunLog, session: _Session, device: torch.device, start: Path | None
) -> None:
    """Tidy the folder, open the log and say what is about to run."""
    remove_leftovers(folder)
    log.open(folder / run_folder.LOG)
    if start is not None and start.name != LAST:
        logger.warning(
            "%s is damaged or missing: going on from %s, the checkpoint before it", folder / LAST, start.name
        )
        set_damaged_aside(folder)
    if start is not None:
        session.evaluate.lost.restore()
        run_folder.write_config(folder, recipe)  # what was asked for otherwise goes on, too
    run_folder.record_environment(folder, recipe.run.seed, device, session.trainer.world_size)
    lines = opening_lines(
        recipe,
        session.module.model,
        (session.data.train_dataset, session.data.val_dataset),
        folder=folder,
        device=device,
        steps=session.evaluate.total_steps,
        first_step=session.evaluate.resumed_step,
    )
    for line in lines:
        logger.info("%s", line)
    ema_decay = recipe.optim.ema_decay
    warnings_ = [too_many_workers(recipe.data.workers, recipe.run.devices)]
    if ema_decay is not None and start is None:
        warnings_.append(short_run_warning(ema_decay, session.evaluate.total_steps))
    for each in filter(None, warnings_):
        logger.warning("%s", each)


def _fit(session: _Session, start: Path | None) -> None:
    """Run Lightning's loop; what ends it early passes, in one way for all processes.

    Raises:
        ProcessLost: If another process is gone.
        UserError: If the cause lies outside: bad input, full memory, a killed process that reads.
        OneProcessError: The same in one of several processes.
    """
    try:
        with session.module.stop.listening():
            session.trainer.fit(session.module, datamodule=session.data, ckpt_path=start, weights_only=True)
    except Exception as error:
        if is_of_lost_process(error):
            raise ProcessLost("another process of this run is gone; go on with --resume") from error
        explained = explain(error, session.evaluate.folder)
        if explained is None:
            raise
        if session.trainer.world_size > 1:
            raise OneProcessError(str(explained)) from error
        if explained is error:
            raise
        raise explained from error
    finally:
        session.display.close()
        session.data.close()


_Start: TypeAlias = tuple[Path, dict[str, Any]]
"""The checkpoint that a run goes on from, and its content."""


@dataclass(frozen=True)
class _Session:
    """The parts of a run that work together."""

    module: TrainingModule
    data: RunData
    trainer: pl.Trainer
    evaluate: Evaluate
    display: Display
    tracker: Tracker
    identity: dict[str, Any]
    """What a run that goes on from this one must agree with."""


def _build_session(
    recipe: Recipe, folder: Path, device: torch.device, start: _Start | None, *, extend: bool
) -> _Session:
    """Build model, data and trainer, and check that they may go on from the checkpoint `start`, if any."""
    saved = start[1] if start is not None else None
    if isinstance(recipe.data, DetectionData):
        mask_encoder()  # without its package, only the first evaluation would fail
    seed_generators(derive_seed("model", recipe.run.seed))
    num_classes = check_classes(recipe, class_names_of(recipe.data))
    model = _build_model(recipe, num_classes, is_resumed=saved is not None)
    if recipe.run.strategy == "fsdp":
        check_shardable(model)
    model_cfg = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    with_masks = recipe.model.task == "instance_segmentation"
    sets = build_datasets(recipe.data, recipe.augment, model_cfg, recipe.run.seed, with_masks=with_masks)
    check_length(recipe, len(sets[0]))  # before maps of a frozen backbone are computed
    identity = run_identity(recipe, *sets)
    tolerant = [each for each in sets if isinstance(each, TolerantDataset)]
    bad_images = [BadImages(folder, tolerant, recipe.data.max_bad)] if tolerant else []
    if recipe.model.frozen:
        sets = freeze_backbone(model, recipe, sets)
    data = RunData(recipe, *sets)
    info = _describe(recipe, model, model_cfg, sets[0])
    if info.category_ids and saved is None:
        logger.info("category id -> label: %s", describe_categories(info))
    objective = build_objective(recipe, num_classes)
    module = TrainingModule(model, recipe, objective, steps_per_epoch=data.steps_per_epoch)
    length = run_length(recipe.run, data.steps_per_epoch)
    total_steps = length if recipe.run.max_steps is None else min(length, recipe.run.max_steps)
    lost = LostWeights(folder)
    if start is not None:
        # Killed before it saved: that it was to become longer stands in its settings alone.
        extend = extend or run_folder.says_length_of(folder, recipe)
        lost = _check_start(start, identity, module, total_steps, extend=extend)
    save_last = SaveLast(folder, recipe.run.checkpoint_every, identity)
    average = None if recipe.optim.ema_decay is None else MovingAverage(recipe.optim.ema_decay)
    display = open_display()
    evaluate = Evaluate(
        folder,
        recipe,
        info,
        total_steps=total_steps,
        resumed_step=saved["global_step"] if saved else 0,
        average=average,
        save_last=save_last,
        display=display,
        lost=lost,
    )
    log_steps = LogSteps(
        recipe.run.log_every, recipe.data.batch_size, total_steps, display, lambda: data.waited_s
    )
    callbacks: list[Callback] = [WatchProcesses()]
    callbacks += [] if average is None else [average]
    # The order matters: what `SaveLast` keeps must be done before it.
    callbacks += [evaluate, log_steps, *bad_images, save_last]
    tracker = Tracker(recipe, folder, saved["global_step"] if saved else None)
    loggers = [_metrics_file(recipe, folder, saved, lost), *tracker.loggers]
    trainer = _build_trainer(recipe, folder, device, total_steps, callbacks, loggers)
    return _Session(module, data, trainer, evaluate, display, tracker, identity)


def _check_start(
    start: _Start, identity: dict[str, Any], module: TrainingModule, total_steps: int, *, extend: bool
) -> LostWeights:
    """Check that a run may go on from a checkpoint, and look for the weights that it wrote."""
    path, saved = start
    check_same_run(saved["mscsa"], identity, path, extend=extend)
    module.is_extended = is_extended(saved["mscsa"], identity, module.steps_per_epoch, path)
    if saved["global_step"] > total_steps:
        raise UserError(
            f"{path} is at step {saved['global_step']}, beyond the end of this run at {total_steps}: "
            "raise run.max_steps, run.epochs or run.steps"
        )
    return find_lost(path.parent, saved["callbacks"][Evaluate.__qualname__])


def _build_trainer(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    total_steps: int,
    callbacks: list[Callback],
    loggers: list[Logger],
) -> pl.Trainer:
    run = recipe.run
    plugins: list[Any] = [AtomicCheckpointIO()]
    if run.sync_batchnorm and run.devices * run.num_nodes > 1:
        plugins.append(SyncBatchNorms())
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=run.devices,
        num_nodes=run.num_nodes,
        strategy=_strategy(run),
        precision=run.precision,
        max_epochs=-1,  # `max_steps` says it all
        max_steps=total_steps,
        accumulate_grad_batches=run.accumulate,
        use_distributed_sampler=False,  # ours know the processes
        logger=loggers,
        callbacks=callbacks,
        plugins=plugins,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,  # ours is over the whole run
        default_root_dir=folder,
    )


def _strategy(run: RunSpec) -> Any:
    """Say to Lightning how the processes work together."""
    if run.devices * run.num_nodes == 1:
        return "auto"
    return ShardedStrategy() if run.strategy == "fsdp" else "ddp"


def _build_model(recipe: Recipe, num_classes: int, *, is_resumed: bool) -> nn.Module:
    spec = recipe.model
    # The checkpoint holds all weights; but kept maps are found by those that the backbone starts from.
    if is_resumed and not spec.frozen:
        spec = replace(spec, pretrained=False, checkpoint=None)
    elif recipe.starts_from and spec.checkpoint is None and not spec.pretrained:
        logger.warning(
            "%s starts from random weights, whatever of them it freezes: give --model.checkpoint FILE, the "
            "best.safetensors of %s, or --model.pretrained true for timm's weights of the backbone, where it "
            "has them",
            recipe.name,
            recipe.starts_from,
        )
    model = build_model(spec, num_classes, input_size=recipe.data.input_size)
    check_input_size(model, spec, recipe.data.input_size)
    return model


def _describe(
    recipe: Recipe, model: nn.Module, model_cfg: dict[str, Any], dataset: TaskDataset
) -> WeightsInfo:
    return WeightsInfo(
        model=resolved_spec(recipe.model, model),
        data=recipe.data.without_places(),
        class_names=tuple(dataset.class_names),
        category_ids=tuple(getattr(dataset, "category_ids", ())),
        flip_pairs=flip_pairs_of(dataset, recipe.augment),
        input={key: model_cfg[key] for key in EVALUATION_INPUT if key in model_cfg},
        provenance={
            "recipe": _publishable(recipe),
            "versions": run_folder.package_versions(),
            "git_commit": git_commit(),
        },
    )


def _publishable(recipe: Recipe) -> dict[str, Any]:
    """Give a recipe without the folders of this machine, which files of weights would take along."""
    plain = asdict(replace(recipe, data=recipe.data.without_places()))
    for field in ("checkpoint", "baseline_checkpoint"):
        path = plain["model"][field]
        plain["model"][field] = None if path is None else Path(path).name
    return plain


def describe_categories(info: WeightsInfo) -> str:
    """Say which label each of COCO's category ids has become."""
    return ", ".join(
        f"{category_id} -> {i + 1} ({name})"
        for i, (category_id, name) in enumerate(zip(info.category_ids, info.class_names, strict=True))
    )


def _metrics_file(
    recipe: Recipe, folder: Path, saved: dict[str, Any] | None, lost: LostWeights
) -> MetricsCsv:
    step = saved["global_step"] if saved else 0
    evaluated = saved["callbacks"][Evaluate.__qualname__]["evaluated_step"] if saved else 0
    if lost.repeats(evaluated, step):
        evaluated -= 1
    return MetricsCsv(
        folder / METRICS,
        score_names(SCORES[recipe.model.task]),
        main=None if recipe.optim.ema_decay is None else recipe.run.monitor or SCORES[recipe.model.task].MAIN,
        keep_train=step,
        keep_val=evaluated,
    )


def _result(recipe: Recipe, session: _Session) -> RunResult:
    evaluate, ranking = session.evaluate, session.evaluate.ranking
    return RunResult(
        recipe=recipe.name,
        seed=recipe.run.seed,
        metric=SCORES[recipe.model.task].MAIN,
        scores=evaluate.latest,
        monitor=ranking.monitor,
        best_score=ranking.best["score"],
        best_epoch=ranking.best["epoch"],
        best_weights=ranking.best["weights"],
        steps=evaluate.evaluated_step,
        num_parameters=sum(p.numel() for p in session.module.model.parameters()),
        seconds=evaluate.seconds,
        data=session.identity["data"],
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice and banners; its errors stay."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
