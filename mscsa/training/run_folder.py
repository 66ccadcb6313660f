"""The folder of a run: what was asked for, on what it ran, and what came out."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from filelock import FileLock, Timeout

from mscsa.commit import git_commit
from mscsa.errors import UserError
from mscsa.files import write_text
from mscsa.recipes.spec import Recipe
from mscsa.run_files import CONFIG, ENVIRONMENT, METRICS
from mscsa.training.checkpointing import read_last

logger = logging.getLogger(__name__)

LOCK = ".lock"
LOG = "log.txt"
CURVES = "curves.png"
TENSORBOARD = "tensorboard"
TRACKER = "tracker.json"
"""Which record of W&B or MLflow the run has (`mscsa.training.trackers`)."""
WANDB = "wandb"
"""What W&B itself writes."""
BAD_IMAGES = "bad_images.txt"
KEPT = "kept"
"""Folder of the best evaluations' weights, in runs that keep more than one."""

_BEFORE_CHECKPOINT = {
    *(CONFIG, ENVIRONMENT, METRICS, LOG, BAD_IMAGES),
    *(TENSORBOARD, TRACKER, WANDB),
}
"""What a run may have written before its first checkpoint."""

_LOCK_TIMEOUT_S = 10

_PACKAGES = ("mscsa", "torch", "torchvision", "timm", "lightning", "safetensors", "numpy", "pillow")
_OPTIONAL_PACKAGES = ("transformers", "faster-coco-eval")  # for detection


def open_run_folder(folder: Path, recipe: Recipe, *, resume: bool) -> FileLock:
    """Make the folder of a new run and write the recipe, or find that of an old one; no other run gets it.

    What a run left that ended before its first checkpoint is removed: there is nothing in it to go on from.
    It is told by the lock and the settings as a run writes them; what else a folder holds is someone's own.

    Returns:
        The lock on the folder; it is free again once it is released, or the process ends.
    Raises:
        UserError: If there is a run already and it is not to be resumed, another process is at it, or it
            cannot be written.
    """
    # Asked before there is a lock: it would stay in a folder that is refused.
    if (folder.exists() and not folder.is_dir()) or (not resume and is_taken(folder)):
        raise _taken(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
    except OSError as error:
        raise UserError(
            f"cannot make {folder}: {error.strerror}; give a folder that can be written"
        ) from error
    if resume:
        return lock
    try:
        _make_room(folder)
        write_config(folder, recipe)
    except BaseException:
        lock.release()
        raise
    return lock


def write_config(folder: Path, recipe: Recipe) -> None:
    """Write what was asked for, as `--config` reads it."""
    _write_settings(folder, json.loads(json.dumps(asdict(recipe))))


def restore_config(folder: Path) -> str:
    """Write the settings of a run from its last checkpoint, where their file is damaged or missing.

    Returns:
        The name of the recipe.
    Raises:
        UserError: If no checkpoint can be read, or the file cannot be written.
    """
    path, checkpoint = read_last(folder)
    settings = checkpoint["mscsa"]["recipe"]
    _write_settings(folder, settings)
    logger.warning("%s was damaged or missing: it is written anew from %s", folder / CONFIG, path.name)
    return str(settings["name"])


def _write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    write_text(folder / CONFIG, _settings_text(settings))


def _settings_text(settings: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def says_length_of(folder: Path, recipe: Recipe) -> bool:
    """Say whether the settings of a run ask for the length that a recipe asks for."""
    try:
        run = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["run"]
        return (run["epochs"], run["steps"]) == (recipe.run.epochs, recipe.run.steps)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return False


def kept_name(step: int) -> str:
    """Name the file of weights of an evaluation after so many steps, in the folder `KEPT`."""
    return f"step_{step}.safetensors"


def is_taken(folder: Path) -> bool:
    """Say whether a folder holds what a new run must not write over."""
    return folder.exists() and (not folder.is_dir() or bool(_kept(folder)))


def next_free(folder: Path) -> Path:
    """Give `folder` if a new run may have it, or else the first of folder-2, folder-3, ... that is free."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([folder], numbered) if not is_taken(each))


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK)
    try:
        # The loader workers of a run that was just killed may hold it some seconds longer.
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as error:
        raise UserError(
            f"another process is training in {folder}: wait for its end, or give another folder"
        ) from error
    return lock


def _kept(folder: Path) -> list[str]:
    """List what a folder holds beside the lock; nothing if all is of a run without a checkpoint."""
    entries = {entry.name for entry in folder.iterdir()}
    names = {name for name in entries if not (name.startswith(".") and name.endswith(".tmp"))} - {LOCK}
    # The lock is there before the settings are, and people copy settings to folders of their own.
    is_of_a_run = {LOCK, CONFIG} <= entries and names <= _BEFORE_CHECKPOINT
    return [] if is_of_a_run and _is_written_config(folder / CONFIG) else sorted(names)


def _is_written_config(path: Path) -> bool:
    """Say whether a file is a whole recipe, to the letter as `write_config` writes it."""
    try:
        text = path.read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
        is_whole = list(settings) == [field.name for field in fields(Recipe)]
        return is_whole and text == _settings_text(settings)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return False


def _taken(folder: Path) -> UserError:
    return UserError(
        f"{folder} is there already and nothing is overwritten: resume the run, or give another folder"
    )


def _make_room(folder: Path) -> None:
    if _kept(folder):
        raise _taken(folder)
    failed = [entry for entry in folder.iterdir() if entry.name != LOCK]
    if failed:
        logger.info("%s: what a run left that ended before its first checkpoint is removed", folder)
    for entry in failed:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def record_environment(folder: Path, seed: int, device: torch.device, world_size: int) -> None:
    """Add this session to `environment.json`; a run has one per start and resume."""
    path = folder / ENVIRONMENT
    try:
        sessions = list(json.loads(path.read_text(encoding="utf-8"))["sessions"]) if path.exists() else []
    except (OSError, ValueError, KeyError, TypeError):
        aside = path.with_name(f"damaged_{path.name}")
        os.replace(path, aside)
        logger.warning("%s is damaged: it is called %s now, and a new one is begun", path, aside.name)
        sessions = []
    sessions.append(describe_environment(seed, device, world_size))
    write_text(path, json.dumps({"sessions": sessions}, indent=2) + "\n")


def describe_environment(seed: int, device: torch.device, world_size: int) -> dict[str, Any]:
    """Say what runs where: versions, commit, command line, device."""
    is_cuda = device.type == "cuda"
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "seed": seed,
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version(), **package_versions()},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.processor() or "cpu",
        "processes": world_size,
        "threads": torch.get_num_threads(),
    }


def package_versions() -> dict[str, str]:
    """List the installed versions of what results depend on."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    for name in _OPTIONAL_PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
