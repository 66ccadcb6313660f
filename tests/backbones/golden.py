"""Outputs of the official backbones, and the recipe of the parameters that produced them.

Each `golden/NAME.npz` holds what the official code computed on CPU in eval mode, with parameters
drawn by `value_for` from the official state-dict keys and `golden_input` as the image; the commit
is in `Golden.meta["source"]`. A feature is stored as its shape, its moments and 64 samples.

A reimplementation that loads the same state dict must agree to `TOLERANCE` of the feature's
largest value. The tolerances are tight enough to show a LayerNorm eps of 1e-5 in place of 1e-6.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN_DIR = Path(__file__).parent / "golden"
SIZES = {"224x224": (224, 224), "160x224": (160, 224)}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


def value_for(key: str, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """Draw the value of one state-dict entry from its name; float32 (int64 for counters)."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    shape = tuple(shape)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(("running_mean", ".bias")):
        value = rng.standard_normal(shape) * 0.1
    elif key.endswith(".weight") and len(shape) == 1:
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(".weight"):
        value = rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    else:
        value = rng.standard_normal(shape) * 0.02
    return value.astype(np.float32)


def golden_input(height: int, width: int) -> Tensor:
    """Draw the one image all golden outputs belong to: float32 (1, 3, height, width)."""
    image = np.random.default_rng(0).standard_normal((1, 3, height, width))
    return torch.from_numpy(image.astype(np.float32))


def fill(model: nn.Module) -> nn.Module:
    """Give every parameter and buffer of any model a value by the same recipe; return the model."""
    for key, value in model.state_dict().items():
        value.copy_(torch.from_numpy(np.asarray(value_for(key, tuple(value.shape)))))
    return model


@dataclass(frozen=True)
class Golden:
    """One golden file."""

    meta: dict
    """name, source, params, float_buffers, macs_224 (convolutions and matrix products)."""
    keys: list[tuple[str, tuple[int, ...]]]
    """Official state-dict keys and shapes, in the official order."""
    arrays: dict[str, np.ndarray]
    """The rest of the file, by its own names."""

    def state_dict(self) -> dict[str, Tensor]:
        """Build the official checkpoint that the outputs were computed with."""
        return {k: torch.from_numpy(np.asarray(value_for(k, shape))) for k, shape in self.keys}

    def features(self, tag: str) -> dict[str, dict]:
        """Describe the features of an input size: name -> shape, mean, std, absmax, row."""
        listed = json.loads(str(self.arrays[f"{tag}/features"]))
        return {item["name"]: item | {"row": row} for row, item in enumerate(listed)}


def load_golden(name: str) -> Golden:
    """Read `golden/NAME.npz`."""
    with np.load(GOLDEN_DIR / f"{name}.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    keys = [(key, tuple(shape)) for key, shape in json.loads(str(arrays.pop("keys")))]
    return Golden(json.loads(str(arrays.pop("meta"))), keys, arrays)


def compare(golden: Golden, tag: str, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Fail unless `tensor` is feature `name` of `golden` at size `tag`, to the dtype's tolerance.

    float64 outputs are held against the official float64 run, float32 ones against the float32
    run, samples and moments alike. Logits are compared in full.
    """
    feature = golden.features(tag)[name]
    assert tensor.dtype == dtype
    assert list(tensor.shape) == feature["shape"], f"{name}: {list(tensor.shape)}"
    suffix, numpy_dtype = ("64", np.float64) if dtype == torch.float64 else ("", np.float32)
    flat = tensor.detach().contiguous().flatten().numpy()
    if name == "logits":
        expected, got = golden.arrays[f"{tag}/logits{suffix}"].ravel(), flat
    else:
        expected = golden.arrays[f"{tag}/val{suffix}"][feature["row"]]
        got = flat[golden.arrays[f"{tag}/idx"][feature["row"]]]
    assert expected.dtype == numpy_dtype
    error = float(np.abs(got - expected).max()) / feature["absmax"]
    assert error < TOLERANCE[dtype], f"{golden.meta['name']} {tag} {name}: relative error {error}"
    wide = flat.astype(np.float64)
    # The moments were taken over the float32 output, whatever the precision compared here.
    for moment, value in (("mean", wide.mean()), ("std", wide.std()), ("absmax", abs(wide).max())):
        error = abs(float(value) - feature[moment]) / feature["absmax"]
        assert error < TOLERANCE[torch.float32], f"{name} {moment}: relative error {error}"
