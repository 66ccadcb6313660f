"""Pickles are read without anything of them being run."""

from __future__ import annotations

import argparse
import copyreg
import datetime
import enum
import functools
import io
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mscsa.checkpoints.pickles import CodeFound, entries_of, read_pickle, tensor_of
from tests.refusals import Malicious


class Colour(enum.Enum):
    RED = 1


class History(dict):  # type: ignore[type-arg]
    """A class of training code that the reader knows nothing of."""

    ran: list[str] = []

    def __init__(self) -> None:
        super().__init__()
        self.ran.append("init")

    def __setstate__(self, state: Any) -> None:
        self.ran.append("setstate")


def saved(content: Any, path: Path, how: str) -> Path:
    """Write as torch of today, as torch before 1.6, or as a plain pickle of a protocol."""
    if how in ("zip", "legacy"):
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    elif how == "zip protocol 5":
        torch.save(content, path, pickle_protocol=5)
    else:
        path.write_bytes(pickle.dumps(content, protocol=int(how)))
    return path


@pytest.mark.parametrize("how", ["zip", "zip protocol 5", "legacy"])
def test_tensors_of_every_kind_are_exact(tmp_path: Path, how: str) -> None:
    base = torch.rand(4, 6)
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    state = {str(kind): torch.rand(3, 5).mul(9).to(kind) for kind in kinds}
    state |= {
        "transposed": base.t(),
        "row": base[2],
        "column": base[:, 3],
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "parameter": nn.Parameter(torch.rand(2)),
        "complex": torch.rand(2, dtype=torch.complex64),
    }
    read = read_pickle(saved(state, tmp_path / "w", how))
    for key, value in state.items():
        found = tensor_of(read[key])
        assert found is not None and found.dtype == value.dtype and not found.requires_grad, key
        assert torch.equal(found, value.detach()), key


def test_tensors_of_untyped_storages_are_exact(tmp_path: Path) -> None:
    value = torch.rand(3, 4).to(torch.float8_e4m3fn)
    torch.save({"a": value}, tmp_path / "w")
    found = tensor_of(read_pickle(tmp_path / "w")["a"])
    assert found is not None and found.dtype == value.dtype and torch.equal(found.float(), value.float())


@pytest.mark.parametrize("how", ["2", "3", "4", "5"])
def test_arrays_of_numpy_become_tensors(tmp_path: Path, how: str) -> None:
    arrays = {
        "f4": np.arange(12, dtype=np.float32).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        "i8": np.array([[1], [-2]]),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 2), dtype=np.float32),
    }
    read = read_pickle(saved(arrays, tmp_path / "w", how))
    for key, array in arrays.items():
        found = tensor_of(read[key])
        assert found is not None and torch.equal(found, torch.from_numpy(np.ascontiguousarray(array))), key
    others = {"swapped": np.arange(3, dtype=">f4"), "objects": np.array([None]), "text": np.array(["a"])}
    read = read_pickle(saved(others, tmp_path / "w", how))
    assert all(tensor_of(read[key]) is None for key in others)


@pytest.mark.parametrize("how", ["zip", "zip protocol 5", "legacy"])
def test_objects_beside_the_weights_are_passed_over(tmp_path: Path, how: str) -> None:
    weight = torch.rand(2)
    content = {
        "weight": weight,
        "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a/b")),
        "score": np.float64(0.3),
        "history": History(),
        "colour": Colour.RED,
        "when": datetime.datetime(2026, 1, 1),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
        "schedule": functools.partial(dict, a=1),
        "counts": defaultdict(list, {"a": [1]}),
        "set": {1, 2},
        "random": np.random.get_state(),
        "generator": np.random.RandomState(0),
    }
    History.ran.clear()
    read = read_pickle(saved(content, tmp_path / "w", how))
    assert read.keys() == content.keys()
    found = tensor_of(read["weight"])
    assert found is not None and torch.equal(found, weight)
    assert not History.ran  # nothing of its class was called


def test_whole_pickled_modules_give_their_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.Linear(2, 2, bias=False)))
    model[1].register_buffer("temporary", torch.zeros(1), persistent=False)
    torch.save(model, tmp_path / "w")
    entries = entries_of(read_pickle(tmp_path / "w"))
    assert entries is not None
    found = {key: tensor_of(value) for key, value in entries.items()}
    assert found.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        other = found[key]
        assert isinstance(other, Tensor) and torch.equal(other, value)


def test_ordered_dicts_and_their_like_have_entries(tmp_path: Path) -> None:
    for content in (OrderedDict(a=1), defaultdict(int, a=1), {"a": 1}):
        entries = entries_of(read_pickle(saved(content, tmp_path / "w", "zip")))
        assert entries is not None and dict(entries) == {"a": 1}
    assert entries_of(read_pickle(saved([1], tmp_path / "w", "zip"))) is None


class Reduced:
    """Pickles as any call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


CALLS = {
    "os.system": (os.system, ("touch trace",)),
    "eval": (eval, ("open('trace', 'w')",)),
    "exec": (exec, ("open('trace', 'w')",)),
    "open": (open, ("trace", "w")),
    "getattr": (getattr, ("a", "upper")),
    "subprocess.Popen": (subprocess.Popen, (["touch", "trace"],)),
    "__import__": (__import__, ("os",)),
    "pickle.loads": (pickle.loads, (pickle.dumps(1),)),
    "commands": (subprocess.getoutput, ("touch trace",)),
    "io.open_code": (io.open_code, ("trace",)),
    "copyreg.add_extension": (copyreg.add_extension, ("os", "mkdir", 240)),
}


@pytest.mark.parametrize("how", ["zip", "zip protocol 5", "legacy", "2", "4"])
@pytest.mark.parametrize("call", CALLS)
def test_calls_of_the_standard_library_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {
        "weight": torch.zeros(2) if "zip" in how else 0,
        "args": argparse.Namespace(),
        "x": Reduced(*CALLS[call]),
    }
    with pytest.raises(CodeFound):
        read_pickle(saved(content, tmp_path / "w", how))
    assert not (tmp_path / "trace").exists()


def test_calls_of_other_packages_are_not_run(tmp_path: Path) -> None:
    """What is not the standard library's may be any training code's class; it is noted, never looked up."""
    trace = tmp_path / "trace"
    source = f"import os; os.mkdir({str(trace)!r})"
    import numpy.testing

    content = {"weight": torch.zeros(2), "x": Reduced(numpy.testing.rundocs, (source,))}
    read = read_pickle(saved(content, tmp_path / "w", "zip"))
    assert tensor_of(read["weight"]) is not None and tensor_of(read["x"]) is None
    missing = pickle.dumps(History(), protocol=2).replace(b"History", b"NoSuchX")
    (tmp_path / "v").write_bytes(missing)
    read_pickle(tmp_path / "v")
    assert not trace.exists()


def test_the_malicious_pickle_would_work(tmp_path: Path) -> None:
    """The tests of refusals can fail: plain unpickling does run it."""
    pickle.loads(pickle.dumps(Malicious(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


def test_a_pickle_cannot_reach_into_the_program(tmp_path: Path) -> None:
    """State may be set on anything that a pickle names; the real classes are not among it."""
    opcodes = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__code__K\x01s\x86b."
    (tmp_path / "w").write_bytes(opcodes)
    before = torch._utils._rebuild_tensor_v2.__code__  # type: ignore[attr-defined]
    with pytest.raises(Exception):  # noqa: B017  whatever the unpickler says of it
        read_pickle(tmp_path / "w")
    assert torch._utils._rebuild_tensor_v2.__code__ is before  # type: ignore[attr-defined]


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}))
        archive.writestr("m/constants.pkl", pickle.dumps(()))
    with pytest.raises(CodeFound, match="TorchScript"):
        read_pickle(tmp_path / "w")


def test_values_beyond_their_storage_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10)}, tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "w") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    cut = {name: data[:20] if name.endswith("data/0") else data for name, data in entries.items()}
    with zipfile.ZipFile(tmp_path / "v", "w") as archive:
        for name, data in cut.items():
            archive.writestr(name, data)
    content = read_pickle(tmp_path / "v")
    with pytest.raises(EOFError, match="cut off"):
        tensor_of(content["a"])


def test_another_byte_order_is_refused(tmp_path: Path) -> None:
    other = {"little": "big", "big": "little"}[sys.byteorder]
    torch.save({"a": torch.zeros(10)}, tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "w") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "v", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, other.encode() if name.endswith("byteorder") else data)
    with pytest.raises(ValueError, match="byte order"):
        read_pickle(tmp_path / "v")
