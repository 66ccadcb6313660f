"""Where weights are named, and downloads without a network."""

import socket
import ssl

import pytest
from huggingface_hub import constants, hf_hub_download
from timm.models import PretrainedCfg

from mscsa.backbones.weight_sources import (
    are_direct,
    are_local,
    are_named,
    check_file,
    check_local_dir,
    downloads,
    entries_given,
    exist_somewhere,
    place_of,
)
from tests.refusals import one_line_error


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


class Network:
    """Stands in for the network: how often a connection was tried, and what comes of it."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error, self.tried = error, 0

    def connect(self, address, timeout):
        self.tried += 1
        if self.error is not None:
            raise self.error
        return socket.socket()


@pytest.fixture
def cut(monkeypatch) -> Network:
    """No network."""
    network = Network(socket.gaierror(-2, "Name or service not known"))
    monkeypatch.setattr(socket, "create_connection", network.connect)
    return network


@pytest.fixture
def up(monkeypatch) -> Network:
    """A hub that answers."""
    network = Network()
    monkeypatch.setattr(socket, "create_connection", network.connect)
    return network


def test_sources():
    assert entries_given("a_tag", None) == {} == entries_given(None, None)
    given = entries_given(PretrainedCfg(url="u", file="f"), {"file": "mine"})
    assert given["url"] == "u" and given["file"] == "mine"
    assert are_named(given) and are_local(given)
    assert are_direct(given) and not are_direct({**given, "source": "local-dir"})
    assert are_named({"hf_hub_id": "a/b"}) and not are_local({"hf_hub_id": "a/b", "file": None})
    assert not are_named({"mean": (0.5,), "url": ""})


def fetch(tmp_path) -> None:
    with downloads("the weights", "do without"):
        hf_hub_download("nobody/nothing", "model.safetensors", cache_dir=tmp_path)


def test_without_a_network_the_hub_is_not_asked(cut, tmp_path):
    reason = r"\(huggingface.co: Name or service not known\)"
    one_line_error(lambda: fetch(tmp_path), f"^the weights cannot be downloaded {reason}: do without$")
    assert cut.tried == 1 and constants.HF_HUB_OFFLINE is False


def test_what_was_downloaded_before_is_there_without_a_network(cut, tmp_path):
    commit = "0" * 40
    folder = tmp_path / "models--nobody--nothing"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    kept = folder / "snapshots" / commit / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()
    fetch(tmp_path)
    assert cut.tried == 1


def test_the_hubs_own_offline_mode(cut, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    one_line_error(lambda: fetch(tmp_path), r"\(huggingface.co: its offline mode is on\)")
    assert cut.tried == 0 and constants.HF_HUB_OFFLINE is True


def test_behind_a_proxy_the_client_decides(cut, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    with downloads("the weights", "do without"):
        assert constants.HF_HUB_OFFLINE is False
    assert cut.tried == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ssl.SSLError(1, "certificate verify failed\nand more"), "certificate verify failed"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_download_that_breaks_off_is_one_line(up, error, reason):
    def broken() -> None:
        with downloads("the weights", "do without"):
            assert constants.HF_HUB_OFFLINE is False
            raise RuntimeError("a client's own words") from error

    one_line_error(broken, rf"the weights cannot be downloaded \(.*{reason}.*\): do without$")
    assert up.tried == 1


def test_other_failures_stay_what_they_are(up):
    with pytest.raises(KeyError, match="conv1"), downloads("the weights", "do without"):
        raise KeyError("conv1")


@pytest.mark.parametrize(
    ("name", "is_somewhere"),
    [
        *[("resnet18", True), ("resnet18.a1_in1k", True), ("tf_efficientnet_lite0", True)],
        *[("selecsls84", False), ("vovnet39a", False), ("ghostnet_050", False), ("p2t_tiny", False)],
        # Kept elsewhere, or under another name by now: timm finds them.
        *[("hf-hub:owner/name", True), ("local-dir:folder", True), ("tv_resnet50", True)],
    ],
)
def test_whether_there_are_weights_of_a_model(name, is_somewhere):
    assert exist_somewhere(name) == is_somewhere


def test_a_description_of_the_callers_says_where_weights_are():
    assert exist_somewhere("p2t_tiny", None, {"file": "mine.pth"})
    assert exist_somewhere("p2t_tiny", PretrainedCfg(url="https://there"))
    assert not exist_somewhere("resnet18", {"mean": (0.5, 0.5, 0.5)})  # comes in place of timm's
    assert not exist_somewhere("resnet18", None, {"url": None, "hf_hub_id": None})
    assert exist_somewhere("resnet18", "a1_in1k", {"mean": (0.5, 0.5, 0.5)})


def test_what_messages_call_weights():
    assert place_of({"state_dict": {"a": 1}, "file": "f.pth"}) == "the given state dict"
    assert place_of({"file": "f.pth", "url": "u"}) == "f.pth"
    assert place_of({"hf_hub_id": "owner/name", "url": "u"}) == "owner/name"
    assert place_of({"url": "u"}) == "u"
    assert place_of({}, "local-dir:a/b") == "a/b"


def test_a_file_that_is_not_there_is_named(tmp_path):
    for file in ("/nope.pth", tmp_path, 3):
        one_line_error(lambda file=file: check_file({"file": file}), f"^{file} is not there: give the path")
    (tmp_path / "mine.pth").touch()
    check_file({"file": tmp_path / "mine.pth"})
    check_file({"file": "/nope.pth", "state_dict": {"a": 1}})  # is not read
    check_file({"file": "/nope", "source": "local-dir"})


def test_a_folder_that_is_no_model_is_named(tmp_path):
    one_line_error(lambda: check_local_dir(f"local-dir:{tmp_path}"), f"^{tmp_path} holds no config.json")
    (tmp_path / "config.json").touch()
    check_local_dir(f"local-dir:{tmp_path}")
