"""The page as a person meets it, in a real browser without a window: Chromium, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mscsa.demo.demo import open_demo
from mscsa.demo.serving import served
from mscsa.demo.uploads import Limits
from mscsa.evaluation import classify
from tests.compare.made import BASE, result, write_finished
from tests.demo.shown import save_image, save_pair
from tests.demo.test_uploads import bomb

pytestmark = pytest.mark.long
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT = 120_000  # ms


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    save_pair("classification", folder / "pair")
    write_finished(folder / "compare", result(BASE, (71.0, 72.5, 73.0, 74.5, 75.0, 76.5)))
    save_two_images(folder)
    (folder / "text.jpg").write_text("no image")
    bomb(folder / "bomb.png", 50_000)
    (folder / "huge.png").write_bytes(b"\x89PNG" + bytes(3 * 2**20))
    return folder


def save_two_images(folder: Path) -> None:
    """Write 0.png and 1.png, which the model with MSCSA takes for two classes."""
    found: dict[str, Path] = {}
    for place in range(16):
        image = folder / f"{len(found)}.png"
        colour = tuple(255 * (place >> bit & 1) for bit in range(3))
        Image.new("RGB", (160, 120), colour).save(image)
        if place > 7:
            save_image(image, place, (160, 120))
        found.setdefault(likeliest(folder, image), image)
        if len(found) == 2:
            return
    raise AssertionError("the model takes all images for one class")


@pytest.fixture(scope="module")
def address(files: Path) -> Iterator[str]:
    with_mscsa, without = (str(files / "pair" / name) for name in ("with", "without"))
    demo = open_demo(
        with_mscsa,
        without,
        comparisons=[str(files / "compare")],
        limits=Limits(megabytes=1),
        accelerator="cpu",
    )
    with served(demo) as page:
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with browser.new_context() as context:
        yield opened(context, address)


def opened(context: Any, address: str) -> Any:
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(address)
    return page


def upload(page: Any, path: Path) -> None:
    page.set_input_files("#upload input[type=file]", str(path))


def upload_another(page: Any, path: Path) -> None:
    """Take away what was uploaded, if it was, and upload another file without loading the page again."""
    if not page.locator("#upload input[type=file]").count():
        page.locator("#upload button[aria-label='Clear']").first.click()
    upload(page, path)


def answered(page: Any, path: Path) -> str:
    """Wait for the answer about a file; give what stands in the column of the model with MSCSA."""
    page.locator("#says .mscsa-line", has_text=path.name).wait_for()
    page.locator("#answer-cost table").wait_for()
    return page.inner_text("#answer1")


def likeliest(files: Path, image: Path) -> str:
    """The class that `mscsa predict` names first."""
    (found,) = classify(files / "pair" / "with", [image], accelerator="cpu")
    return found.classes[0][0]


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_an_image_is_uploaded_answered_and_looked_into(page: Any, files: Path) -> None:
    upload(page, files / "0.png")
    assert likeliest(files, files / "0.png") in answered(page, files / "0.png")
    tab(page, "Look inside")
    image = page.locator("#look-image img")
    image.wait_for()
    page.locator("#maps img").wait_for()
    before = page.locator("#maps img").get_attribute("src")
    box = image.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    said = page.locator("#look-says", has_text="the point")
    said.wait_for()
    x, y = (int(part.split("=")[1]) for part in said.inner_text().partition("point ")[2].split(", "))
    assert abs(x - 40) <= 2 and abs(y - 60) <= 2  # of 160x120
    page.wait_for_function("src => document.querySelector('#maps img').src != src", arg=before)
    tab(page, "Cost")
    assert "whole model" in page.inner_text("#cost")
    tab(page, "Comparisons")
    page.locator("#pareto img").wait_for()
    assert "MSCSA is better" in page.inner_text("#pareto-tables")


def test_bad_and_huge_files_are_one_line_and_the_next_image_is_answered(page: Any, files: Path) -> None:
    upload(page, files / "text.jpg")
    page.locator("#says .mscsa-error", has_text="text.jpg: not an image").wait_for()
    upload_another(page, files / "bomb.png")
    page.locator("#says .mscsa-error", has_text="more than the allowed 40000000 pixels").wait_for()
    upload_another(page, files / "huge.png")
    page.get_by_text('exceed the maximum allowed size of 1.0 Mb: "huge.png"').first.wait_for()
    upload_another(page, files / "1.png")
    assert likeliest(files, files / "1.png") in answered(page, files / "1.png")


def test_two_people_at_once_each_get_their_own(browser: Any, address: str, files: Path) -> None:
    images = [files / "0.png", files / "1.png"]
    assert likeliest(files, images[0]) != likeliest(files, images[1])
    contexts = [browser.new_context() for _ in images]
    pages = [opened(context, address) for context in contexts]
    for page, image in zip(pages, images, strict=True):
        upload(page, image)
    for page, image in zip(pages, images, strict=True):
        assert likeliest(files, image) in answered(page, image)
    for page, image in zip(reversed(pages), images, strict=True):  # and the other way round
        upload_another(page, image)
    for page, image in zip(reversed(pages), images, strict=True):
        assert likeliest(files, image) in answered(page, image)
    for context in contexts:
        context.close()


def test_the_browser_asks_nobody_else(browser: Any, address: str, files: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    upload(page, files / "0.png")
    answered(page, files / "0.png")
    context.close()
    own = (address, address.replace("http", "ws", 1), "data:", "blob:")
    assert asked and not [url for url in asked if not url.startswith(own)]
