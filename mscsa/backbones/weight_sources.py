"""Where timm finds weights: on this machine, or by a download, which fails in one line and at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled
from timm.models import PretrainedCfg

from mscsa.errors import UserError

LOCAL_SOURCES = ("state_dict", "file")
"""Where a `pretrained_cfg` of timm may say that weights are, on this machine."""

WEIGHT_SOURCES = (*LOCAL_SOURCES, "url", "hf_hub_id")
"""Where it may say that they are, on this machine or elsewhere."""

PATIENCE = 5.0
"""Seconds to wait for a connection to the hub."""


def entries_given(cfg: Any, overlay: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the entries of a model's description that a caller sets.

    Args:
        cfg: timm's `pretrained_cfg`: entries, a `PretrainedCfg`, or None. A tag sets no entry.
        overlay: timm's `pretrained_cfg_overlay`, which comes before it.
    """
    entries = cfg.to_dict() if isinstance(cfg, PretrainedCfg) else cfg
    return {**(entries if isinstance(entries, Mapping) else {}), **(overlay or {})}


def are_named(cfg: Mapping[str, Any]) -> bool:
    """Whether the entries of a description say where weights are."""
    return any(cfg.get(source) for source in WEIGHT_SOURCES)


def are_local(cfg: Mapping[str, Any]) -> bool:
    """Whether they say that weights are on this machine."""
    return any(cfg.get(source) for source in LOCAL_SOURCES)


@contextmanager
def downloads(what: str, advice: str, *, verb: str = "downloaded") -> Iterator[None]:
    """Let timm, or the hub's client, download in the block.

    What was downloaded before is found without a network.

    Without a connection the hub is not asked: its client would try again and again for most of a minute.

    Args:
        what: What is downloaded, for the message.
        advice: What to do without it.
        verb: What is done with it, for the message.
    Raises:
        UserError: If it cannot be done.
    """
    is_offline = constants.HF_HUB_OFFLINE
    problem = "its offline mode is on" if is_offline else _hub_problem()
    constants.HF_HUB_OFFLINE = problem is not None
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if cause is None:
            raise
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        reason = f"{_host()}: {problem}" if isinstance(cause, OfflineModeIsEnabled) else lines[0][:200]
        raise UserError(f"{what} cannot be {verb} ({reason}): {advice}") from error
    finally:
        constants.HF_HUB_OFFLINE = is_offline


def _host() -> str:
    return urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT


def _hub_problem() -> str | None:
    """Say why the hub cannot be reached; None if it can, or if a proxy has to tell."""
    if {"http", "https", "all"} & getproxies().keys():
        return None
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((_host(), address.port or 443), timeout=PATIENCE).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _cause(error: BaseException) -> BaseException | None:
    """Find what a failure came from; None if it is not one of files or connections."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes[-1] if any(isinstance(cause, OSError) for cause in causes) else None
