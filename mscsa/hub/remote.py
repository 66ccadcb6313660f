"""The Hugging Face Hub's part: uploading a folder, downloading one, and failures in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mscsa.backbones.weight_sources import downloads
from mscsa.errors import UserError
from mscsa.hub.manifest import CARD, MANIFEST, TIMM_CONFIG, WEIGHTS
from mscsa.hub.places import Repository

_FILES = [WEIGHTS, TIMM_CONFIG, MANIFEST, CARD]
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token"


def upload(folder: Path, repository: Repository, *, private: bool, message: str) -> None:
    """Put the files of a folder into a repository in one commit; a new repository is made.

    Raises:
        UserError: If the hub cannot be reached, or refuses.
    """
    with _contact(repository, "uploaded", "connect to the network, or push to a folder"):
        api = HfApi(library_name="mscsa")
        api.create_repo(repository.name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository.name,
            folder_path=folder,
            revision=repository.revision,
            commit_message=message,
            allow_patterns=_FILES,
        )


def download(repository: Repository) -> Path:
    """Give the folder, in the hub's cache on this machine, of a repository's files.

    Raises:
        UserError: If the hub cannot be reached and they were not downloaded before, or it refuses.
    """
    with _contact(repository, "downloaded", "connect to the network, or give a folder"):
        return Path(
            snapshot_download(
                repository.name,
                revision=repository.revision,
                allow_patterns=_FILES,
                library_name="mscsa",
            )
        )


@contextmanager
def _contact(repository: Repository, verb: str, advice: str) -> Iterator[None]:
    try:
        with downloads(str(repository), advice, verb=verb):
            yield
    except UserError as error:
        refusal = _refusal(error, repository)
        if refusal is None:
            raise
        raise UserError(refusal) from error


def _refusal(error: BaseException | None, repository: Repository) -> str | None:
    """Say what the hub refuses, if that is what an error came from."""
    while error is not None:
        if isinstance(error, LocalTokenNotFoundError):
            return f"{repository}: there is no token of the hub on this machine: {_LOG_IN}"
        if isinstance(error, GatedRepoError):
            return (
                f"{repository} is given only to those who asked for it on its page: ask there, and {_LOG_IN}"
            )
        if isinstance(error, RevisionNotFoundError):
            return f"{repository}: there is no such revision: give a branch, tag or commit that there is"
        if isinstance(error, RepositoryNotFoundError):
            return f"{repository} is not there, or private: check the name, or {_LOG_IN}"
        if isinstance(error, HfHubHTTPError) and _status(error) in (401, 403):
            return f"the hub refuses {repository} with this token: {_LOG_IN} that may read and write there"
        error = error.__cause__
    return None


def _status(error: HfHubHTTPError) -> int | None:
    status: int | None = getattr(error.response, "status_code", None)
    return status
