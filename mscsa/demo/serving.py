"""Serving the page: to this machine alone unless it is asked for otherwise."""

from __future__ import annotations

import ipaddress
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from mscsa.demo.demo import Demo
from mscsa.errors import UserError, needs_extra

LOCAL = "127.0.0.1"


@contextmanager
def served(demo: Demo, *, host: str = LOCAL, port: int | None = None, share: bool = False) -> Iterator[str]:
    """Serve the page of a demo for a while.

    What is uploaded lies in a folder of its own, which is gone afterwards.

    Args:
        demo: What is shown.
        host: Address to listen at; others than this machine's own let others in.
        port: The next free one from 7860 on if None.
        share: Make gradio's server forward a public address to the page.
    Yields:
        The address of the page.
    Raises:
        UserError: If gradio is missing, the port is none or taken, or the page cannot be shared.
    """
    if port is not None and not 0 < port < 2**16:
        raise UserError(f"port {port} given: give 1 to {2**16 - 1}")
    with TemporaryDirectory(prefix="mscsa-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            from mscsa.demo.page import CSS, build_page, theme
        except ModuleNotFoundError as error:
            what = f"the demo needs a package that is not installed ({error.name})"
            raise needs_extra(what, "demo") from error
        page = build_page(demo)
        try:
            _, local, public = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                max_file_size=demo.limits.bytes,
                theme=theme(),
                css=CSS,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                enable_monitoring=False,
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"cannot serve at {host}:{port or 'any port'}: {reason}") from error
        try:
            if share and not public:
                raise UserError("gradio's server gave no public address: leave --share out")
            yield public or local
        finally:
            page.close(verbose=False)


def is_local(host: str) -> bool:
    """Whether an address is heard on this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wait_for_end() -> None:
    """Wait until somebody presses Ctrl-C, or the process is told to end.

    SIGINT as well is taken anew: what a shell starts in the background ignores it.
    """
    end = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, lambda *_: end.set()) for each in signals}
    try:
        while not end.wait(1.0):  # a signal that another thread receives wakes no wait without an end
            pass
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
