"""A file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from mscsa import files
from mscsa.errors import UserError
from mscsa.files import replace_durably, sha256_of, whole_folder, write_text, write_whole
from tests.refusals import one_line_error


def test_text_is_written_with_the_folders_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    write_text(path, "new")
    assert path.read_text() == "new" and os.listdir(path.parent) == ["b.txt"]


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * 4096)  # more than one read
    assert sha256_of(path) == sha256_of(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_file_is_readable_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "a.txt", "a")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a.txt")}
    assert len(modes) == 1


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyError("bug"), KeyboardInterrupt()]
)
def test_what_stops_in_the_middle_leaves_the_previous_file_alone(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise error

    if isinstance(error, OSError):
        one_line_error(
            lambda: write_whole(path, write),
            "cannot write .*a.txt: No space left on device; the previous file, if any, is unchanged",
        )
    else:
        with pytest.raises(type(error)):
            write_whole(path, write)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the superuser may write anywhere, the folder's refusal is simulated where it would come from."""
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        one_line_error(lambda: write_text(path, "new"), "cannot write .*a.txt: Permission denied")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_in_whose_place_lies_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one_line_error(lambda: write_text(tmp_path / "file" / "a.txt", "a"), "cannot write")


BARE = """
import sys, types
sys.modules["mscsa"] = types.ModuleType("mscsa")
sys.modules["mscsa"].__path__ = ["mscsa"]
"""
"""Before a script: the package without torch and timm, which writing a file has no use for."""

LIMITED = """
import resource, signal, sys
from mscsa.errors import UserError
from mscsa.files import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_text(sys.argv[1], "a" * 40_000)
except UserError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_previous_file(tmp_path: Path) -> None:
    """A limit on the file size is refused by the kernel in the middle of the write, like a full disk."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    run = subprocess.run(
        [sys.executable, "-c", BARE + LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot write" in run.stdout and "the previous file, if any, is unchanged" in run.stdout
    assert run.stdout.count("\n") == 1
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


WRITING = """
import sys
from mscsa.files import write_text
count = 0
while True:
    count += 1
    write_text(sys.argv[1], f"{count} " * 500_000)
    print(count, flush=True)
"""


@pytest.mark.parametrize("delay", [0.013, 0.031])
def test_a_kill_during_a_write_leaves_a_whole_file(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "a.txt"
    process = subprocess.Popen(
        [sys.executable, "-c", BARE + WRITING, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":  # some writes are done, others run
        assert process.poll() is None
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    numbers = path.read_text().split()
    assert len(numbers) == 500_000 and len(set(numbers)) == 1 and int(numbers[0]) >= 3


def test_a_kill_before_the_replacement_leaves_the_previous_file(tmp_path: Path) -> None:
    """Stop between the writing and the renaming, where a plain write would have lost both."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    script = (
        f"{BARE}import os, signal, mscsa.files as f\n"
        "f.replace_durably = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "f.write_text(sys.argv[1], 'new')"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_the_file_is_on_the_disk_before_it_is_renamed_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut shows nothing in a test: what is synced, and when, is looked at instead."""
    real_fsync, real_replace, done = os.fsync, os.replace, []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        done.append(("sync", "folder" if stat.S_ISDIR(status.st_mode) else status.st_size))
        real_fsync(descriptor)

    def replace(source: str | Path, target: str | Path) -> None:
        done.append(("rename", Path(target).name))
        real_replace(source, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", replace)
    write_text(tmp_path / "a.txt", "abc")
    assert done == [("sync", 3), ("rename", "a.txt"), ("sync", "folder")]
    done.clear()
    write_whole(tmp_path / "a.txt", lambda file: file.write(b"abcd"), keep=tmp_path / "before.txt")
    assert done == [("sync", 4), ("rename", "before.txt"), ("rename", "a.txt"), ("sync", "folder")]


def test_what_was_there_is_kept_under_another_name(tmp_path: Path) -> None:
    for text in ("1", "2", "3"):
        write_whole(tmp_path / "a", lambda file, text=text: file.write(text.encode()), keep=tmp_path / "b")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "3", "b": "2"}


def test_replace_durably(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    replace_durably(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new" and not (tmp_path / "new").exists()


@pytest.mark.parametrize("refused", ["open", "fsync"])
def test_a_folder_that_cannot_be_synced_fails_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Windows opens no folders, and some network shares sync none: the file is in its place by then."""
    real_fsync, opened = os.fsync, os.open

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real_fsync(descriptor)

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, mode)

    monkeypatch.setattr(files.os, refused, fsync if refused == "fsync" else refuse)
    write_text(tmp_path / "a.txt", "a")
    assert (tmp_path / "a.txt").read_text() == "a"


def test_the_file_itself_must_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the test above: what cannot be brought to the disk is no success."""

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", refuse)
    one_line_error(lambda: write_text(tmp_path / "a.txt", "a"), "Input/output error")
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("content")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "file").read_text() == "content"
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "other") as folder:
        (folder / "file").write_text("content")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("first")
    with pytest.raises(UserError, match="nothing is overwritten"), whole_folder(tmp_path / "out"):
        raise AssertionError("it was given")
    assert (tmp_path / "out" / "file").read_text() == "first"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wanted = tmp_path / "file" / "below"
    with pytest.raises(UserError, match="give a folder that can be written"), whole_folder(wanted):
        raise AssertionError("it was given")
