"""Videos: every frame once, in order, upright, one at a time; what is wrong with a file is one line."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.videos import Frame, is_video, picture_of, read_frames
from mscsa.errors import UserError
from tests.data.video_files import grey_of, write_clip

FORMATS = [
    ("a.mp4", "libx264"),
    ("a.mkv", "libx264"),
    ("a.avi", "mpeg4"),
    ("a.MOV", "mpeg4"),
    ("a.ts", "libx264"),
]


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_every_frame_comes_once_in_order(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, codec=codec)
    assert is_video(path)
    frames = list(read_frames(path))
    assert [frame.number for frame in frames] == list(range(30))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [0.1 * number for number in range(30)], abs=1e-3
    )
    greys = [grey_of(frame.image) for frame in frames]
    assert greys == pytest.approx([8 * number for number in range(30)], abs=5)
    assert str(frames[3]) == f"{path}: frame 3" and frames[3].image.size == (64, 48)


@pytest.mark.slow
def test_one_frame_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[Frame]] = []
    for frame in read_frames(write_clip(tmp_path / "a.mp4")):
        alive.append(weakref.ref(frame))
        gc.collect()
        assert sum(each() is not None for each in alive) <= 2
    assert len(alive) == 30


def test_a_turned_video_stands_upright(tmp_path: Path) -> None:
    """Phones write how to turn the frames: here clockwise by 90 degrees, as the matrix of the header says."""
    path = write_clip(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    plain = b"".join(each.to_bytes(4, "big") for each in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = (0, 0x10000, 0, 0xFFFF0000, 0, 0, 48 << 16, 0, 0x40000000)
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + b"".join(each.to_bytes(4, "big") for each in turned) + data[at + 36 :])
    frames = list(read_frames(path))
    assert {frame.image.size for frame in frames} == {(48, 64)}
    pixels = frames[0].image.convert("L")
    assert pixels.getpixel((44, 4)) > 240 and pixels.getpixel((20, 4)) < 20  # white: from upper left to right


def test_pictures_are_of_frames_and_files(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 3), "red")
    image.save(tmp_path / "a.png")
    assert picture_of(Frame("a.mp4", 0, 0.0, image)) is image
    assert picture_of(tmp_path / "a.png").size == (4, 3)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mkv", "libx264", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
def test_a_cut_video_gives_what_is_there_and_one_line(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / name, codec=codec, **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    seen = []
    with pytest.raises(UserError, match="is cut off|is damaged") as caught:
        for frame in read_frames(path):
            seen.append(frame.number)
    assert 0 < len(seen) < 25 and seen == list(range(len(seen)))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_damage_in_the_middle_is_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv")
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 2000):
        data[place] ^= 0xA5
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged|cut off"):
        list(read_frames(path))


def test_what_is_no_video_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_clip(tmp_path / "whole.mp4").read_bytes()
    for content, message in (
        (b"", "is no video that can be read"),
        (b"hello" * 100, "is no video that can be read"),
        (whole[: len(whole) // 2], "or is cut off"),  # its table of frames is at the end
    ):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            next(read_frames(tmp_path / "a.mp4"))
        assert "\n" not in str(caught.value) and "a.mp4" in str(caught.value)
    with pytest.raises(UserError, match="gone.mp4: no such file"):
        next(read_frames(tmp_path / "gone.mp4"))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'mscsa\[video\]'"):
        next(read_frames(tmp_path / "whole.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(UserError, match="has no pictures"):
        next(read_frames(tmp_path / "a.mp4"))
