"""The folder of a run: what was asked for, on what it ran, and what came out."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from mscsa.errors import UserError
from mscsa.files import write_text
from mscsa.recipes.spec import Recipe

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
RESULT = "result.json"
METRICS = "metrics.csv"
LAST_IMAGES = "last_images.npz"
"""What the last evaluation counted of each image (`mscsa.evaluation.image_counts`)."""

_PACKAGES = ("mscsa", "torch", "torchvision", "timm", "lightning", "safetensors", "numpy", "pillow")
_OPTIONAL_PACKAGES = ("transformers", "faster-coco-eval")  # for detection


def open_run_folder(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """Make the folder of a new run and write the recipe, or find that of an old one.

    Raises:
        UserError: If there is one already and it is not to be resumed, or it cannot be written.
    """
    if resume:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} is there already and nothing is overwritten: resume the run, or give another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make {folder}: {error.strerror}; give a folder that can be written"
        ) from error
    settings = json.loads(json.dumps(asdict(recipe)))
    write_text(folder / CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def record_environment(folder: Path, seed: int, device: torch.device, world_size: int) -> None:
    """Add this session to `environment.json`; a run has one per start and resume."""
    path = folder / ENVIRONMENT
    sessions = json.loads(path.read_text())["sessions"] if path.exists() else []
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


def git_commit() -> str | None:
    """Return the commit of the project's sources, with `+changes` if they were edited since.

    None where they are not in a repository of their own, as after an installation.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
