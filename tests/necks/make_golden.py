"""Write the golden outputs of BiFPN and PAFPN from public implementations of them.

Run by hand, in an environment that also has these two packages (both Apache-2.0):

* effdet 0.4.1 (Ross Wightman), `effdet.efficientdet.BiFpn`, with its dependencies;
* mmdet 3.3.0 (OpenMMLab), unpacked to a folder that is not on the path. Its `models/necks/pafpn.py` is
  loaded alone; of MMCV and MMEngine it needs a base module, a registry and a convolution with a norm, which
  stand here.

    python -m tests.necks.make_golden FOLDER_OF_MMDET

Weights, inputs and outputs are kept under our own names. The reference runs in float64 on float32 weights and
inputs; outputs are rounded to float32.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.necks.golden_cases import CASES, GOLDEN, WIDTH, Case


def fill(module: nn.Module) -> nn.Module:
    """Draw all weights and statistics so that none is neutral, as float32 values; eval mode, float64."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif name.endswith("edge_weights"):
                value.copy_(noise + 0.5)  # some are below 0
            elif value.ndim == 1:
                value.copy_(0.3 * noise + (1.0 if name.endswith("bn.weight") else 0.0))
            elif value.ndim > 1:
                value.copy_(noise / math.sqrt(value[0].numel()))
    return module.double().eval()


def effdet_bifpn(case: Case) -> tuple[nn.Module, dict[str, str]]:
    """Build effdet's BiFPN; give it with the names of its tensors here: theirs -> ours."""
    from effdet.config import get_efficientdet_config
    from effdet.efficientdet import BiFpn

    config: Any = get_efficientdet_config("efficientdet_d0")
    config.min_level = int(math.log2(case.strides[0]))
    config.num_levels = len(case.channels)
    config.max_level = config.min_level + config.num_levels - 1
    config.image_size = case.image_size
    config.fpn_channels = WIDTH
    config.fpn_cell_repeats = case.depth
    pairs = zip(case.channels, case.strides, strict=True)
    module = BiFpn(config, [dict(num_chs=channels, reduction=stride) for channels, stride in pairs])
    levels = len(case.channels)
    # Its nodes: down to the finest level, then up again.
    nodes = [f"top_down.{i}" for i in reversed(range(levels - 1))] + [
        f"bottom_up.{i}" for i in range(1, levels)
    ]
    names = {}
    for theirs in module.state_dict():
        _, layer, _, node, *rest = theirs.split(".")
        inputs = list(module.cell[int(layer)].fnode[int(node)].combine.resample)
        names[theirs] = f"layers.{layer}.{nodes[int(node)]}.{_name_in_node(rest, inputs)}"
    return module, names


def _name_in_node(rest: list[str], inputs: list[str]) -> str:
    if rest[-1] == "edge_weights":
        return "weights"
    if rest[0] == "combine":  # combine.resample.INPUT.conv.{conv,bn}.NAME
        return f"projections.{inputs.index(rest[2])}.{'0' if rest[4] == 'conv' else '1'}.{rest[5]}"
    return ".".join([{"conv_dw": "depthwise", "conv_pw": "pointwise", "bn": "norm"}[rest[2]], *rest[3:]])


class ConvModule(nn.Module):
    """MMCV's convolution with a norm, as far as FPNs use it: no activation; a bias if there is no norm."""

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, padding: int = 0, **options: Any
    ) -> None:
        super().__init__()
        assert options.get("conv_cfg") is None and options.get("act_cfg") is None
        norm = options.get("norm_cfg")
        self.conv = nn.Conv2d(c_in, c_out, kernel_size, stride, padding, bias=norm is None)
        self.bn = nn.Identity() if norm is None else nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class BaseModule(nn.Module):
    """MMEngine's base module, which keeps how it starts."""

    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__()


def load_mmdet_pafpn(folder: Path) -> type[nn.Module]:
    """Load the class from MMDetection's file, with the few names it takes from MMCV and MMEngine."""
    registry = types.SimpleNamespace(register_module=lambda: lambda kind: kind)
    stubs: dict[str, dict[str, Any]] = {
        "mmcv": {},
        "mmcv.cnn": {"ConvModule": ConvModule},
        "mmengine": {},
        "mmengine.model": {"BaseModule": BaseModule},
        "mmdet": {},
        "mmdet.registry": {"MODELS": registry},
        "mmdet.utils": {"ConfigType": Any, "MultiConfig": Any, "OptConfigType": Any},
        "mmdet.models": {},
        "mmdet.models.necks": {"__path__": []},
    }
    for name, members in stubs.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)
    for file in ("fpn", "pafpn"):
        name = f"mmdet.models.necks.{file}"
        spec = importlib.util.spec_from_file_location(name, folder / f"mmdet/models/necks/{file}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules["mmdet.models.necks.pafpn"].PAFPN


def mmdet_pafpn(folder: Path, case: Case) -> tuple[nn.Module, dict[str, str]]:
    """Build MMDetection's PAFPN; give it with the names of its tensors here: theirs -> ours."""
    norm = {"type": "BN"} if case.norm == "bn" else None
    module = load_mmdet_pafpn(folder)(list(case.channels), WIDTH, len(case.channels), norm_cfg=norm)
    # Ours count levels; their second path begins at level 1.
    places = {
        "lateral_convs": ("fpn.inner_blocks", 0),
        "fpn_convs": ("fpn.layer_blocks", 0),
        "downsample_convs": ("downsamples", 1),
        "pafpn_convs": ("outputs", 1),
    }
    names = {}
    for theirs in module.state_dict():
        block, index, part, tensor = theirs.split(".")
        ours, first = places[block]
        names[theirs] = f"{ours}.{int(index) + first}.{'0' if part == 'conv' else '1'}.{tensor}"
    return module, names


def record(case: Case, module: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Run a reference; give weights, inputs and outputs for the file."""
    module = fill(module)
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(shape, generator=generator) for shape in case.shapes]
    with torch.no_grad():
        outputs = module([x.double() for x in maps])
    values = {f"weights.{names[name]}": value for name, value in module.state_dict().items()}
    values |= {f"inputs.{i}": x for i, x in enumerate(maps)}
    values |= {f"outputs.{i}": x for i, x in enumerate(outputs)}
    return {
        f"{case.name}/{name}": (value.float() if value.is_floating_point() else value).contiguous()
        for name, value in values.items()
    }


def main() -> None:
    """Write both files."""
    folder = Path(sys.argv[1])
    for neck, reference in (("bifpn", "effdet 0.4.1"), ("pafpn", "mmdet 3.3.0")):
        content: dict[str, Tensor] = {}
        for case in CASES[neck]:
            built = effdet_bifpn(case) if neck == "bifpn" else mmdet_pafpn(folder, case)
            content |= record(case, *built)
        save_file(
            content, GOLDEN / f"{neck}.safetensors", {"reference": reference, "torch": torch.__version__}
        )


if __name__ == "__main__":
    main()
