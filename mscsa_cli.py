"""The `mscsa` command: one function per command, whose signature and docstring are its options and help.

This module imports neither torch nor `mscsa` before a command needs them, so that help is quick.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import logging
import os
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, Namespace
from jsonargparse import DefaultHelpFormatter as JsonargparseFormatter

if TYPE_CHECKING:
    from mscsa.recipes.spec import Recipe

Device = Literal["auto", "cpu", "gpu"]

RECIPE_COMMANDS = ("train", "compare")
"""Commands that take a recipe and its overrides."""


def list_models(pattern: str = "*", *, recipes: bool = False, backbones: bool = False) -> None:
    """List models with MSCSA, recipes, or the backbones that MSCSA can be added to.

    Example:
        mscsa list --backbones 'convnextv2_*'

    Args:
        pattern: Show only names that fit, such as '*resnet*'.
        recipes: List the recipes of `mscsa train` and `mscsa compare`.
        backbones: List timm's backbones with a usable pyramid; each is built, without weights.
    """
    from mscsa.tools.listing import backbones_table, models_table, recipes_table
    from mscsa.tools.report import show

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
        budget: Let MSCSA cost at most this share of the backbone's MACs (0.10 = +10 %).
        mscsa: Fields of MSCSAConfig, such as `--mscsa.depth 2`.
        json: Write the result to this file, too.
    """
    from mscsa.tools.model_info import describe_model, info_json, info_tables
    from mscsa.tools.model_pair import parse_size
    from mscsa.tools.report import show, write_json

    hw = parse_size(size) if size else None
    result = describe_model(model, size=hw, dense=dense, budget=budget, fields=mscsa)
    if json:
        write_json(json, info_json(result))
    show(*info_tables(result))


def macs(
    model: str | None = None,
    *,
    table: str | None = None,
    size: str | None = None,
    dense: bool = False,
    budget: float | None = None,
    mscsa: dict[str, Any] | None = None,
    json: str | None = None,
) -> int:
    """Count the multiply-adds of a model by part, or set the paper's cost tables beside ours.

    Example:
        mscsa macs mscsa_pvt_v2_b1 --size 800x1280 --dense

    Args:
        model: timm name of a backbone, with or without `mscsa_` before it.
        table: Show this table of the paper (1, 4, 5, 6 or 7) instead of a model.
        size: Image size in pixels, 224 or HEIGHTxWIDTH; the model's default if not given.
        dense: Take the pyramid form, for detection and segmentation.
        budget: Let MSCSA cost at most this share of the backbone's MACs (0.10 = +10 %).
        mscsa: Fields of MSCSAConfig, such as `--mscsa.depth 2`.
        json: Write the result to this file, too.
    """
    from mscsa.tools.macs_tables import paper_table
    from mscsa.tools.model_info import cost_tables, describe_model, info_json
    from mscsa.tools.model_pair import parse_size
    from mscsa.tools.report import show, write_json

    if (model is None) == (table is None):
        return fail("give either a model or --table NUMBER, such as `mscsa macs --table 6`")
    content: Any
    if table is not None:
        if size or dense or budget is not None or mscsa:
            return fail("--table takes no --size, --dense, --budget or --mscsa: the paper fixes them")
        paper = paper_table(table)
        content, tables = {"table": table, "rows": paper.rows}, [paper.table]
    elif model is not None:
        hw = parse_size(size) if size else None
        result = describe_model(model, size=hw, dense=dense, budget=budget, fields=mscsa)
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
    from mscsa.tools.bench import bench_json, bench_model, bench_tables
    from mscsa.tools.model_pair import parse_size
    from mscsa.tools.report import show, write_json
    from mscsa.tools.steps import StepOptions, choose_device

    options = StepOptions(device=choose_device(device), dtype=dtype, channels_last=layout == "channels_last")
    result = bench_model(
        {"name": model, "dense": dense, "budget": budget, "fields": mscsa},
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


def compare(recipe: Recipe, *, out: str, seeds: int = 3, jobs: int | None = None) -> None:
    """Train a recipe with and without MSCSA from the same seeds, and report the difference.

    Example:
        mscsa compare scenes/mscsa_resnet10t --out runs/quickstart

    Args:
        recipe: Name of a recipe with MSCSA (`mscsa list --recipes`); its baseline is derived.
        out: Folder of the comparison; the same command again goes on where it stopped.
        seeds: Number of seeds, from run.seed on.
        jobs: Runs at a time; one per CPU core, or one on a GPU, if not given.
    """
    from mscsa.tools.compare import compare_recipe, comparison_tables
    from mscsa.tools.report import show

    show(*comparison_tables(compare_recipe(recipe, Path(out), num_seeds=seeds, jobs=jobs)))


def train(recipe: Recipe, *, out: str | None = None, resume: bool = False) -> int:
    """Train, evaluate and save one model as a recipe says.

    Example:
        mscsa train scenes/resnet10t --run.epochs 2 --out runs/first

    Args:
        recipe: Name of a recipe (`mscsa list --recipes`).
        out: Folder of the run; runs/RECIPE if not given.
        resume: Go on with the run in that folder, with the settings it was started with.
    """
    from mscsa.training import Interrupted, NonFiniteError
    from mscsa.training import train as run_training

    folder = run_folder(recipe.name, out)
    try:
        result = run_training(recipe, folder, resume=resume)
    except Interrupted as error:
        print(f"{error}; go on with --resume", file=sys.stderr)
        raise
    except NonFiniteError as error:
        return fail(str(error), 1)
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0:  # one line for all processes
        print(
            f"top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} %, {result.steps} steps; results in {folder}"
        )
    return 0


def evaluate(
    checkpoint: str,
    *,
    root: str | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: Device = "auto",
    json: str | None = None,
) -> None:
    """Measure the accuracy of a trained classifier on its validation set, or on other images.

    Example:
        mscsa eval runs/first/best.safetensors

    Args:
        checkpoint: best.safetensors or last.safetensors of a run.
        root: Folder with val/CLASS/*.jpg; the one it was trained on if not given.
        size: Side of the square input in pixels; as in training if not given.
        batch_size: Images per step; as in training if not given.
        workers: Loader processes; as in training if not given.
        device: Where to run; auto takes the GPU if there is one.
        json: Write the result to this file, too.
    """
    from mscsa.evaluation import evaluate as measure
    from mscsa.tools.classifier_tables import accuracy_table
    from mscsa.tools.report import show, write_json

    given = {"root": root, "image_size": size, "eval_batch_size": batch_size, "workers": workers}
    overrides = {name: value for name, value in given.items() if value is not None}
    if root is not None:
        overrides["kind"] = "folder"
    result = measure(checkpoint, overrides, accelerator=device)
    if json:
        write_json(json, {"checkpoint": checkpoint, **asdict(result)})
    show(accuracy_table(checkpoint, result))


def predict(
    images: list[str],
    *,
    checkpoint: str,
    top_k: int = 5,
    batch_size: int = 32,
    device: Device = "auto",
    json: str | None = None,
) -> int:
    """Classify image files with a trained model.

    Example:
        mscsa predict cat.jpg dog.png --checkpoint runs/first/best.safetensors

    Args:
        images: Image files.
        checkpoint: best.safetensors or last.safetensors of a run.
        top_k: Number of classes to name per image.
        batch_size: Images per step.
        device: Where to run; auto takes the GPU if there is one.
        json: Write the result to this file, too.
    """
    from mscsa.evaluation import predict as classify
    from mscsa.tools.classifier_tables import predictions_table
    from mscsa.tools.report import show, write_json

    predictions = list(classify(checkpoint, images, top_k=top_k, batch_size=batch_size, accelerator=device))
    if json:
        write_json(json, [asdict(prediction) for prediction in predictions])
    show(predictions_table(predictions))
    errors = [prediction.error for prediction in predictions if prediction.error]
    for error in errors:
        fail(error)
    return 2 if errors else 0


def check_data(root: str, *, json: str | None = None) -> int:
    """Look through an image folder before training: unreadable images, empty classes, shared files.

    Example:
        mscsa check-data data/imagenette

    Args:
        root: Folder that holds train/CLASS/*.jpg and val/CLASS/*.jpg.
        json: Write the result to this file, too.
    """
    from mscsa.data import check_image_folder
    from mscsa.tools.classifier_tables import problems_table
    from mscsa.tools.report import show, write_json

    problems = check_image_folder(root)
    if json:
        write_json(json, [asdict(problem) for problem in problems])
    if not problems:
        print(f"{root}: no problems found")
        return 0
    show(problems_table(root, problems))
    return 2


COMMANDS: dict[str, Callable[..., int | None]] = {
    "list": list_models,
    "info": info,
    "macs": macs,
    "bench": bench,
    "compare": compare,
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "check-data": check_data,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input gives one line on stderr and exit code 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("mscsa").setLevel(logging.INFO)
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(overview())
            return 0
        if argv[0] == "--version":
            print(f"mscsa {importlib.metadata.version('mscsa')}")
            return 0
        command, arguments = parse_command(argv)
        code = command(**arguments)
        sys.stdout.flush()
        return code or 0
    except ValueError as error:
        return fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parse_command(argv: Sequence[str]) -> tuple[Callable[..., int | None], dict[str, Any]]:
    """Turn a command line into a function of `COMMANDS` and its arguments.

    Raises:
        ValueError: If the command, an option, the recipe or its file is not usable.
    """
    name, *rest = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown command {name!r}: did you mean `mscsa {near}`? `mscsa --help` shows all")
    if name in RECIPE_COMMANDS:
        return COMMANDS[name], _parse_recipe_command(name, rest)
    return COMMANDS[name], vars(build_parser(name).parse_args(rest))


class HelpFormatter(RawDescriptionHelpFormatter, JsonargparseFormatter):
    """jsonargparse's, which keeps the lines of the example."""


class CommandParser(ArgumentParser):
    """jsonargparse's parser, whose errors are one line that names the nearest option."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=HelpFormatter,
            exit_on_error=False,
            allow_abbrev=False,
            print_config=None,
            **options,
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a ValueError of one line."""
        raise ValueError(self._one_line(" ".join(message.split()))) from ex

    def _one_line(self, message: str) -> str:
        wrong_value = re.match(r'Parser key "([\w.]+)": .*?Expected an? (.+?)\. Got value: (.*)$', message)
        if wrong_value:
            key, kind, given = wrong_value.groups()
            return f"--{key}: {given!r} given, {_readable_type(kind)} expected"
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            return message
        option = unknown.split()[0].partition("=")[0]
        if not option.startswith("--"):
            return f"unexpected argument {option!r}; `{self.prog} --help` shows what is allowed"
        known = [each for action in self._actions for each in action.option_strings]
        near = difflib.get_close_matches(option, known, n=1, cutoff=0.0)[0]
        return f"unknown option {option}: did you mean {near}? (`{self.prog} --help`)"


def _readable_type(kind: str) -> str:
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind)
    kind = re.sub(r"(?:typing\.)?Literal\[(.*)\]", r"one of \1", kind)
    names = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
    return names.get(kind, kind)


def build_parser(name: str) -> CommandParser:
    """Build a command's parser from its function: options from the signature, help from the docstring."""
    function = COMMANDS[name]
    documentation = parse_docstring(inspect.getdoc(function) or "")
    example = (inspect.getdoc(function) or "").partition("Example:\n")[2].splitlines()[0].strip()
    parser = CommandParser(
        prog=f"mscsa {name}",
        description=documentation.short_description,
        epilog=f"example:\n  {example}",
    )
    helps = {parameter.arg_name: parameter.description for parameter in documentation.params}
    types = get_type_hints(function, localns={"Recipe": str})
    for parameter in inspect.signature(function).parameters.values():
        _add_argument(parser, parameter, types[parameter.name], helps[parameter.name])
    return parser


def _add_argument(parser: ArgumentParser, parameter: inspect.Parameter, kind: Any, text: str | None) -> None:
    is_positional = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    is_required = parameter.default is inspect.Parameter.empty
    flag = parameter.name if is_positional else f"--{parameter.name.replace('_', '-')}"
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
        return
    options: dict[str, Any] = {"help": text}
    if get_origin(kind) is list:
        options["nargs"] = "+"
        kind = get_args(kind)[0]
    elif is_positional and not is_required:
        options["nargs"] = "?"
    if not is_required:
        options["default"] = parameter.default
    elif not is_positional:
        options["required"] = True
    parser.add_argument(flag, type=kind, **options)


def _parse_recipe_command(name: str, argv: Sequence[str]) -> dict[str, Any]:
    from mscsa.tools.recipe_options import parse_recipe

    def resumed_config(parsed: Namespace) -> Path | None:
        is_resumed = name == "train" and parsed.resume
        return run_folder(parsed.recipe, parsed.out) / "config.yaml" if is_resumed else None

    recipe, parsed = parse_recipe(lambda: build_parser(name), argv, resumed_config)
    own = inspect.signature(COMMANDS[name]).parameters
    return {key: recipe if key == "recipe" else parsed[key] for key in own}


def run_folder(recipe_name: str, out: str | None) -> Path:
    """Choose the folder of a training run."""
    return Path(out) if out is not None else Path("runs") / recipe_name


def overview() -> str:
    """List the commands with the first line of their help."""
    lines = ["usage: mscsa COMMAND ...", "", "Multi-Stage Cross-Scale Attention for timm backbones.", ""]
    for name, function in COMMANDS.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        lines.append(f"  {name:<12}{summary}")
    return "\n".join([*lines, "", "`mscsa COMMAND --help` shows options and an example; `mscsa --version`."])


def fail(message: str, code: int = 2) -> int:
    """Print one line on stderr and give the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
