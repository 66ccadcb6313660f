"""The page: it is built for each task, asks one at a time, and answers bad files with a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mscsa.demo.demo import Demo, open_demo
from mscsa.demo.page import QUEUE, build_page, theme
from tests.compare.made import BASE, result, write_finished
from tests.demo.shown import save_image, save_pair


def functions(page: Any) -> dict[str, Any]:
    """What the page calls, by the names of the functions."""
    return {each.name: each for each in page.fns.values()}


def components(page: Any, kind: str) -> list[Any]:
    return [each for each in page.blocks.values() if type(each).__name__ == kind]


def test_nothing_leaves_the_machine_and_one_asks_at_a_time(demo: Demo) -> None:
    page = build_page(demo)
    assert page.analytics_enabled is False
    assert page.delete_cache is not None
    assert theme()._stylesheets == []  # fonts of another server
    asked = functions(page)
    assert set(asked) == {"predict", "show", "look"}
    assert {(each.concurrency_limit, each.concurrency_id) for each in page.fns.values()} == {(1, "models")}
    assert {each.api_visibility for each in page.fns.values()} == {"private"}
    assert page._queue.max_size == QUEUE


def test_classifiers_are_asked(demo: Demo, tmp_path: Path) -> None:
    asked = functions(build_page(demo))
    predict, show = asked["predict"].fn, asked["show"].fn
    path = save_image(tmp_path / "a<b>.png", 0)
    says, without, _, with_mscsa, _, table = predict(str(path), 0.5)
    assert says == '<p class="mscsa-line">a&lt;b&gt;.png, 48x40 px</p>'
    assert len(without) == len(with_mscsa) == 5 and without != with_mscsa
    assert "What this answer cost" in table
    says, image, maps = show(str(path))
    assert image.size == (48, 40) and maps.width > 300 and "all points" in says


def test_bad_files_and_no_file_leave_nothing_of_what_was_there(demo: Demo, tmp_path: Path) -> None:
    asked = functions(build_page(demo))
    predict, show, look = (asked[name].fn for name in ("predict", "show", "look"))
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    says, *rest = predict(str(text), 0.5)
    assert 'role="alert">text.jpg: not an image' in says and not any(rest)
    says, *rest = show(str(text))
    assert 'role="alert">text.jpg: not an image' in says and not any(rest)
    for found in (predict(None, 0.5), show(None), look(None, None)):
        assert "Upload an image" in found[0] and not any(found[1:])


def test_a_click_is_a_point_of_the_image(demo: Demo, tmp_path: Path) -> None:
    class Click:
        index = (12.0, 30.0)

    look = functions(build_page(demo))["look"].fn
    path = str(save_image(tmp_path / "a.png", 0))
    says, maps = look(path, Click())
    assert "a.png, 48x40 px: the point x=12, y=30" in says and maps.width > 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["segmentation", pytest.param("instance_segmentation", marks=pytest.mark.slow)]
)
def test_pictures_of_dense_tasks(task: str, tmp_path: Path) -> None:
    page = build_page(open_demo(*map(str, save_pair(task, tmp_path)), accelerator="cpu"))
    path = str(save_image(tmp_path / "a.png", 0))
    _, without, counts, with_mscsa, _, _ = functions(page)["predict"].fn(path, 0.0)
    assert isinstance(without, Image.Image) and isinstance(with_mscsa, Image.Image)
    assert 'class="mscsa-' in counts
    is_detector = task == "instance_segmentation"
    (slider,) = components(page, "Slider")
    assert slider.visible == is_detector


def test_of_a_comparison_there_is_a_picture_for_each_cost(
    classifiers: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = write_finished(tmp_path / "one", result(BASE, BASE[::-1]))
    shown = open_demo(str(classifiers[1]), comparisons=[str(folder)], accelerator="cpu")
    page = build_page(shown)
    (radio,) = components(page, "Radio")
    assert [value for _, value in radio.choices] == ["macs", "parameters", "ms"]
    assert "No model with trained MSCSA" in "".join(str(each.value) for each in components(page, "HTML"))
