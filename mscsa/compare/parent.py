"""A child process that ends when its parent does, however that ends: Linux alone offers it."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # here: a forked child must not take locks


def follow_parent() -> None:
    """Ask the kernel to send this process SIGTERM when its parent dies; nothing on other systems."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
