"""Observe a model from outside: outputs of its submodules, its MACs, its gradients."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from timm.layers import set_fused_attn, use_fused_attn
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.golden import SIZES, Golden, compare, golden_input


def record(model: nn.Module, names: Iterable[str], image: Tensor) -> dict[str, object]:
    """Run the model on an image; return the output of each named submodule, of the model by ""."""
    outputs: dict[str, object] = {}

    def keep(name):
        def hook(module, args, output):
            outputs[name] = output

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        outputs[""] = model(image)
    for handle in handles:
        handle.remove()
    return outputs


@contextmanager
def explicit_attention() -> Iterator[None]:
    """Build models in here with attention as two matrix products, which can be counted."""
    fused = use_fused_attn()
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(fused)


def count_macs(model: nn.Module, height: int = 224, width: int = 224) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image."""
    image = torch.empty(1, 3, height, width, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    return counter.get_total_flops() // 2


def count_parameters(model: nn.Module) -> int:
    """Count the parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def assert_agrees(
    model: nn.Module, golden: Golden, tag: str, dtype: torch.dtype, inner: dict[str, str]
) -> None:
    """Hold a row of four stages, weights loaded, to all features of a golden file at one size.

    `inner` names the modules, in (B, H, W, C), of the features that are neither a stage's nor the logits.
    """
    stages = {f"stage{i + 1}": f"stages.{i}" for i in range(4)}
    assert set(golden.features(tag)) == {*inner, *stages, "logits"}
    image = golden_input(*SIZES[tag]).to(dtype)
    outputs = record(model.to(dtype), [*inner.values(), *stages.values()], image)
    for feature, module_name in inner.items():
        compare(golden, tag, feature, outputs[module_name].permute(0, 3, 1, 2), dtype)
    for feature, module_name in stages.items():
        compare(golden, tag, feature, outputs[module_name], dtype)
    compare(golden, tag, "logits", outputs[""], dtype)
