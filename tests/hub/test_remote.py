"""The hub's part, with its client replaced: what is sent, what is asked for, and refusals in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mscsa.backbones import weight_sources
from mscsa.hub import pull, push, remote
from mscsa.hub.places import Repository
from tests.refusals import one_line_error


class FakeHub:
    """A hub of folders on this machine, in the place of its client."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refusal: Exception | None = None

    def __call__(self, **options: Any) -> FakeHub:
        return self

    def create_repo(self, name: str, **options: Any) -> None:
        if self.refusal:
            raise self.refusal
        self.calls.append(("create_repo", {"name": name, **options}))

    def upload_folder(
        self, repo_id: str, folder_path: Path, allow_patterns: list[str], **options: Any
    ) -> None:
        self.calls.append(("upload_folder", options))
        place = self.root / repo_id
        place.mkdir(parents=True)
        for path in Path(folder_path).iterdir():
            assert path.name in allow_patterns
            (place / path.name).write_bytes(path.read_bytes())

    def snapshot_download(self, repo_id: str, **options: Any) -> str:
        if self.refusal:
            raise self.refusal
        self.calls.append(("snapshot_download", options))
        return str(self.root / repo_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(remote, "HfApi", fake)
    monkeypatch.setattr(remote, "snapshot_download", fake.snapshot_download)
    monkeypatch.setattr(weight_sources, "_hub_problem", lambda: None)
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_OFFLINE", False)
    return fake


def test_up_and_down_again(hub: FakeHub, classifier_run: Path, tmp_path: Path) -> None:
    push(classifier_run, "hf-hub:me/net", license="apache-2.0")
    info = pull("hf-hub:me/net@v2", tmp_path / "out")
    assert len(info.class_names) == 10
    assert [name for name, _ in hub.calls] == ["create_repo", "upload_folder", "snapshot_download"]
    created, uploaded, downloaded = (options for _, options in hub.calls)
    assert created == {"name": "me/net", "private": True, "exist_ok": True}
    assert uploaded["commit_message"] == "mscsa push: mscsa_test_resnet"
    assert downloaded["revision"] == "v2"
    assert 'hf-hub:me/net"' in (tmp_path / "out" / "README.md").read_text()


def test_a_public_repository_is_asked_for(hub: FakeHub, classifier_run: Path) -> None:
    push(classifier_run, "hf-hub:me/net", private=False)
    assert hub.calls[0][1]["private"] is False


def test_a_partial_download_is_refused(hub: FakeHub, classifier_run: Path, tmp_path: Path) -> None:
    push(classifier_run, "hf-hub:me/net")
    weights = hub.root / "me/net/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    one_line_error(lambda: pull("hf-hub:me/net", tmp_path / "out"), "model.safetensors is partial")
    assert not (tmp_path / "out").exists()


def answer(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind(f"{status} Client Error.\nRequest ID: 1\nsecond line", response=response)  # type: ignore[arg-type]


REFUSALS = {
    "no token": (LocalTokenNotFoundError("Token is required"), "no token of the hub on this machine: log in"),
    "not there": (answer(RepositoryNotFoundError, 404), "hf-hub:me/net is not there, or private: check"),
    "gated": (answer(GatedRepoError, 403), "only to those who asked for it on its page"),
    "revision": (answer(RevisionNotFoundError, 404), "no such revision"),
    "wrong token": (
        answer(HfHubHTTPError, 401),
        "refuses hf-hub:me/net with this token: log in with `hf auth",
    ),
    "read-only token": (answer(HfHubHTTPError, 403), "refuses hf-hub:me/net with this token"),
    "server": (answer(HfHubHTTPError, 503), r"cannot be \w+loaded \(503 Client Error.\)"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_hub_refuses_is_one_line(
    hub: FakeHub, tmp_path: Path, case: str, classifier_run: Path
) -> None:
    hub.refusal, what = REFUSALS[case]
    one_line_error(lambda: remote.upload(tmp_path, Repository("me/net"), private=True, message=""), what)
    one_line_error(lambda: pull("hf-hub:me/net", tmp_path / "out"), what)


def test_without_a_network_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_CACHE", str(tmp_path))
    one_line_error(
        lambda: pull("hf-hub:me/net", tmp_path / "out"),
        "hf-hub:me/net cannot be downloaded .*offline.*: connect to the network, or give a folder",
    )
    line = one_line_error(
        lambda: remote.upload(tmp_path, Repository("me/net"), private=True, message=""), "cannot be uploaded"
    )
    assert "push to a folder" in line
