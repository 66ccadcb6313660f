"""Commands about models as such: what there is, what it is made of, what it costs, where it looks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mscsa_cli.parsing import ModelForm, Running, fail, parse_pixel, parse_size

if TYPE_CHECKING:
    from mscsa.cost.model_info import ModelInfo


def list_models(
    pattern: str = "*", *, recipes: bool = False, backbones: bool = False, necks: bool = False
) -> None:
    """List models with MSCSA, recipes, necks, or the backbones that MSCSA can be added to.

    Example:
        mscsa list --backbones 'convnextv2_*'

    Args:
        pattern: Show only names that fit, such as '*resnet*'.
        recipes: List the recipes of `mscsa train` and `mscsa compare`.
        backbones: List timm's backbones with a usable pyramid; each is built, without weights.
        necks: List MSCSA and the necks that can take its place.
    """
    if recipes + backbones + necks > 1:
        raise ValueError("one list at a time: give one of --recipes, --backbones and --necks")
    from mscsa.report import show
    from mscsa_cli.listing import backbones_table, models_table, necks_table, recipes_table

    if recipes:
        show(recipes_table(pattern))
    elif backbones:
        show(backbones_table(pattern))
    elif necks:
        show(necks_table(pattern))
    else:
        show(models_table(pattern))


def info(
    model: str,
    *,
    form: ModelForm,
    json: str | None = None,
) -> None:
    """Show what a model is made of: stages, token map, configuration, parameters and MACs by part.

    Example:
        mscsa info mscsa_pvt_v2_b1

    Args:
        model: timm name of a backbone, with or without `mscsa_` before it.
        form: Of the model.
        json: Write the result to this file, too.
    """
    from mscsa.cost.info_tables import info_json, info_tables
    from mscsa.report import show, write_json

    result = _describe(model, form)
    if json:
        write_json(json, info_json(result))
    show(*info_tables(result))


def macs(
    model: str | None = None,
    *,
    table: str | None = None,
    form: ModelForm,
    json: str | None = None,
) -> int:
    """Count the multiply-adds of a model by part, or set the paper's cost tables beside ours.

    Example:
        mscsa macs mscsa_pvt_v2_b1 --size 800x1280 --dense

    Args:
        model: timm name of a backbone, with or without `mscsa_` before it.
        table: Show this table of the paper (1, 2, 3, 4, 5, 6 or 7) instead of a model.
        form: Of the model.
        json: Write the result to this file, too.
    """
    from mscsa.cost.all_tables import paper_table
    from mscsa.cost.info_tables import cost_tables, info_json
    from mscsa.report import show, write_json

    if (model is None) == (table is None):
        return fail("give either a model or --table NUMBER, such as `mscsa macs --table 6`")
    content: Any
    if table is not None:
        if form != ModelForm():
            options = "--size, --dense, --head, --neck, --budget or --mscsa"
            return fail(f"--table takes no {options}: the paper fixes them")
        paper = paper_table(table)
        content, tables = {"table": table, "rows": paper.rows}, [paper.table]
    elif model is not None:
        result = _describe(model, form)
        content, tables = info_json(result), cost_tables(result)
    if json:
        write_json(json, content)
    show(*tables)
    return 0


def bench(
    model: str,
    *,
    form: ModelForm,
    batch_size: list[int] = [1, 16, 64],  # noqa: B006 (never changed; it is what --help shows)
    mode: Literal["inference", "training", "both"] = "both",
    running: Running,
    rounds: int = 7,
    threads: int | None = None,
    no_memory: bool = False,
    json: str | None = None,
) -> None:
    """Time a model against its backbone, interleaved in one process: inference and training steps.

    Example:
        mscsa bench mscsa_pvt_v2_b0 --batch-size 1 16 --mode inference

    Args:
        model: timm name of a backbone, with or without `mscsa_` before it.
        form: Of the model.
        batch_size: Images per call; one or more numbers.
        mode: What to time.
        running: On what and how.
        rounds: Rounds of both models, 5 or more.
        threads: CPU threads; torch's choice if not given.
        no_memory: Leave out the peak memory, which needs a process per model.
        json: Write the result to this file, too.
    """
    from mscsa.evaluation.evaluate import choose_device
    from mscsa.report import show, write_json
    from mscsa.speed.bench import bench_json, bench_model, bench_tables
    from mscsa.speed.steps import StepOptions

    options = StepOptions(
        device=choose_device(running.device).type,
        dtype=running.dtype,
        channels_last=running.layout == "channels_last",
        folded=running.fuse,
        compiled=running.compile,
        cuda_graph=running.cuda_graph,
    )
    result = bench_model(
        {"name": model, **_pair_arguments(form)},
        form.size_px,
        batch_sizes=batch_size,
        modes=("inference", "training") if mode == "both" else (mode,),
        options=options,
        rounds=rounds,
        threads=threads,
        with_memory=not no_memory,
    )
    if json:
        write_json(json, bench_json(result))
    show(*bench_tables(result))


def saliency(
    images: list[str],
    *,
    out: str,
    model: str | None = None,
    checkpoint: str | None = None,
    pretrained: bool = False,
    size: str | None = None,
    query: list[str] = [],  # noqa: B006 (never changed; it is what --help shows)
) -> int:
    """Draw where cross-scale attention looks in images: each CSA layer, each scale (paper Fig. 1b).

    Example:
        mscsa saliency cat.jpg --checkpoint runs/first --out saliency

    Args:
        images: Image files; resized to the model's size without a crop.
        out: Folder for NAME_attention.png, NAME_energy.png, NAME_query1.png, ... and NAME.json.
        model: Model with MSCSA, by name; its MSCSA is untrained.
        checkpoint: Folder of a run of any task, which stands for its best.safetensors, or a file of
            weights in one; in place of --model.
        pretrained: With --model, load timm's weights into the backbone.
        size: Image size in pixels, 224 or HEIGHTxWIDTH; as in training, or the model's default.
        query: Pixels Y,X of the resized image whose attention to draw.
    """
    from mscsa.pictures.output import OutputFolder
    from mscsa.pictures.saliency_maps import write_saliency
    from mscsa.pictures.saliency_model import load_saliency_model
    from mscsa.progress import tracked
    from mscsa_cli.result_tables import saliency_table, show_with_errors

    queries = [parse_pixel(text) for text in query]
    hw = parse_size(size) if size else None
    loaded = load_saliency_model(model, checkpoint, pretrained=pretrained, size=hw)
    if not loaded.is_trained:
        print(f"{loaded.name}: MSCSA has random weights, and shows nothing learnt", file=sys.stderr)
    folder = OutputFolder(Path(out), [*images, *([checkpoint] if checkpoint else [])])
    written = list(tracked(write_saliency(loaded, images, folder, queries), "images", len(images)))
    errors = [each.error for each in written]
    return show_with_errors([] if all(errors) else [saliency_table(written)], errors)


def _describe(model: str, form: ModelForm) -> ModelInfo:
    from mscsa.cost.model_info import describe_model

    return describe_model(model, size=form.size_px, **_pair_arguments(form))


def _pair_arguments(form: ModelForm) -> dict[str, Any]:
    """Give the arguments of `build_pair` that a form settles, but for the size."""
    return {
        "dense": form.dense,
        "head": form.head,
        "budget": form.budget,
        "fields": form.mscsa,
        "neck": form.neck,
        "neck_config": form.neck_config,
    }
