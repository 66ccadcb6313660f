"""A child process that ends when the process that started it does, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess


def follow_parent() -> None:
    """Send this process SIGTERM when the one that started it has died, killed or not.

    Of a forked child the system's parent is multiprocessing's server, which lives as long as any child
    does: who started it is known to multiprocessing alone.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of multiprocessing has one that started it"
    threading.Thread(target=_follow, args=(parent,), name="follow-parent", daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
