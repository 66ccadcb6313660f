"""What a time was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch

from mscsa.speed.steps import StepOptions
from mscsa_runtime.machine import num_cores


def describe_machine(options: StepOptions) -> dict[str, Any]:
    """Say what was measured on."""
    is_cuda = options.device.startswith("cuda")
    return {
        **asdict(options),
        "device_name": torch.cuda.get_device_name() if is_cuda else _processor_name(),
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "mscsa": importlib.metadata.version("mscsa"),
        },
    }


def machine_line(machine: dict[str, Any]) -> str:
    """Say the same in one line."""
    layout = "channels-last" if machine["channels_last"] else "contiguous"
    words = {"folded": "folded", "compiled": "compiled", "cuda_graph": "as a CUDA graph"}
    form = " and ".join(word for field, word in words.items() if machine[field]) or "eager"
    load = machine["load_average"]
    return (
        f"{machine['device_name']}, {machine['threads']} of {machine['cores']} CPU threads, torch "
        f"{machine['versions']['torch']}, {machine['dtype']}, {layout}, {form}"
        + ("" if load is None else f", load {load:.1f} at the start")
    )


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
