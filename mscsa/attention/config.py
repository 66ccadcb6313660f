"""The configuration of MSCSA: one frozen, validated record (columns of the paper's Table 7)."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from mscsa.attention.init import SCHEMES, Init

Downsampling = Literal["parallel_dwconv", "parallel_avgpool", "cascaded_dwconv", "single_dwconv", "none"]

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, kw_only=True)
class MSCSAConfig:
    """How an MSCSA module is built; paper Table 7, with the options of its ablations.

    Numbers may be of any integer or real type (numpy's too); they are kept as Python's own.

    Raises:
        ValueError: If a field is outside its range; one line with the field, the value and the range.
    """

    depth: int = 1
    """Number of blocks CSA -> Intra-FFN -> CSA -> FFN ("Depth")."""
    num_heads: int = 8
    """Attention heads N ("# Heads")."""
    head_dim: int = 24
    """Channels d of a query or key head ("Head Dimension"); a value head has 2d."""
    mlp_ratio: float = 2.0
    """Expansion r of both feed-forwards ("MLP Ratio")."""
    squeeze_ratio: float = 1.0
    """Channels kept per stage, c_i = round(ratio * C_i) ("Squeeze Ratio"); 1 builds no squeeze."""
    pool_stride: int = 32
    """Pixels per token: every stage is pooled to the size of the map at this stride ("Pooling Size")."""
    downsampling: Downsampling = "parallel_dwconv"
    """How the coarser key/value maps are made (Table 5, Fig. 6); `none` keeps X_0 alone (Table 4)."""
    parallel_conv: bool = True
    """Parallel convolution path, eq. (7)-(9) (Table 4)."""
    intra_ffn: bool = True
    """First feed-forward of a block works within each stage; False makes both dense (Table 4)."""
    drop_path_rate: float = 0.0
    """Probability that a residual branch is dropped for a sample in training."""
    gate_scale: float = 2.0
    """Factor on the gate of the fusion (Fig. 5b), a hard-sigmoid: 2 (ours) starts it at exactly 1, so that a
    backbone's maps come out unchanged; 1 is the paper's, which starts by halving them."""
    init: Init = "average"
    """How the convolutions start; the paper does not say."""

    def __post_init__(self) -> None:
        for name in ("depth", "num_heads", "head_dim", "pool_stride"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name, low, high, is_open in (
            ("mlp_ratio", 0.0, 16.0, "low"),
            ("squeeze_ratio", 0.0, 1.0, "low"),
            ("drop_path_rate", 0.0, 1.0, "high"),
            ("gate_scale", 0.0, 4.0, "low"),
        ):
            object.__setattr__(self, name, number_between(name, getattr(self, name), low, high, is_open))
        check_choice("downsampling", self.downsampling, get_args(Downsampling))
        check_choice("init", self.init, SCHEMES)
        for name in ("parallel_conv", "intra_ffn"):
            value = getattr(self, name)
            if type(value).__name__ not in ("bool", "bool_"):  # numpy's too
                raise ValueError(f"{name}={value!r} is not allowed: give True or False")
            object.__setattr__(self, name, bool(value))


CONFIG_FIELDS = tuple(f.name for f in fields(MSCSAConfig))

_CONSTRUCTOR_ARGUMENTS = ("channels", "strides", "out_levels")


def config_of(config: MSCSAConfig | Mapping[str, Any] | None) -> MSCSAConfig:
    """Give the configuration that a constructor's argument `config` means.

    Args:
        config: A configuration, its fields by name, or None for the defaults. Names of the
            constructor's own arguments are passed over: `PyTorchModelHubMixin` keeps all arguments
            in one mapping and hands that to the one called `config`.
    Raises:
        ValueError: If it is something else, or names a field that is not there.
    """
    if isinstance(config, Mapping):
        config = {name: value for name, value in config.items() if name not in _CONSTRUCTOR_ARGUMENTS}
    return read_config(MSCSAConfig, config)


def read_config(kind: type[ConfigT], config: ConfigT | Mapping[str, Any] | None) -> ConfigT:
    """Give the configuration of a kind that an argument means.

    Args:
        kind: A dataclass whose name is that of a module and `Config`.
        config: One of them, its fields by name, or None for the defaults.
    Raises:
        ValueError: If it is something else, or names a field that is not there.
    """
    if isinstance(config, kind):
        return config
    if config is None:
        return kind()
    if not isinstance(config, Mapping):
        raise ValueError(
            f"config={config!r} is not allowed: give {kind.__name__}(...) or a mapping of its fields"
        )
    allowed = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = [str(name) for name in config if name not in allowed]
    if unknown:
        raise ValueError(
            f"config names {', '.join(unknown)}, which {kind.__name__.removesuffix('Config')} does not have: "
            f"give some of {', '.join(allowed)}"
        )
    return kind(**config)


def whole_number(name: str, value: Any) -> int:
    """Give `value`, of any integer type, as an int.

    Raises:
        ValueError: If it is not a whole number >= 1.
    """
    number = as_int(value)
    if number is None or number < 1:
        raise ValueError(f"{name}={one_line(value)} is not allowed: give a whole number >= 1")
    return number


def whole_numbers(name: str, values: Any) -> tuple[int, ...]:
    """Give one whole number per stage as ints.

    Raises:
        ValueError: If `values` is not a sequence of whole numbers >= 1.
    """
    given = elements(values)
    if given is None:
        raise ValueError(f"{name}={one_line(values)} is not allowed: give one whole number for each stage")
    return tuple(whole_number(f"{name}[{i}]", value) for i, value in enumerate(given))


def as_int(value: Any) -> int | None:
    """Give `value`, of any integer type (numpy's too), as an int; None if it is no whole number."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def as_ints(values: Any) -> list[int] | None:
    """Give a sequence of whole numbers, of any kind that `elements` knows, as ints; None if it is none."""
    given = elements(values)
    numbers = [number for value in given or () if (number := as_int(value)) is not None]
    return None if given is None or len(numbers) < len(given) else numbers


def elements(values: Any) -> list[Any] | None:
    """List what a sequence, an array or a tensor holds; None of what is none, has no order or is text."""
    if isinstance(values, (str, bytes, Mapping, set, frozenset)):
        return None
    try:
        return list(values)
    except TypeError:  # as of an array of no dimensions
        return None


def one_line(value: Any) -> str:
    """Write a value as code does, also one of many lines, as arrays are."""
    return " ".join(repr(value).split())


def map_sizes(sizes: Any, num_stages: int) -> tuple[tuple[int, int], ...]:
    """Give the sizes of maps, one (H, W) for each stage, as ints.

    Raises:
        ValueError: If they are no such sizes.
    """
    pairs = [elements(size) or () for size in elements(sizes) or ()]
    if len(pairs) != num_stages or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"sizes={one_line(sizes)} is not allowed: give one (H, W) for each of {num_stages} stages"
        )
    checked = (whole_numbers(f"sizes[{i}]", pair) for i, pair in enumerate(pairs))
    return tuple((height, width) for height, width in checked)


def check_fixed(fixed: Any, kind: type[Any]) -> tuple[str, ...]:
    """Give the names of fields that are to stay as they are.

    Raises:
        ValueError: If they are no collection of names of a kind of configuration.
    """
    allowed = [f.name for f in fields(kind)]
    if isinstance(fixed, str) or not isinstance(fixed, Iterable):
        raise ValueError(f"fixed={fixed!r} is not allowed: give a list of {', '.join(allowed)}")
    names = tuple(fixed)
    unknown = [str(name) for name in names if name not in allowed]
    if unknown:
        raise ValueError(f"fixed names {', '.join(unknown)}: give some of {', '.join(allowed)}")
    return names


def check_budget(budget_macs: Any) -> None:
    """Raise a ValueError unless a budget of multiply-adds is a number above 0."""
    number_between("budget_macs", budget_macs, 0.0, float("inf"), "low")


def number_between(name: str, value: Any, low: float, high: float, is_open: str) -> float:
    """Give `value`, of any real type, as a number in a half-open interval.

    Args:
        name: What the message calls it.
        value: The number.
        low: Lower end.
        high: Upper end.
        is_open: The end that is excluded, "low" or "high".
    Raises:
        ValueError: If it is no number there.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    excluded = low if is_open == "low" else high
    if not is_number or not low <= value <= high or value == excluded:
        interval = f"{'(' if is_open == 'low' else '['}{low:g}, {high:g}{')' if is_open == 'high' else ']'}"
        raise ValueError(f"{name}={value!r} is not allowed: give a number in {interval}")
    return value if isinstance(value, int) else float(value)


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise a ValueError unless `value` is one of `allowed`."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{name}={value!r} is not allowed: give one of {', '.join(names)}")
