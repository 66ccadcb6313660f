"""A model's card: what it is, on what data, how good against what, at what cost, and what it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from timm.models import get_pretrained_cfg, is_model

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.evaluation.scores import SCORES, format_score
from mscsa.heads import Task
from mscsa.hub.comparison import Matched
from mscsa.hub.places import HUB
from mscsa.names import parse_model_name, split_tag
from mscsa.recipes.spec import DataSpec

_PIPELINES: dict[Task, str] = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
    "instance_segmentation": "object-detection",
}
"""The hub's word for what a model does."""

_NAMED_CLASSES = 20


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card is made of."""

    title: str
    repository: str
    """OWNER/NAME on the hub, or words in its place."""
    info: WeightsInfo
    parameters: int
    macs: int
    """Multiply-adds of one image at `info.data.input_size`."""
    in_timm: bool
    """Whether `timm.create_model` builds it from its folder."""
    comparison: Matched | None
    license: str | None
    """Of this model, as its author says; None where nothing was said."""


def write_card(facts: CardFacts) -> str:
    """Write the card in Markdown, with the metadata that the hub reads."""
    info = facts.info
    sections = [
        f"# {facts.title}",
        f"{_what_it_is(facts)} Written by `mscsa push`.",
        *("## Use", _use(facts)),
        *("## Data", _data(info)),
        *("## Scores", _scores(info)),
        *("## Against the same without MSCSA", _comparison(facts.comparison)),
        *("## Cost", _cost(facts)),
        *("## Limits", _limits(facts)),
        *("## Licences", _licences(facts)),
    ]
    return f"---\n{_metadata(facts).to_yaml().strip()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    task, pipeline = facts.info.model.task, _PIPELINES[facts.info.model.task]
    data = facts.info.data
    kind, result = SCORES[task], facts.info.provenance.get("result", {})
    named = _place(data) or data.kind
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=data.kind,
            dataset_name=named,
            dataset_split="val",
            metric_type=name,
            metric_name=label,
            metric_value=round(result[name], 4),
        )
        for name, (label, _) in kind.LABELS.items()
        if isinstance(result.get(name), (int, float))
    ]
    return ModelCardData(
        library_name="timm" if facts.in_timm else "mscsa",
        pipeline_tag=pipeline,
        tags=["mscsa", pipeline],
        license=facts.license,
        model_name=facts.title if results else None,
        eval_results=results or None,
    )


def _what_it_is(facts: CardFacts) -> str:
    spec = facts.info.model
    neck = {None: "", "mscsa": " with Multi-Stage Cross-Scale Attention (MSCSA)"}.get(
        spec.neck_name, f" with the neck {spec.neck_name}"
    )
    head = "a classifier" if spec.head is None else f"under the head `{spec.head}`"
    recipe = facts.info.provenance.get("recipe", {}).get("name")
    trained = f", trained by the recipe `{recipe}` of mscsa" if recipe else ""
    task = spec.task.replace("_", " ")
    backbone = parse_model_name(spec.name).without_mscsa
    return f"The backbone `{backbone}`{neck}, {head}, for {task}{trained}."


def _use(facts: CardFacts) -> str:
    lines = [
        "```",
        f"mscsa pull {HUB}{facts.repository} --out model  # or the folder that this card is in",
        "mscsa predict image.jpg --checkpoint model"
        + ("" if facts.info.model.head is None else " --out pictures"),
        "mscsa eval model --root DATA",
        "```",
    ]
    if facts.in_timm:
        lines += [
            "",
            "```python",
            "import mscsa, timm  # importing mscsa registers its models with timm",
            "",
            f'name = "{HUB}{facts.repository}"  # or "local-dir:FOLDER", the folder that this card is in',
            "model = timm.create_model(name, pretrained=True).eval()",
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
            "```",
        ]
    else:
        lines += [
            "",
            "```python",
            "from mscsa.assembly import load_trained",
            "",
            'model, info = load_trained("model")  # the folder of `mscsa pull`',
            "```",
        ]
    return "\n".join(lines)


def _place(data: DataSpec) -> str | None:
    """Name the folder of the data, or its annotations of train, without what lies above; None if unknown."""
    place = None if data.is_rendered else next(iter(data.places.values()), None)
    return None if place is None else PurePath(place).name


def _data(info: WeightsInfo) -> str:
    data = info.data
    place = _place(data)
    what = "rendered images" if data.is_rendered else "images"
    where = what if place is None else f"{'a folder' if data.root else 'images'}, `{place}`"
    names = ", ".join(info.class_names[:_NAMED_CLASSES])
    count = len(info.class_names)
    more = f" and {count - _NAMED_CLASSES} more" if count > _NAMED_CLASSES else ""
    height, width = data.input_size
    return (
        f"{where[0].upper()}{where[1:]} of the kind `{data.kind}`, at {height}x{width} px. "
        f"{count} classes: {names}{more}. What licence the images have is unknown to this card."
    )


def _scores(info: WeightsInfo) -> str:
    result: dict[str, Any] = info.provenance.get("result", {})
    kind = SCORES[info.model.task]
    if kind.MAIN not in result:
        return "Unknown: the file of weights does not say what they came to."
    rows = [
        f"| {label} | {format_score(result.get(name), unit)} {unit} |"
        for name, (label, unit) in kind.LABELS.items()
    ]
    return _table(("score", "validation"), rows) + (
        f"\n\nOn {result.get('num_samples', 'an unknown number of')} images, after epoch "
        f"{result.get('epoch', 0):g}, one seed."
    )


def _comparison(matched: Matched | None) -> str:
    if matched is None:
        return (
            "Unknown: no matched comparison came with this model. Whether MSCSA makes it better is not said "
            "by the scores above; `mscsa compare` trains the same with and without it from the same seeds."
        )
    head = ("model", f"{matched.score} %", "minus baseline, points (95 %)", "parameters", "MACs", "more MACs")
    verdicts = "\n".join(f"* {each}" for each in matched.verdicts)
    return (
        f"{_table(head, matched.arms)}\n\nThe same recipe and the same {matched.seeds} seeds in all rows; "
        f"mean ± standard deviation, BCa interval over the seeds, {matched.test_images} test images.\n\n"
        f"{verdicts}"
    )


def _cost(facts: CardFacts) -> str:
    height, width = facts.info.data.input_size
    return (
        f"{facts.parameters / 1e6:.2f} M parameters, {facts.macs / 1e9:.3f} G multiply-adds for an image of "
        f"{height}x{width} px."
    )


def _limits(facts: CardFacts) -> str:
    height, width = facts.info.data.input_size
    limits = [
        "It knows the classes above and no others; whatever it is shown, it answers with these.",
        f"It was trained and measured at {height}x{width} px and on images as in its data; other sizes and "
        "other images were not measured.",
    ]
    if "result" in facts.info.provenance:
        limits.append(
            "Its score is of the images by which the best of its evaluations was chosen, and somewhat too "
            "good for that."
        )
    if facts.comparison is None:
        limits.append("It was not compared with the same model without MSCSA.")
    return "\n".join(f"* {each}" for each in limits)


def _licences(facts: CardFacts) -> str:
    return (
        f"* This model: {facts.license or 'unknown, its author did not say'}.\n"
        f"* The weights that its backbone started from: {backbone_licence(facts.info)}."
    )


def backbone_licence(info: WeightsInfo) -> str:
    """Say where the backbone's first weights come from and under which licence; unknown where nobody does."""
    start = info.provenance.get("recipe", {}).get("model")
    if not isinstance(start, dict):
        return "unknown"
    if start.get("checkpoint") is not None:
        return "unknown, they are of a file that training was given"
    if not start.get("pretrained"):
        return "none, training began with random weights"
    name = parse_model_name(str(start.get("name"))).tagged_backbone
    cfg = get_pretrained_cfg(name) if is_model(split_tag(name)[0]) else None
    licence = getattr(cfg, "license", None) or "unknown"
    return f"{licence} (`{name}` of timm, as timm says)"


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows])
