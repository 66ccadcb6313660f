"""What is written for a video: a frame and a line for each of its frames, as for single images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscsa.data.videos import Frame, read_frames
from mscsa.errors import UserError
from mscsa.evaluation import DetectedObjects, Detections, Prediction, Segmentation
from mscsa.pictures.detections import draw_objects
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.segmentations import blended
from mscsa.pictures.videos import VideoFile, WrittenVideo, drawing_of, write_video
from tests.data.video_files import grey_of, write_clip

NAMES = ("dark", "bright")


def segment(frames: Iterable[Frame]) -> Iterator[Segmentation]:
    for frame in frames:
        labels = (np.asarray(frame.image.convert("L")) > 120).astype(np.uint8)
        yield Segmentation(path=str(frame), image=frame.image, labels=labels, class_names=NAMES)


def detect(frames: Iterable[Frame]) -> Iterator[DetectedObjects]:
    for frame in frames:
        found = Detections(
            boxes=np.array([[0, 0, 32, 12], [5, 20, 40, 44]], np.float32),
            labels=np.array([2, 1]),
            scores=np.array([0.9, 0.3], np.float32),
        )
        yield DetectedObjects(
            path=str(frame), image=frame.image, detections=found, class_names=NAMES, category_ids=(7, 9)
        )


def classify(frames: Iterable[Frame]) -> Iterator[Prediction]:
    """All frames are read before the first answer, as of a batch."""
    for frame in list(frames):
        name = NAMES[int(grey_of(frame.image) > 120)]
        yield Prediction(path=str(frame), classes=((name, 0.75), ("other", 0.25)))


def write(path: Path, ask: Any, task: str, out: Path, threshold: float = 0.5) -> WrittenVideo:
    folder = OutputFolder(out, [path])
    return write_video(str(path), read_frames(path), ask, drawing_of(task, threshold), folder)


def lines_of(written: WrittenVideo) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(written.lines).read_text().splitlines()]


def test_classes_are_laid_over_each_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20, size=(66, 48))
    written = write(path, segment, "segmentation", tmp_path / "out")
    assert written.error is None and (written.frames, written.classes[0]) == (20, ("dark", 20))
    assert written.video == str(tmp_path / "out" / "a.mp4") and written.lines.endswith("a.jsonl")
    drawn, frames = list(read_frames(written.video)), list(read_frames(path))
    assert [round(each.time_s, 3) for each in drawn] == [round(each.time_s, 3) for each in frames]
    for entry, film, answer in zip(lines_of(written), drawn, segment(frames), strict=True):
        assert answer.image is not None and answer.labels is not None
        with Image.open(entry["label_map"]) as image:
            assert np.array_equal(np.asarray(image), answer.labels)
        assert sum(entry["classes"].values()) == pytest.approx(1)
        assert grey_of(film.image) == pytest.approx(grey_of(blended(answer.image, answer.labels)), abs=6)
    assert lines_of(written)[7]["time_s"] == pytest.approx(0.7)


def test_objects_are_drawn_on_each_frame_and_all_are_in_its_line(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", 4, codec="mpeg4")
    written = write(path, detect, "detection", tmp_path / "out")
    assert written.classes == (("bright", 4),)
    entries = lines_of(written)
    assert [[each["class"] for each in entry["objects"]] for entry in entries] == [["bright", "dark"]] * 4
    assert entries[2]["objects"][0]["bbox"] == [0, 0, 32, 12] and entries[2]["objects"][0]["category_id"] == 9
    frames, drawn = list(read_frames(path)), list(read_frames(written.video))
    (answer,) = detect(frames[:1])
    assert answer.detections is not None
    wanted = draw_objects(frames[0].image, answer.detections, NAMES, 0.5)
    assert drawn[0].image.size == wanted.size
    assert np.abs(np.asarray(drawn[0].image, np.float32) - np.asarray(wanted, np.float32)).mean() < 8


def test_a_classifier_writes_lines_alone(tmp_path: Path) -> None:
    written = write(write_clip(tmp_path / "a.mkv", 20), classify, "classification", tmp_path / "out")
    assert written.video == "" and [each.name for each in (tmp_path / "out").iterdir()] == ["a.jsonl"]
    assert written.classes == (("dark", 16), ("bright", 4))
    assert lines_of(written)[0] == {"frame": 0, "time_s": 0.0, "classes": {"dark": 0.75, "other": 0.25}}


def test_what_can_be_read_of_a_cut_video_is_written(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    written = write(path, detect, "detection", tmp_path / "out")
    assert written.error is not None and "cut off" in written.error and 0 < written.frames < 25
    assert len(lines_of(written)) == len(list(read_frames(written.video))) == written.frames
    path.write_bytes(b"nothing")
    written = write(path, detect, "detection", tmp_path / "other")
    assert written.error is not None and (written.frames, written.lines) == (0, "")
    assert not list((tmp_path / "other").iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 2)
    with pytest.raises(UserError, match="is a file that this command reads"):
        write(path, detect, "detection", tmp_path)
    write(path, detect, "detection", tmp_path / "out")
    with pytest.raises(UserError, match="is there already"):
        write(path, detect, "detection", tmp_path / "out")
    with pytest.raises(UserError, match="give a score in 0..1"):
        drawing_of("detection", 2)


def test_odd_sides_and_frames_of_other_sizes(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "a.mp4") as film:
        for number, size in enumerate(((33, 21), (33, 21), (50, 40))):
            film.add(Image.new("RGB", size, (0, 80 * number, 0)), 0.0)  # one time: each comes a tick later
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert [frame.image.size for frame in frames] == [(34, 22)] * 3
    assert [frame.image.getpixel((33, 21))[1] for frame in frames] == pytest.approx([0, 80, 160], abs=12)
