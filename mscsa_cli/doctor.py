"""`mscsa doctor`: what a report of a bug has to say of the machine, with torch or without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "HF_HOME"),
    *("HF_ENDPOINT", "TORCH_HOME", "MSCSA_CACHE", "XDG_CACHE_HOME", "WORLD_SIZE"),
)
"""Environment variables that change what mscsa does; none of them is a secret."""

_LOW_DISK_GB = 1.0


def doctor(*, json: str | None = None) -> int:
    """Show versions, extras, devices, threads and disk: what a report of a bug needs.

    Example:
        mscsa doctor

    Args:
        json: Write the result to this file, too.
    """
    found = diagnose()
    for line in _lines(found):
        print(line)
    if json is not None:
        _write(json, found)
    return 2 if found["problems"] else 0


def diagnose() -> dict[str, Any]:
    """Look at this machine; paths below the home folder begin with ~."""
    needs, extras = _requirements()
    packages = {name: _version(name) for name in needs}
    found: dict[str, Any] = {
        "mscsa": {"version": _version("mscsa"), **_clone()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "extras": {extra: _missing(wanted) for extra, wanted in extras.items()},
        "devices": _devices(),
        "threads": _threads(),
        "memory_gb": _memory_gb(),
        "disk_free_gb": _disk(),
        "environment": {name: _short(os.environ[name]) for name in _VARIABLES if name in os.environ},
    }
    return {**found, "problems": _problems(found, needs)}


def _requirements() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Give what mscsa needs, and what its extras do, by name; nothing where it is not installed."""
    try:
        from packaging.requirements import Requirement

        metadata = importlib.metadata.metadata("mscsa")
        every = [Requirement(text) for text in importlib.metadata.requires("mscsa") or ()]
    except (importlib.metadata.PackageNotFoundError, ImportError):
        return {}, {}
    every = [each for each in every if each.name != "mscsa"]
    needs = {each.name: each for each in every if each.marker is None}
    extras = {}
    for extra in metadata.get_all("Provides-Extra") or ():
        of_extra = (each for each in every if each.marker and each.marker.evaluate({"extra": extra}))
        extras[extra] = {each.name: each for each in of_extra}
    return needs, extras


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing(wanted: dict[str, Any]) -> list[str]:
    """Name the packages of an extra that are not there, or of another version than it asks for."""
    versions = {name: _version(name) for name in wanted}
    return [
        name
        for name, version in versions.items()
        if version is None or not wanted[name].specifier.contains(version, prereleases=True)
    ]


def _clone() -> dict[str, Any]:
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return {"clone": False, "commit": None}
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {"clone": True, "commit": None}
    return {"clone": True, "commit": done.stdout.strip()}


def _devices() -> dict[str, Any]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in every way
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(index)
        gpus.append({"name": gpu.name, "memory_gb": round(gpu.total_memory / 1e9, 1)})
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "torch_threads": torch.get_num_threads(),
    }


def _threads() -> dict[str, int | None]:
    try:
        from mscsa_runtime.machine import num_cores
    except Exception:  # what it stands on is among the problems
        return {"cores": os.cpu_count(), "usable": None}
    return {"cores": os.cpu_count(), "usable": num_cores()}


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # not on every system
        return None


def _disk() -> dict[str, float]:
    """Give the free space where runs, temporary files and caches go."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    free = {}
    for place in (".", tempfile.gettempdir(), os.environ.get("MSCSA_CACHE") or cache):
        path = Path(place).expanduser().absolute()
        there = next(each for each in (path, *path.parents) if each.exists())
        free[_short(str(path))] = round(shutil.disk_usage(there).free / 1e9, 1)
    return free


def _short(path: str) -> str:
    """Write ~ for the home folder, whose name is nobody's business."""
    home = os.path.expanduser("~")
    return path.replace(home, "~") if len(home) > 1 else path


def _problems(found: dict[str, Any], needs: dict[str, Any]) -> list[str]:
    problems = []
    if found["mscsa"]["version"] is None:
        problems.append("mscsa is not installed: pip install -e . in its clone")
    for name in _missing(needs):
        version = found["packages"][name]
        has = "is not installed" if version is None else f"is {version}"
        problems.append(f"{name} {has}, mscsa needs {needs[name]}: pip install '{needs[name]}'")
    if "error" in found["devices"]:
        problems.append(f"torch cannot be imported: {found['devices']['error']}")
    for place, free in found["disk_free_gb"].items():
        if free < _LOW_DISK_GB:
            problems.append(f"{place} has {free} GB free: free some space")
    return problems


def _lines(found: dict[str, Any]) -> Iterator[str]:
    mscsa, devices = found["mscsa"], found["devices"]
    where = f", clone at {mscsa['commit'] or 'an unknown commit'}" if mscsa["clone"] else ""
    yield f"mscsa     {mscsa['version'] or 'not installed'}{where}"
    yield f"python    {found['python']} on {found['platform']}"
    packages = [f"{name} {version or 'missing'}" for name, version in found["packages"].items()]
    yield f"packages  {', '.join(packages)}"
    for extra, missing in found["extras"].items():
        yield f"extra     [{extra}] {'lacks ' + ', '.join(missing) if missing else 'installed'}"
    gpus = [f"{gpu['name']} ({gpu['memory_gb']} GB)" for gpu in devices.get("gpus", ())]
    yield f"devices   {devices.get('error') or ', '.join(['CPU', *gpus])}"
    threads = found["threads"]
    of_torch = f", {devices['torch_threads']} threads of torch" if "torch_threads" in devices else ""
    yield f"threads   {threads['usable']} of {threads['cores']} cores usable{of_torch}"
    yield f"memory    {found['memory_gb'] or 'unknown'} GB"
    disks = [f"{place} {free} GB free" for place, free in found["disk_free_gb"].items()]
    yield f"disk      {', '.join(disks)}"
    for name, value in found["environment"].items():
        yield f"variable  {name}={value}"
    for problem in found["problems"]:
        yield f"problem   {problem}"


def _write(path: str, found: dict[str, Any]) -> None:
    from json import dumps

    try:
        Path(path).write_text(dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror}; give a file in a folder that is there"
        ) from (error)
