"""The page itself, in gradio: what is put where, and what is asked when."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Nothing of this page goes anywhere: gradio reads this when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from mscsa.compare.pareto import COSTS
from mscsa.demo.answers import Answer
from mscsa.demo.demo import Demo
from mscsa.demo.tables import legend_html, line_html, table_html, tables_html
from mscsa.errors import UserError

QUEUE = 32
"""People that may wait; the next one is told that it is full."""

_AT_ONCE: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "models", "api_visibility": "private"}
# All that asks a model waits in one line, so that times are of one image.

_PICTURE: dict[str, Any] = {"interactive": False, "format": "png", "buttons": ["fullscreen", "download"]}

_KEEP_SECONDS = 3600
# What was uploaded, and drawn from it, is deleted after that time.

CSS = """
.gradio-container {max-width: 1280px !important; margin: auto}
footer {display: none !important}
.mscsa-line {margin: 0; color: var(--body-text-color-subdued)}
.mscsa-error {margin: 0; padding: 8px 12px; border-left: 4px solid #c62828; border-radius: 4px;
  background: #fdecea; color: #7f1d1d}
.mscsa-table {margin-bottom: 1.2em}
.mscsa-table h4 {margin: 0 0 .4em}
.mscsa-table > div {overflow-x: auto}
.mscsa-table table {border-collapse: collapse; width: 100%; font-size: .92em; border: none !important}
.mscsa-table tr {border: none !important}
.mscsa-table th, .mscsa-table td {padding: 4px 10px; text-align: left; border: none !important;
  border-bottom: 1px solid var(--border-color-primary) !important}
.mscsa-table .figure {text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap}
.mscsa-class {display: inline-block; margin-right: 1.2em; white-space: nowrap; font-size: .9em}
.mscsa-class i {display: inline-block; width: .9em; height: .9em; margin-right: .4em; border-radius: 2px}
.mscsa-table p {margin: .4em 0 0; font-size: .85em; color: var(--body-text-color-subdued)}
"""


def theme() -> gr.themes.Base:
    """Take gradio's look with the fonts of the machine: its own come from another server."""
    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["monospace"])


def build_page(demo: Demo) -> gr.Blocks:
    """Lay out the page of a demo."""
    with gr.Blocks(title="mscsa demo", analytics_enabled=False, delete_cache=(600, _KEEP_SECONDS)) as page:
        gr.Markdown("## mscsa demo: Multi-Stage Cross-Scale Attention, with and without")
        gr.HTML("".join(line_html(note) for note in demo.notes()), elem_id="notes")
        limits = demo.limits
        file = gr.File(
            label=f"An image, at most {limits.megabytes} MB and {limits.megapixels} megapixels",
            type="filepath",
            height=110,
            elem_id="upload",
        )
        with gr.Tab("Predict"):
            asked = _add_predict(demo, file)
        with gr.Tab("Look inside"):
            _add_look(demo, file, asked)
        with gr.Tab("Cost"):
            gr.HTML(tables_html(demo.cost_tables()), elem_id="cost")
        with gr.Tab("Comparisons"):
            _add_comparisons(demo)
    page.queue(max_size=QUEUE, default_concurrency_limit=1)
    return page


def _add_predict(demo: Demo, file: gr.File) -> Any:
    """Add what models say about an image; give the event, after which others may ask."""
    is_classifier = demo.task == "classification"
    has_threshold = demo.task in ("detection", "instance_segmentation")
    says = gr.HTML(line_html("Upload an image."), elem_id="says")
    threshold = gr.Slider(
        0, 1, 0.5, step=0.05, label="Least score of an object that is drawn", visible=has_threshold
    )
    shown: list[Any] = []
    with gr.Row():
        for place, model in enumerate(demo.models):
            with gr.Column():
                kind = gr.Label if is_classifier else gr.Image
                options: dict[str, Any] = {} if is_classifier else _PICTURE
                gr.Markdown(f"### {model.title}")
                shown.append(kind(show_label=False, elem_id=f"answer{place}", **options))
                shown.append(gr.HTML(elem_id=f"classes{place}", visible=not is_classifier))
    table = gr.HTML(elem_id="answer-cost")
    outputs = [says, *shown, table]

    def predict(path: str | None, least: float) -> list[Any]:
        blank = [None, ""] * len(demo.models)
        if path is None:
            return [line_html("Upload an image."), *blank, ""]
        try:
            found = demo.predict(path, least)
        except UserError as error:
            return [line_html(str(error), is_error=True), *blank, ""]
        cells = [cell for answer in found.answers for cell in _cells(answer)]
        return [line_html(found.says), *cells, table_html(found.table)]

    asked = file.change(predict, [file, threshold], outputs, **_AT_ONCE)
    threshold.release(predict, [file, threshold], outputs, **_AT_ONCE)
    return asked


def _cells(answer: Answer) -> list[Any]:
    said = dict(answer.classes) if answer.classes else answer.picture
    return [said, line_html(answer.says) if answer.says else legend_html(answer.legend)]


def _add_look(demo: Demo, file: gr.File, asked: Any) -> None:
    """Add the maps of attention, for the whole image and for the point that is clicked."""
    if demo.saliency is None:
        gr.HTML(line_html("No model with trained MSCSA was given: there is nothing to look into."))
        return
    says = gr.HTML(line_html("Upload an image, then click at a point of it."), elem_id="look-says")
    with gr.Row():
        with gr.Column(scale=2):
            image = gr.Image(interactive=False, show_label=False, buttons=[], elem_id="look-image")
            whole = gr.Button("All points", size="sm")
        with gr.Column(scale=5):
            maps = gr.Image(show_label=False, elem_id="maps", **_PICTURE)

    def show(path: str | None) -> list[Any]:
        if path is None:
            return [line_html("Upload an image, then click at a point of it."), None, None]
        return _or_line(lambda: [*_looked(demo, path, None), demo.show(path).image], (0, 2, 1))

    def look(path: str | None, event: gr.SelectData) -> list[Any]:
        if path is None:
            return [line_html("Upload an image first."), None]
        x, y = (int(each) for each in event.index)
        return _or_line(lambda: _looked(demo, path, (x, y)), (0, 1))

    asked.then(show, [file], [says, image, maps], **_AT_ONCE)
    whole.click(show, [file], [says, image, maps], **_AT_ONCE)
    image.select(look, [file], [says, maps], **_AT_ONCE)


def _looked(demo: Demo, path: str, point: tuple[int, int] | None) -> list[Any]:
    found = demo.look(path, point)
    return [line_html(found.says), found.picture]


def _or_line(work: Callable[[], list[Any]], order: tuple[int, ...]) -> list[Any]:
    """Give what comes of some work in another order, or the line of its error and nothing else."""
    try:
        done = work()
    except UserError as error:
        return [line_html(str(error), is_error=True), *[None] * (len(order) - 1)]
    return [done[place] for place in order]


def _add_comparisons(demo: Demo) -> None:
    """Add the arms of comparisons by score and cost."""
    if not demo.finished:
        gr.HTML(
            line_html(
                "No comparison was given: name the folder of mscsa compare, or others with --comparisons."
            )
        )
        return
    names = [(COSTS[cost][0], cost) for cost in demo.costs()]
    first = names[0][1]
    cost = gr.Radio(names, value=first, label="Cost", elem_id="pareto-cost")
    picture = gr.Image(demo.pareto(first), show_label=False, elem_id="pareto", **_PICTURE)
    gr.HTML(
        line_html(
            "The dashed line joins what no other arm of the same comparison beats; bars are one standard "
            "deviation over the seeds. Arms closer than these are not told apart by it: read the verdicts."
        )
        + tables_html(demo.pareto_tables()),
        elem_id="pareto-tables",
    )
    cost.change(demo.pareto, [cost], [picture], api_visibility="private")
