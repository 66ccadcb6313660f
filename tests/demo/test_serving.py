"""The page is served to this machine, and to others only where that is asked for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from mscsa.demo.demo import Demo
from mscsa.demo.serving import is_local, served, wait_for_end
from mscsa.errors import UserError


def test_it_is_served_here_for_a_while(demo: Demo) -> None:
    with served(demo) as address:
        assert address.startswith("http://127.0.0.1:")
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir()
        with urllib.request.urlopen(address, timeout=20) as page:
            text = page.read().decode()
        assert "mscsa demo" in text and "googleapis" not in text
        huge = {"files": ("huge.png", bytes(demo.limits.bytes + 1))}
        refused = httpx.post(f"{address}gradio_api/upload", files=huge, timeout=60)
        assert refused.status_code == 413 and not [each for each in folder.rglob("*") if each.is_file()]
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(UserError, match=f"cannot serve at 127.0.0.1:{port}"), served(demo, port=port):
            pass
    assert not folder.exists()
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)


def test_nothing_is_shared_unless_it_is_asked_for(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by gradio's own switches nor on the machines where it shares by itself."""
    given: list[dict[str, Any]] = []

    def launch(self: gr.Blocks, **options: Any) -> tuple[None, str, str | None]:
        given.append(options)
        return None, "http://127.0.0.1:7860/", "https://x.gradio.live" if len(given) == 3 else None

    monkeypatch.setattr("mscsa.demo.page.build_page", lambda _: gr.Blocks())
    monkeypatch.setattr(gr.Blocks, "launch", launch)
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    with served(demo) as address:
        assert address == "http://127.0.0.1:7860/"
    assert (given[0]["share"], given[0]["server_name"]) == (False, "127.0.0.1")
    assert given[0]["max_file_size"] == demo.limits.bytes
    with pytest.raises(UserError, match="no public address"), served(demo, share=True):
        pass
    with served(demo, share=True, host="0.0.0.0") as address:
        assert address == "https://x.gradio.live"
    assert (given[2]["share"], given[2]["server_name"]) == (True, "0.0.0.0")


def test_what_cannot_be_served_is_one_line(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="port 70000 given: give 1 to 65535"), served(demo, port=70000):
        pass
    monkeypatch.delitem(sys.modules, "mscsa.demo.page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"\(gradio\); run: pip install 'mscsa\[demo\]'"), served(demo):
        pass


def test_which_addresses_are_this_machines_own() -> None:
    assert all(map(is_local, ("127.0.0.1", "127.0.0.2", "::1", "localhost")))
    assert not any(map(is_local, ("0.0.0.0", "192.168.0.2", "::", "example.org")))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to(sign: signal.Signals) -> None:
    """Where SIGINT is ignored as well, as in a background job of a shell."""
    first = signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def tell() -> None:
        time.sleep(0.3)
        os.kill(os.getpid(), sign)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        wait_for_end()
        thread.join()
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    finally:
        signal.signal(signal.SIGINT, first)
