"""Peak memory of a model's steps, each model in a process of its own.

On CUDA it is what torch allocated at most. On Linux' CPU it is how far the process grew in resident
memory, from just before the model was built to the peak of the step, read from the kernel's
high-water mark; other systems have no such mark that can be set back, and nothing is measured there.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mscsa.cost.model_pair import build_pair
from mscsa.errors import UserError
from mscsa.speed.steps import Mode, StepOptions, build_step

MEBIBYTE = 2**20

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Peak of one arm, weights and optimiser state included."""

    is_model: bool
    """Whether it is the arm with MSCSA."""
    mode: Mode
    batch_size: int
    mebibytes: float
    how: str
    """What was measured."""


def measure_peak_memory(
    pair: dict[str, Any],
    size: tuple[int, int],
    *,
    batch_sizes: Sequence[int],
    modes: Sequence[Mode],
    options: StepOptions,
    threads: int | None = None,
) -> list[PeakMemory]:
    """Run each arm of a pair in a process of its own and read its peaks.

    Args:
        pair: Arguments of `build_pair`; plain values.
        size: (H, W) in pixels.
        threads: CPU threads; torch's choice if None.
    Returns:
        A peak per arm, mode and batch size; nothing where it cannot be measured.
    Raises:
        UserError: If a process dies, as for lack of memory.
    """
    if not options.device.startswith("cuda") and not os.access(_CLEAR_REFS, os.W_OK):
        return []
    peaks = []
    for is_model in (False, True):
        request = {
            "pair": pair,
            "is_model": is_model,
            "size": size,
            "batch_sizes": sorted(batch_sizes),
            "modes": list(modes),
            "options": asdict(options),
            "threads": threads,
        }
        # A fixed threshold makes glibc give every large block back at once, so that what a
        # smaller batch used does not count for a larger one.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, "-m", "mscsa.speed.peak_memory", json.dumps(request)],
            capture_output=True,
            text=True,
            env=environment,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise UserError(
                f"measuring the peak memory failed ({last[0]}): give smaller batch sizes, or leave it "
                "out with --no-memory"
            )
        peaks += [PeakMemory(is_model=is_model, **peak) for peak in json.loads(done.stdout)]
    return peaks


def _measure(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure one arm in this process."""
    options = StepOptions(**request["options"])
    size = (request["size"][0], request["size"][1])
    is_cuda = options.device.startswith("cuda")
    if request["threads"] is not None:
        torch.set_num_threads(request["threads"])
    _warm_up_libraries()
    before = _resident("VmRSS")
    pair = build_pair(**request["pair"])
    arm = pair.model if request["is_model"] else pair.baseline
    del pair
    peaks = []
    for mode in request["modes"]:
        for batch_size in request["batch_sizes"]:
            _reset(is_cuda)
            step = build_step(arm, mode, batch_size, size, options)
            step()
            step()
            peak = torch.cuda.max_memory_allocated() if is_cuda else _resident("VmHWM") - before
            how = "torch.cuda.max_memory_allocated" if is_cuda else "growth of resident memory"
            peaks.append({"mode": mode, "batch_size": batch_size, "mebibytes": peak / MEBIBYTE, "how": how})
            del step
    return peaks


def _warm_up_libraries() -> None:
    """Let the libraries allocate once what they keep, which is no model's own."""
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 8, 3))
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()


def _reset(is_cuda: bool) -> None:
    """Set the high-water mark to what is held now."""
    if is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR_REFS.write_text("5")


def _resident(field: str) -> int:
    """Read a size from the kernel's account of this process, in bytes; 0 where there is none."""
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
