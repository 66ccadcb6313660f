"""How much memory torch holds at once while something is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], Any]) -> int:
    """Give the most bytes that tensors on the CPU take at a time, beside those that were there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events: Any = profiler.profiler
    taken = [each for each in events.kineto_results.events() if each.name() == "[memory]"]
    peak = held = 0
    for each in sorted(taken, key=lambda event: event.start_ns()):
        held += each.nbytes()
        peak = max(peak, held)
    return peak
