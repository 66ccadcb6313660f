"""Reading what torch and others write with pickle, without running anything of it.

A pickle is a program: it names functions and classes, and has them called. Here each name gives an empty
class of its own (`Inert`) that takes arguments, state and content, and does nothing with them. No object of
Python or torch is ever looked up, so that there is nothing to call; tensors are put together afterwards from
what was noted. Names of the standard library that no checkpoint needs are refused: such a file wants to run
code.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

_DATA_CLASSES: dict[str, set[str]] = {
    "_codecs": {"encode"},
    "argparse": {"Namespace"},
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"),
        *("range", "set", "slice", "str", "tuple", "type"),
    },
    "collections": {"ChainMap", "Counter", "OrderedDict", "UserDict", "UserList", "defaultdict", "deque"},
    "copyreg": {"__newobj__", "_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "functools": {"partial"},
    "logging": {"Logger", "getLogger"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID"},
}
"""Module of the standard library -> names of it that training code writes beside weights."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First value in torch's files of before 1.6, which are no zip archives."""

_STORAGE_DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}

_NUMPY_DTYPES: dict[str, torch.dtype] = {
    **{"f8": torch.float64, "f4": torch.float32, "f2": torch.float16, "u1": torch.uint8, "b1": torch.bool},
    **{"i8": torch.int64, "i4": torch.int32, "i2": torch.int16, "i1": torch.int8},
}


class CodeFound(pickle.UnpicklingError):
    """A pickle names something of the standard library that is no plain data."""


class Inert:
    """Stands for an object of the file: what it was to be made of, and nothing that acts."""

    path: ClassVar[str] = ""
    """Module and name that the file gives."""
    args: tuple[Any, ...]
    state: Any
    entries: dict[Any, Any]

    def __new__(cls, *args: Any, **_: Any) -> Inert:
        """Note the arguments."""
        self = object.__new__(cls)
        self.args, self.state, self.entries = args, None, {}
        return self

    def __call__(self, *args: Any, **_: Any) -> Inert:
        """Stand for what a call of it would give."""
        return Inert(*args)

    def __setstate__(self, state: Any) -> None:
        """Note the state."""
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Note an entry, as of a subclass of dict."""
        self.entries[key] = value

    def append(self, _: Any) -> None:
        """Drop an element: no weights lie in subclasses of list or set."""

    add = append


@dataclass
class Storage:
    """Values of tensors in a file, read when they are asked for."""

    dtype: torch.dtype
    numel: int
    read: Callable[[], bytes]


class _InertUnpickler(pickle.Unpickler):
    """Unpickler that knows no object but those of Python's syntax, and `Inert`."""

    def __init__(self, file: IO[bytes], read: Callable[[str], bytes]) -> None:
        super().__init__(file, encoding="latin1")  # latin1: Python 2 wrote bytes for text
        self._read = read
        self._classes: dict[str, type[Inert]] = {}
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> type[Inert]:
        """Give the empty class of a name.

        Raises:
            CodeFound: If no checkpoint needs the name.
        """
        # Protocols up to 2 have the names of Python 2.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        module = "pathlib" if module == "pathlib._local" else module  # as Python 3.13 writes it
        path = f"{module}.{name}"
        is_standard = module.split(".")[0] in sys.stdlib_module_names
        if is_standard and name not in _DATA_CLASSES.get(module, ()):
            raise CodeFound(path)
        return self._classes.setdefault(path, type("Inert", (Inert,), {"path": path}))

    def persistent_load(self, pid: Any) -> Any:
        """Give the values that torch keeps beside the pickle."""
        kind, what, *rest = pid
        if kind == "module":  # of files that hold a whole module with its source
            return what
        key, numel = str(rest[0]), int(rest[2])
        dtype = _STORAGE_DTYPES[what.path.rpartition(".")[2]]
        return self.storages.setdefault(key, Storage(dtype, numel, lambda: self._read(key)))


def read_pickle(path: Path) -> Any:
    """Read a pickle, or a file of `torch.save`, as plain containers, numbers, texts and `Inert` objects.

    Tensors are `Inert` as well (see `tensor_of`), and are not read before they are asked for.

    Raises:
        CodeFound: If the file names what could run code.
        Exception: Of any type, if it is damaged.
    """
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    with path.open("rb") as file:
        first = _unpickle(file)
        if first != _LEGACY_MAGIC:
            return first
        return _read_legacy(file)


def tensor_of(value: Any) -> Tensor | None:
    """Put a tensor together from what a file says of it; None if it is no tensor or array.

    Raises:
        Exception: Of any type, if the file is damaged.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if not isinstance(value, Inert):
        return None
    name = value.path.rpartition(".")[2]
    if value.path.startswith("torch.") and name == "_rebuild_from_type_v2":  # tensors with attributes
        return tensor_of(value.args[0](*value.args[2]))
    if value.path.startswith("torch.") and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return tensor_of(value.args[0])
    if value.path in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        storage, offset, size, stride = value.args[:4]
        return _values(storage).as_strided(size, stride, offset)
    if value.path == "torch._utils._rebuild_tensor_v3":
        storage, offset, size, stride, *_, dtype = value.args[:7]
        typed = getattr(torch, dtype.path.rpartition(".")[2])
        return _values(storage).view(typed).as_strided(size, stride, offset)
    return _array(value, name) if value.path.startswith("numpy.") else None


def entries_of(value: Any) -> Mapping[Any, Any] | None:
    """Give the entries of a dict, of what stands for one, or of a whole pickled module; None of others."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, Inert):
        return None
    if isinstance(value.state, dict) and {"_parameters", "_modules"} <= value.state.keys():
        return _module_entries(value.state, "")
    return value.entries or None


def _unpickle(file: IO[bytes], read: Callable[[str], bytes] | None = None) -> Any:
    return _InertUnpickler(file, read or _no_storage).load()


def _no_storage(key: str) -> bytes:
    raise EOFError(f"values {key} are not in the file")


def _read_zip(path: Path) -> Any:
    archive = zipfile.ZipFile(path)  # stays open for the values that are still to be read
    names = archive.namelist()
    root = next(name for name in names if name.endswith("data.pkl")).removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        raise CodeFound("a TorchScript program")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != sys.byteorder.encode():
        raise ValueError("written on a machine of the other byte order")
    return _unpickle(
        io.BytesIO(archive.read(f"{root}data.pkl")), lambda key: archive.read(f"{root}data/{key}")
    )


def _read_legacy(file: IO[bytes]) -> Any:
    """Read torch's older form: version, machine, content, keys of the storages, then their values."""
    values: dict[str, bytes] = {}
    for _ in ("version", "machine"):
        _unpickle(file)
    unpickler = _InertUnpickler(file, values.__getitem__)
    content = unpickler.load()
    for key in _unpickle(file):
        numel = int.from_bytes(file.read(8), sys.byteorder)
        storage = unpickler.storages[str(key)]
        values[str(key)] = file.read(numel * storage.dtype.itemsize)
    return content


def _values(storage: Storage) -> Tensor:
    data = bytearray(storage.read())
    if len(data) < storage.numel * storage.dtype.itemsize:
        raise EOFError("values are cut off")
    return torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)


def _array(value: Inert, name: str) -> Tensor | None:
    """Put an array of numpy together, as Detectron2's files hold them."""
    if name == "_frombuffer":  # protocol 5
        buffer, dtype, shape, order = value.args
    elif name == "_reconstruct" and value.state is not None:
        _, shape, dtype, is_fortran, buffer = value.state
        order = "F" if is_fortran else "C"
    else:
        return None
    if isinstance(buffer, Inert):  # of protocols below 3: `_codecs.encode(text, "latin1")`, or `bytes()`
        buffer = "".join(buffer.args[:1]).encode("latin1")
    kind = _NUMPY_DTYPES.get(dtype.args[0].lstrip("<|="))
    is_swapped = isinstance(dtype.state, tuple) and dtype.state[1] == ">"
    if kind is None or is_swapped or not isinstance(buffer, (bytes, bytearray)):
        return None
    flat = torch.frombuffer(bytearray(buffer), dtype=kind) if buffer else torch.empty(0, dtype=kind)
    if order == "F":
        return flat.reshape(tuple(reversed(shape))).permute(*reversed(range(len(shape))))
    return flat.reshape(shape)


def _module_entries(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Name the values of a pickled `nn.Module` as its state dict would; what is None has none."""
    left_out = state.get("_non_persistent_buffers_set", ())
    names = next(iter(left_out.args), ()) if isinstance(left_out, Inert) else left_out  # `set([...])`
    found: dict[str, Any] = {}
    for kind in ("_parameters", "_buffers"):
        own = entries_of(state.get(kind)) or {}
        found |= {f"{prefix}{k}": v for k, v in own.items() if v is not None and k not in names}
    for key, module in (entries_of(state["_modules"]) or {}).items():
        if isinstance(module, Inert) and isinstance(module.state, dict) and "_modules" in module.state:
            found |= _module_entries(module.state, f"{prefix}{key}.")
    return found
