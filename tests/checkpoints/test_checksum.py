"""A flipped bit in a file of weights is seen."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from mscsa.checkpoints.addon import backbone_hash
from mscsa.checkpoints.checksum import checksum, hash_tensors, with_checksum, without_checksum
from mscsa.checkpoints.parts import BACKBONE
from mscsa.checkpoints.reading import read_state_dict
from mscsa.checkpoints.saving import save_weights
from mscsa.errors import UserError
from tests.refusals import one_line_error


def test_it_depends_on_names_types_shapes_values_and_what_is_said() -> None:
    value = torch.arange(6.0)
    known = checksum({"a": value}, {"said": "x"})
    assert known == checksum({"a": value.clone()}, {"said": "x"})
    others = [
        checksum({"b": value}, {"said": "x"}),
        checksum({"a": value.reshape(2, 3)}, {"said": "x"}),
        checksum({"a": value.view(torch.int32)}, {"said": "x"}),
        checksum({"a": value + 1e-6}, {"said": "x"}),
        checksum({"a": value}, {"said": "y"}),
        checksum({"a": value}, {}),
    ]
    assert len({known, *others}) == 7


def test_all_types_of_weights_have_one(tmp_path: Path) -> None:
    state = {
        "half": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True]),
        "count": torch.tensor(3),
        "nothing": torch.empty(0, 2),
        "turned": torch.arange(6.0).reshape(2, 3).T,
    }
    save_weights(state, tmp_path / "w.safetensors")
    read, said = read_state_dict(tmp_path / "w.safetensors")
    assert all(torch.equal(read[key], value) for key, value in state.items()) and said == {}


def test_files_of_others_have_none() -> None:
    value = {"a": torch.ones(2)}
    assert without_checksum(value, {"format": "pt"}) == {"format": "pt"}
    said = with_checksum(value, {"format": "pt"})
    assert without_checksum(value, said) == {"format": "pt"}
    assert without_checksum({"a": torch.zeros(2)}, said) is None
    misnamed = {"sha257" if key == "sha256" else key: text for key, text in said.items()}
    assert without_checksum(value, misnamed) is None


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Linear(40, 5), path, {"model": '{"name": "resnet10t"}'})
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            read_state_dict(path)
        except UserError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            raise AssertionError("a flipped bit was not seen")
    path.write_bytes(whole)
    read_state_dict(path)


def test_a_damaged_value_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Linear(4, 5), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    one_line_error(
        lambda: read_state_dict(path), "does not agree with its checksum; copy it again, or take another"
    )


def test_hashes_of_files_that_are_written_stay_what_they_are() -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(7), "c": torch.arange(4).bfloat16()}
    tensors["e"] = torch.empty(0, 3)
    assert checksum(tensors, {"said": "x"}) == (
        "6155042c044ec6da48cbb8175a5edb8004ef14eeea44412a8ded9259fadd8165"
    )
    in_a_backbone: Any = SimpleNamespace(
        prefixes={BACKBONE: "backbone."},
        own={f"backbone.{name}": value for name, value in tensors.items()},
        keys=lambda part: [f"backbone.{name}" for name in tensors],
    )
    assert backbone_hash(in_a_backbone) == "0bc40eb16f392bb1bdaf07a72e443909126184f0072db90462c0df868f5b28e6"


def test_only_what_is_said_counts_beside_the_values() -> None:
    one, other = torch.zeros(2), torch.zeros(2, 1)
    assert hash_tensors([("x", one)], lambda name, _: name) == hash_tensors(
        [("x", other)], lambda name, _: name
    )
    assert hash_tensors([("x", one)], lambda name, _: name) != hash_tensors(
        [("x", one)], lambda name, _: name, first="layers"
    )
