"""The list of files: what is partial, another or unlisted is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mscsa.hub.manifest import check_file, listed_files, write_manifest
from tests.refusals import one_line_error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "README.md").write_text("people write on")
    write_manifest(tmp_path)
    return tmp_path


def test_files_agree_with_their_own_list(folder: Path) -> None:
    listed = listed_files(folder, "here")
    assert list(listed) == ["model.safetensors"] and listed["model.safetensors"]["bytes"] == 7
    check_file(folder / "model.safetensors", listed["model.safetensors"], "here")


@pytest.mark.parametrize(
    "content, what",
    [
        (b"weigh", "here: model.safetensors is partial, 5 bytes in place of 7"),
        (b"weights and more", "model.safetensors is another file"),
        (b"weighty", "damaged or another file, its SHA-256 is not"),
        (None, "here lacks model.safetensors, which its manifest.json lists"),
    ],
)
def test_a_file_that_does_not_agree_is_refused(folder: Path, content: bytes | None, what: str) -> None:
    path, listed = folder / "model.safetensors", listed_files(folder, "here")["model.safetensors"]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    one_line_error(lambda: check_file(path, listed, "here"), what)


GOOD = {"bytes": 7, "sha256": "00"}
BAD_LISTS = {
    "no JSON": ("{", "damaged"),
    "list": ("[]", "damaged"),
    "no files": ({"format": 1}, "damaged"),
    "no hash": ({"format": 1, "files": {"model.safetensors": {"bytes": 7}}}, "damaged"),
    "text for a number": ({"format": 1, "files": {"model.safetensors": {**GOOD, "bytes": "7"}}}, "damaged"),
    "later": ({"format": 2, "files": {"model.safetensors": GOOD}}, "of a later version"),
    "outside": ({"format": 1, "files": {"model.safetensors": GOOD, "../.bashrc": GOOD}}, "not of mscsa"),
    "no weights": ({"format": 1, "files": {"config.json": GOOD}}, "not of mscsa"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_list_that_is_none_of_ours_is_refused(folder: Path, case: str) -> None:
    content, what = BAD_LISTS[case]
    (folder / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))
    one_line_error(lambda: listed_files(folder, "here"), what)


def test_without_a_list_it_is_no_published_model(tmp_path: Path) -> None:
    one_line_error(lambda: listed_files(tmp_path, "here"), "here has no manifest.json: it is no model that")
