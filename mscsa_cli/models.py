"""Commands about models as such: what there is, what it is made of, what it costs, where it looks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from mscsa_cli.parsing import Device, fail

Head = Literal[
    "semantic_fpn", "topformer_head", "mask_rcnn", "cascade_mask_rcnn", "retinanet", "deformable_detr"
]


def list_models(pattern: str = "*", *, recipes: bool = False, backbones: bool = False) -> None:
    """List models with MSCSA, recipes, or the backbones that MSCSA can be added to.

    Example:
        mscsa list --backbones 'convnextv2_*'

    Args:
        pattern: Show only names that fit, such as '*resnet*'.
        recipes: List the recipes of `mscsa train` and `mscsa compare`.
        backbones: List timm's backbones with a usable pyramid; each is built, without weights.
    """
    from mscsa.report import show
    from mscsa_cli.listing import backbones_table, models_table, recipes_table

    if recipes:
        show(recipes_table(pattern))
    elif backbones:
        show(backbones_table(pattern))
    else:
        show(models_table(pattern))


def info(
    model: str,
    *,
    size: str | None = None,
    dense: bool = False,
    head: Head | None = None,
    budget: float | None = None,
    mscsa: dict[str, Any] | None = None,
    json: str | None = None,
) -> None:
    """Show what a model is made of: stages, token map, configuration, parameters and MACs by part.

    Example:
        mscsa info mscsa_pvt_v2_b1

    Args:
        model: timm name of a backbone, with or without `mscsa_` before it.
        size: Image size in pixels, 224 or HEIGHTxWIDTH; the model's default if not given.
        dense: Take the pyramid form, for detection and segmentation.
        head: Take the pyramid form with this segmenter (150 classes) or detector (80) on it.
        budget: Let MSCSA cost at most this share of the backbone's MACs (0.10 = +10 %).
        mscsa: Fields of MSCSAConfig, such as `--mscsa.depth 2`.
        json: Write the result to this file, too.
    """
    from mscsa.cost.model_info import describe_model, info_json, info_tables
    from mscsa.cost.model_pair import parse_size
    from mscsa.report import show, write_json

    hw = parse_size(size) if size else None
    result = describe_model(model, size=hw, dense=dense, head=head, budget=budget, fields=mscsa)
    if json:
        write_json(json, info_json(result))
    show(*info_tables(result))


def macs(
    model: str | None = None,
    *,
    table: str | None = None,
    size: str | None = None,
    dense: bool = False,
    head: Head | None = None,
    budget: float | None = None,
    mscsa: dict[str, Any] | None = None,
    json: str | None = None,
) -> int:
    """Count the multiply-adds of a model by part, or set the paper's cost tables beside ours.

    Example:
        mscsa macs mscsa_pvt_v2_b1 --size 800x1280 --dense

    Args:
        model: timm name of a backbone, with or without `mscsa_` before it.
        table: Show this table of the paper (1, 2, 3, 4, 5, 6 or 7) instead of a model.
        size: Image size in pixels, 224 or HEIGHTxWIDTH; the model's default if not given.
        dense: Take the pyramid form, for detection and segmentation.
        head: Take the pyramid form with this segmenter (150 classes) or detector (80) on it.
        budget: Let MSCSA cost at most this share of the backbone's MACs (0.10 = +10 %).
        mscsa: Fields of MSCSAConfig, such as `--mscsa.depth 2`.
        json: Write the result to this file, too.
    """
    from mscsa.cost.macs_tables import paper_table
    from mscsa.cost.model_info import cost_tables, describe_model, info_json
    from mscsa.cost.model_pair import parse_size
    from mscsa.report import show, write_json

    if (model is None) == (table is None):
        return fail("give either a model or --table NUMBER, such as `mscsa macs --table 6`")
    content: Any
    if table is not None:
        if size or dense or head or budget is not None or mscsa:
            return fail("--table takes no --size, --dense, --head, --budget or --mscsa: the paper fixes them")
        paper = paper_table(table)
        content, tables = {"table": table, "rows": paper.rows}, [paper.table]
    elif model is not None:
        hw = parse_size(size) if size else None
        result = describe_model(model, size=hw, dense=dense, head=head, budget=budget, fields=mscsa)
        content, tables = info_json(result), cost_tables(result)
    if json:
        write_json(json, content)
    show(*tables)
    return 0


def bench(
    model: str,
    *,
    size: str | None = None,
    batch_size: list[int] = [1, 16, 64],  # noqa: B006 (never changed; it is what --help shows)
    mode: Literal["inference", "training", "both"] = "both",
    dense: bool = False,
    head: Head | None = None,
    budget: float | None = None,
    mscsa: dict[str, Any] | None = None,
    device: Device = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    layout: Literal["contiguous", "channels_last"] = "contiguous",
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
        size: Image size in pixels, 224 or HEIGHTxWIDTH; the model's default if not given.
        batch_size: Images per call; one or more numbers.
        mode: What to time.
        dense: Take the pyramid form, for detection and segmentation.
        head: Take the pyramid form with this segmenter (150 classes) or detector (80) on it.
        budget: Let MSCSA cost at most this share of the backbone's MACs (0.10 = +10 %).
        mscsa: Fields of MSCSAConfig, such as `--mscsa.depth 2`.
        device: Where to run; auto takes the GPU if there is one.
        dtype: Arithmetic; a training step autocasts to it.
        layout: Memory layout of images and convolutions.
        rounds: Rounds of both models, 5 or more.
        threads: CPU threads; torch's choice if not given.
        no_memory: Leave out the peak memory, which needs a process per model.
        json: Write the result to this file, too.
    """
    from mscsa.cost.model_pair import parse_size
    from mscsa.report import show, write_json
    from mscsa.speed.bench import bench_json, bench_model, bench_tables
    from mscsa.speed.steps import StepOptions, choose_device

    options = StepOptions(device=choose_device(device), dtype=dtype, channels_last=layout == "channels_last")
    result = bench_model(
        {"name": model, "dense": dense, "head": head, "budget": budget, "fields": mscsa},
        parse_size(size) if size else None,
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
        mscsa saliency cat.jpg --checkpoint runs/first/best.safetensors --out saliency

    Args:
        images: Image files; resized to the model's size without a crop.
        out: Folder for NAME_attention.png, NAME_energy.png, NAME_query1.png, ... and NAME.json.
        model: Model with MSCSA, by name; its MSCSA is untrained.
        checkpoint: best.safetensors or last.safetensors of a run of any task, in place of --model.
        pretrained: With --model, load timm's weights into the backbone.
        size: Image size in pixels, 224 or HEIGHTxWIDTH; as in training, or the model's default.
        query: Pixels Y,X of the resized image whose attention to draw.
    """
    from mscsa.cost.model_pair import parse_size
    from mscsa.pictures.saliency import load_saliency_model
    from mscsa.pictures.saliency_picture import parse_pixel, write_saliency
    from mscsa.report import show
    from mscsa_cli.result_tables import saliency_table

    queries = [parse_pixel(text) for text in query]
    hw = parse_size(size) if size else None
    loaded = load_saliency_model(model, checkpoint, pretrained=pretrained, size=hw)
    if not loaded.is_trained:
        print(f"{loaded.name}: MSCSA has random weights, and shows nothing learnt", file=sys.stderr)
    written = list(write_saliency(loaded, images, Path(out), queries))
    errors = [each.error for each in written if each.error]
    if len(errors) < len(written):
        show(saliency_table(written))
    for error in errors:
        fail(error)
    return 2 if errors else 0
