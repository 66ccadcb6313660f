"""`log.txt`: all that was said, from before there was a folder to how it ended."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mscsa.errors import UserError
from mscsa.training.run_log import RunLog, add_lines

logger = logging.getLogger("mscsa.somewhere")


@pytest.fixture(autouse=True)
def level() -> None:
    logging.getLogger("mscsa").setLevel(logging.INFO)


def lines(path: Path) -> list[str]:
    """Level and text of each line, without its time."""
    return [" ".join(line.split()[2:]) for line in path.read_text().splitlines()]


def test_what_is_said_is_kept_in_order_and_added_to_on_resume(tmp_path: Path) -> None:
    for number in (1, 2):
        with RunLog() as log:
            logger.warning("before the folder %d", number)
            log.open(tmp_path / "log.txt")
            logger.info("during %d", number)
        logger.info("afterwards")
    expected = ["WARNING before the folder {}", "INFO during {}"]
    assert lines(tmp_path / "log.txt") == [line.format(number) for number in (1, 2) for line in expected]
    assert not logging.getLogger("mscsa").handlers


def test_an_error_is_its_last_line_and_a_bug_has_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with pytest.raises(UserError), RunLog() as log:
        log.open(path)
        raise UserError("a.png is damaged;\nremove it")
    assert lines(path) == ["ERROR a.png is damaged; remove it"]
    with pytest.raises(KeyError), RunLog() as log:
        log.open(path)
        raise KeyError("bug")
    assert "Traceback" in path.read_text() and path.read_text().endswith("KeyError: 'bug'\n")


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError), RunLog():
        raise UserError("no such recipe")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_log_that_cannot_be_finished_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with pytest.raises(UserError, match="as it was"), RunLog() as log:
        log.open(tmp_path / "log.txt")
        logger.info("a line")
        raise UserError("as it was")


def test_lines_are_added_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with RunLog() as log:
        log.open(path)
        logger.warning("last of the run")
    add_lines(path, ["best 100 %", "next nothing"])
    assert lines(path) == ["WARNING last of the run", "INFO best 100 %", "INFO next nothing"]


def test_a_full_disk_ends_no_run_by_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLog() as log:
        log.open(tmp_path / "log.txt")
        handler = logging.getLogger("mscsa").handlers[0]
        assert isinstance(handler, logging.FileHandler)

        class Full:
            def write(self, text: str) -> None:
                raise OSError(28, "No space left on device")

            def flush(self) -> None:
                pass

            def close(self) -> None:
                pass

        monkeypatch.setattr(handler, "stream", Full())
        logger.info("lost")
    assert "Traceback" not in capsys.readouterr().err
