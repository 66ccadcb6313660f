"""What every neck of the table must do: one signature, and what torch does to any module."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mscsa.attention.fusion import MSCSANeck
from mscsa.neck_table import NECKS
from mscsa.necks.build import build_neck, load_neck, neck_config
from tests.attention.weights import images
from tests.necks.pyramids import CHANNELS, SMALL, STRIDES, largest_error, maps_of, sizes_at, small_neck

every_neck = pytest.mark.parametrize("name", NECKS)
every_other_neck = pytest.mark.parametrize("name", [name for name in NECKS if name != "mscsa"])
"""Whose graphs are not tested in `tests/attention/test_contract.py`."""
ODD = sizes_at((97, 131))

WITHOUT_GRADIENT = r"squeezes\.\d+\.1\.bias|to_k\.bn\.bias|(proj\.1|fc2)\.bn\.bias"
"""Norms cancel the biases of squeezes and of what TopFormer's blocks add to its tokens; the softmax one that
all keys share."""


def loss_of(outputs: list[Tensor]) -> Tensor:
    return sum(((x * images(tuple(x.shape), i).to(x)).mean() for i, x in enumerate(outputs)), torch.zeros(()))


def assert_same(ours: list[Tensor], expected: list[Tensor]) -> None:
    assert largest_error(ours, expected) < 1e-12


@every_neck
def test_the_signature_is_that_of_mscsa(name: str) -> None:
    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    kind: Any = load_neck(name).build
    assert shape(kind.__init__) == shape(MSCSANeck.__init__)
    assert shape(kind.forward) == shape(MSCSANeck.forward)


@every_neck
@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("size", "rounds_down"), [((128, 192), False), ((97, 131), False), ((250, 333), True)]
)
def test_any_number_of_levels_and_any_sizes(
    name: str, levels: int, size: tuple[int, int], rounds_down: bool
) -> None:
    neck = small_neck(name, levels)
    sizes = sizes_at(size, levels, rounds_down=rounds_down)
    outputs = neck(maps_of(sizes))
    assert isinstance(outputs, list)
    assert [tuple(x.shape) for x in outputs] == [
        (2, c, *s) for c, s in zip(neck.out_channels, sizes, strict=True)
    ]
    width = SMALL[name].get("channels")
    assert neck.out_channels == (CHANNELS[:levels] if NECKS[name].keeps_channels else (width,) * levels)


@every_neck
def test_levels_of_other_strides(name: str) -> None:
    """Three levels, the first two of one stride, then a jump of 4."""
    neck = build_neck(name, [4, 6, 8], [8, 8, 32], SMALL[name]).double().eval()
    maps = [images((1, c, *s), c) for c, s in zip((4, 6, 8), ((25, 17), (25, 17), (7, 5)), strict=True)]
    assert [x.shape[2:] for x in neck(maps)] == [x.shape[2:] for x in maps]
    assert all(torch.isfinite(x).all() for x in neck(maps))


@every_neck
@pytest.mark.parametrize("out_levels", [[0], [3], [3, 1], [1, 2], [2, 2]])
def test_only_what_the_asked_levels_need_is_built(name: str, out_levels: list[int]) -> None:
    full, part = small_neck(name), small_neck(name, out_levels=out_levels)
    given = full.state_dict()
    if name == "mscsa":  # its fusions are counted, not named by level
        for index, level in enumerate(out_levels):
            part.fusion[index].load_state_dict(full.fusion[level].state_dict())
        part.mscsa.load_state_dict(full.mscsa.state_dict())
    else:
        assert set(part.state_dict()) <= set(given)
        part.load_state_dict({key: given[key] for key in part.state_dict()})
    maps = maps_of(ODD)
    outputs = full(maps)
    assert_same(part(maps), [outputs[level] for level in out_levels])
    assert part.out_channels == tuple(full.out_channels[level] for level in out_levels)
    part.train()
    loss_of(part(maps)).backward()
    assert not [key for key, p in part.named_parameters() if p.grad is None]


@every_neck
def test_wrong_arguments_are_one_line(name: str) -> None:
    build = load_neck(name).build
    fields = "heads" if name == "mscsa" else "width"
    for arguments, options, message in (
        (([8], [4]), {}, "1 channel counts and 1 strides given"),
        (([8, 8], [4, 8, 16]), {}, "2 channel counts and 3 strides given"),
        (([8, 8], [8, 4]), {}, "are not a pyramid: give them finest first"),
        (([8, 0], [4, 32]), {}, "channels[1]=0 is not allowed: give a whole number >= 1"),
        ((8, [4, 32]), {}, "channels=8 is not allowed"),
        (([8, 8], [4, 32], 3), {}, "config=3 is not allowed: give "),
        (([8, 8], [4, 32], {fields: 3}), {}, f"config names {fields}, which "),
        (([8, 8], [4, 32]), {"out_levels": [2]}, "out_levels=[2] given: give indices between 0 and 1"),
        (([8, 8], [4, 32]), {"out_levels": []}, "out_levels=[] given: give indices between 0 and 1"),
        (([8, 8], [4, 32]), {"out_levels": [0.5]}, "out_levels=[0.5] given: give indices between 0 and 1"),
        (([8, 8], [4, 32]), {"out_levels": [True]}, "out_levels=[True] given: give indices"),
        (([8, 8], [4, 32]), {"out_levels": 1}, "out_levels=1 given: give indices between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            build(*arguments, **options)
        assert "\n" not in str(caught.value)


@every_neck
def test_wrong_maps_are_one_line(name: str) -> None:
    neck, maps = small_neck(name), maps_of(ODD)
    for wrong, message in (
        (maps[:3], "3 maps of shapes"),
        ([*maps, maps[-1]], "5 maps of shapes"),
        ([maps[0][0], *maps[1:]], "4 maps of shapes"),
        (maps[::-1], "maps with [16, 12, 8, 6] channels given, [6, 8, 12, 16] expected"),
        ([x.flip(1)[:, 1:] for x in maps], "channels given"),
        ([maps[0][:, :, :2], *maps[1:]], "give the stages finest first"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            neck(wrong)
        assert "\n" not in str(caught.value)


@every_neck
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda neck: pickle.loads(pickle.dumps(neck))])
def test_copies_are_whole_and_their_own(name: str, duplicate: Any) -> None:
    neck, maps = small_neck(name), maps_of(ODD)
    other = duplicate(neck)
    assert_same(other(maps), neck(maps))
    assert other.out_channels == neck.out_channels
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert all(p.any() for p in neck.parameters())


@every_neck
def test_a_state_dict_makes_another_the_same(name: str) -> None:
    neck, maps = small_neck(name), maps_of(ODD)
    other = build_neck(name, CHANNELS[:4], STRIDES[:4], neck_config(name, SMALL[name])).double().eval()
    assert not torch.equal(other(maps)[0], neck(maps)[0])
    other.load_state_dict(neck.state_dict())
    assert_same(other(maps), neck(maps))


@every_neck
def test_a_built_neck_is_set_by_the_seed(name: str) -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(build_neck(name, CHANNELS[:4], STRIDES[:4], SMALL[name]).state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@every_neck
def test_evaluation_is_deterministic_and_leaves_no_trace(name: str) -> None:
    neck, maps = small_neck(name), maps_of(ODD)
    before = {key: value.clone() for key, value in neck.state_dict().items()}
    given = [x.clone() for x in maps]
    first, second = neck(maps), neck(maps)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in neck.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(maps, given, strict=True))
    one = [x[:1] for x in maps]
    assert_same(neck(one), [x[:1] for x in first])


@every_neck
def test_every_parameter_and_map_has_a_gradient_in_two_backward_passes(name: str) -> None:
    neck = small_neck(name).train()
    maps = [x.requires_grad_() for x in maps_of(ODD)]
    loss = loss_of(neck(maps))
    loss.backward(retain_graph=True)
    once = {key: p.grad.clone() for key, p in neck.named_parameters() if p.grad is not None}
    assert set(once) == {key for key, _ in neck.named_parameters()}
    asked = [key for key in once if not re.search(WITHOUT_GRADIENT, key)]
    assert not [key for key in asked if not once[key].abs().max() > 1e-12]
    assert all(x.grad is not None and x.grad.abs().max() > 1e-12 for x in maps)
    loss.backward()
    for key, p in neck.named_parameters():
        torch.testing.assert_close(p.grad, 2 * once[key], rtol=1e-9, atol=1e-12, msg=key)


@every_neck
def test_the_start_trains(name: str) -> None:
    """As built, in float32, the loss falls in a few steps of a common optimiser."""
    torch.manual_seed(0)
    neck = build_neck(name, CHANNELS[:4], STRIDES[:4], SMALL[name]).train()
    maps = [x.float() for x in maps_of(sizes_at((128, 128)))]
    optimizer = torch.optim.AdamW(neck.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = loss_of(neck(maps))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3


@every_neck
def test_large_maps_stay_finite_in_half_precision(name: str) -> None:
    torch.manual_seed(0)
    neck = build_neck(name, CHANNELS[:4], STRIDES[:4], SMALL[name])
    maps = [300 * x.float() for x in maps_of(sizes_at((128, 128)))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.isfinite(x).all() for x in neck(maps))


@pytest.mark.slow
@every_other_neck
def test_it_compiles_to_one_graph_for_every_size(name: str) -> None:
    torch._dynamo.reset()
    neck = small_neck(name)
    compiled = torch.compile(neck, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for batch, size in enumerate([(290, 417), (250, 333)], start=2):
            maps = maps_of(sizes_at(size), batch)
            assert_same(compiled(maps), neck(maps))


@pytest.mark.slow
@every_other_neck
def test_a_training_step_compiles_to_one_graph(name: str) -> None:
    torch._dynamo.reset()
    neck = small_neck(name).train()
    compiled = torch.compile(neck, fullgraph=True, backend="eager")
    loss_of(compiled(maps_of(ODD))).backward()
    assert all(p.grad is not None for p in neck.parameters())


@pytest.mark.slow
@every_other_neck
def test_it_exports_with_any_sizes(name: str) -> None:
    neck = small_neck(name)
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    example = (maps_of(sizes_at((290, 417))),)
    exported = torch.export.export(neck, example, dynamic_shapes=([free] * 4,)).module()
    for batch, size in enumerate([(250, 333), (224, 224)], start=1):
        maps = maps_of(sizes_at(size), batch)
        assert_same(exported(maps), neck(maps))


@every_other_neck
def test_a_trace_is_right_at_other_sizes(name: str) -> None:
    neck = small_neck(name)
    traced = torch.jit.trace(neck, (maps_of(sizes_at((96, 128))),), strict=False)
    for batch, size in enumerate([(97, 131), (250, 333)], start=1):
        maps = maps_of(sizes_at(size), batch)
        assert_same(traced(maps), neck(maps))


@every_neck
def test_hooks_of_every_layer_fire(name: str) -> None:
    neck = small_neck(name)
    lists = (nn.ModuleList, nn.ModuleDict)
    layers = {key: m for key, m in neck.named_modules() if not isinstance(m, lists)}
    seen: set[str] = set()
    for key, layer in layers.items():
        layer.register_forward_hook(lambda *_, key=key: seen.add(key))
    neck(maps_of(ODD))
    assert seen == set(layers)
