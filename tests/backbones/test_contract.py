"""Every backbone of ours keeps timm's whole model contract.

The families are read from `mscsa.backbones.FAMILIES`; what a test asks of them, any consumer of timm
models may rely on. A family with peculiarities has a line in `PECULIAR`.
"""

import copy
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import timm
import torch
from timm.models import create_feature_extractor
from timm.models._manipulate import group_parameters
from torch import Tensor, nn
from torch.export import Dim

from mscsa.backbones import FAMILIES
from mscsa.errors import UserError
from tests.backbones.golden import fill


@dataclass(frozen=True)
class Case:
    """A registered model and what is particular to it."""

    name: str
    image_size: tuple[int, int] = (97, 131)
    """Odd and not square, where the model takes that."""
    image_sizes: tuple[tuple[int, int], ...] = ((32, 32), (64, 160), (65, 129))
    smaller: dict[str, Any] = field(default_factory=dict)
    """Arguments of a small model of the family: the contract does not depend on the size."""
    without_gradient: str = "(?!)"
    """Pattern of the parameters that the mathematics of the official model leaves without one."""


PECULIAR: dict[str, dict[str, Any]] = {
    # A shift of all keys shifts a query's logits alike, which the softmax takes out.
    "topformer_tiny": {"without_gradient": r"trans\.transformer_blocks\.\d\.attn\.to_k\.bn\.bias"},
    "p2t_tiny": {"smaller": {"channels": (16, 32, 40, 64), "depths": (1, 2, 1, 1)}},
    "shunted_tiny": {"smaller": {"depths": (1, 2, 1, 1)}},
    "coat_serial_tiny": {
        "smaller": {"channels": (16, 32, 32, 64)},
        "image_size": (64, 96),
        "image_sizes": ((32, 32), (160, 64)),
    },
}
NAMES = [name for family in FAMILIES for name in family.default_cfgs]
SMALLEST = [next(iter(family.default_cfgs)) for family in FAMILIES]
CASES = [Case(name, **PECULIAR.get(name, {})) for name in SMALLEST]

every_backbone = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in ("topformer_tiny", "p2t_tiny") else pytest.mark.slow)
        for case in CASES
    ],
    ids=lambda case: case.name,
)
every_size = pytest.mark.parametrize("name", NAMES)


def create(case: Case, **kwargs) -> nn.Module:
    """Build a small model of the case's family as timm does."""
    return timm.create_model(case.name, **case.smaller, **kwargs)


def build(case: Case, **kwargs) -> nn.Module:
    """Build in eval mode with parameters that leave no branch at zero."""
    return fill(create(case, **kwargs)).eval()


def images(case: Case, batch: int = 2, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, channels, *case.image_size, generator=generator)


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def without_gradient(grads: dict[str, Tensor | None]) -> set[str]:
    return {name for name, g in grads.items() if g is None or g.abs().max() <= 1e-12}


@every_backbone
def test_classifies_any_size(case):
    model = build(case, num_classes=7)
    for size in (case.image_size, *case.image_sizes):
        logits = model(torch.randn(1, 3, *size))
        assert logits.shape == (1, 7)
        assert logits.isfinite().all()


@every_backbone
def test_every_parameter_gets_a_gradient(case):
    model = build(case, num_classes=7).double()
    grads = gradients(model, model(images(case).double()).square().mean())
    allowed = {name for name in grads if re.fullmatch(case.without_gradient, name)}
    assert without_gradient(grads) == allowed


@every_backbone
def test_a_pyramid_has_no_parameter_without_use(case):
    model = build(case).double()
    model.prune_intermediate_layers(4, prune_norm=True, prune_head=True)
    maps = model.forward_intermediates(images(case).double(), intermediates_only=True)
    assert not without_gradient(gradients(model, sum(x.square().mean() for x in maps)))


@every_backbone
def test_training_reaches_every_parameter(case):
    model = create(case, num_classes=7, drop_rate=0.1, drop_path_rate=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        grads = gradients(model, model.train()(images(case)).square().mean())
        assert all(g is not None and g.isfinite().all() for g in grads.values())
        optimizer.step()


@every_backbone
def test_features_agree_with_their_description(case):
    model = build(case)
    image = images(case)
    features, maps = model.forward_intermediates(image)
    torch.testing.assert_close(features, model.forward_features(image), rtol=0, atol=0)
    assert features.shape[1] == model.num_features
    assert len(maps) == len(model.feature_info) == 4
    for info, reduction, level in zip(model.feature_info, (4, 8, 16, 32), maps, strict=True):
        assert info["reduction"] == reduction
        assert info["num_chs"] == level.shape[1]
        model.get_submodule(info["module"])
        for side, length in zip(level.shape[2:], image.shape[2:], strict=True):
            assert abs(side - length / reduction) < 1


@every_backbone
def test_intermediates_follow_timms_arguments(case):
    model = build(case)
    image = images(case)
    features, maps = model.forward_intermediates(image)

    def same(got: list[Tensor], expected: list[Tensor]) -> bool:
        return len(got) == len(expected) and all(map(torch.equal, got, expected))

    only = {"intermediates_only": True}
    assert same(model.forward_intermediates(image, **only), maps)
    assert same(model.forward_intermediates(image, indices=2, **only), maps[2:])
    assert same(model.forward_intermediates(image, indices=[0, -2], **only), [maps[0], maps[2]])
    early, taken = model.forward_intermediates(image, indices=[1], stop_early=True)
    assert same(taken, [maps[1]]) and torch.equal(early, maps[1])
    late, taken = model.forward_intermediates(image, indices=[1], stop_early=False)
    assert same(taken, [maps[1]]) and torch.equal(late, features)
    with pytest.raises(ValueError, match="'NLC'.*'NCHW'"):
        model.forward_intermediates(image, output_fmt="NLC")


@every_backbone
@pytest.mark.parametrize("out_indices", [None, (1, 3), (0, 1), 2])
def test_features_only_gives_the_pyramid(case, out_indices):
    torch.manual_seed(0)
    model = create(case).eval()
    torch.manual_seed(0)
    chosen = {} if out_indices is None else {"out_indices": out_indices}
    pyramid = create(case, features_only=True, **chosen).eval()
    image = images(case)
    maps = pyramid(image)
    indices = [0, 1, 2, 3] if out_indices is None else out_indices
    expected = model.forward_intermediates(image, indices=indices, intermediates_only=True)
    for got, want in zip(maps, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert pyramid.feature_info.channels() == [x.shape[1] for x in maps]
    strides = [4, 8, 16, 32]
    kept = strides[-indices:] if isinstance(indices, int) else [strides[i] for i in indices]
    assert pyramid.feature_info.reduction() == kept


@every_backbone
@pytest.mark.parametrize("indices", [[0], [0, 1, 2], 2, [3]])
def test_pruning_keeps_the_maps_asked_for(case, indices):
    model = build(case)
    image = images(case)
    expected = model.forward_intermediates(image, indices=indices, intermediates_only=True)
    parameters = sum(p.numel() for p in model.parameters())
    kept = model.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
    assert kept == ([2, 3] if indices == 2 else indices)
    assert sum(p.numel() for p in model.parameters()) < parameters
    got = model.forward_intermediates(image, indices=kept, intermediates_only=True)
    assert all(map(torch.equal, got, expected)) and len(got) == len(kept)
    # What is left is a model: its features are the last map it computes.
    assert model.num_features == model.head_hidden_size == got[-1].shape[1]
    assert model(image).shape == got[-1].shape
    assert not [name for name, _ in model.named_parameters() if name.startswith("head.")]


@every_backbone
def test_pruning_can_keep_the_head(case):
    model = build(case)
    logits = model(images(case))
    model.prune_intermediate_layers(4, prune_norm=False, prune_head=False)
    assert torch.equal(model(images(case)), logits)
    model.prune_intermediate_layers([0, 1], prune_norm=False, prune_head=False)
    assert model.num_classes == 0  # the head's own features are gone


@every_backbone
def test_head_can_be_replaced_and_removed(case):
    model = build(case).double()
    image = images(case).double()
    features = model.forward_features(image)
    pre_logits = model.forward_head(features, pre_logits=True)
    assert pre_logits.shape == (2, model.head_hidden_size)
    assert model.forward_head(features).shape == (2, 1000)
    assert model.get_classifier() is model.head

    model.reset_classifier(11)
    assert model.num_classes == 11
    assert not model.head.training
    assert model(image).shape == (2, 11)  # the new head is float64 too
    model.reset_classifier(0)
    torch.testing.assert_close(model(image), pre_logits, rtol=0, atol=0)
    model.reset_classifier(0, "")
    torch.testing.assert_close(model(image), features, rtol=0, atol=0)
    with pytest.raises(ValueError, match="'max'.*give 'avg'"):
        model.reset_classifier(5, "max")
    with pytest.raises(ValueError, match="global_pool=''.*num_classes=5"):
        model.reset_classifier(5, "")


@every_backbone
def test_head_dropout_only_touches_training(case):
    model = build(case, drop_rate=0.5)
    features = model.forward_features(images(case))
    torch.testing.assert_close(model.forward_head(features), model.forward_head(features))
    dropped = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p == 0.5]
    assert len(dropped) == 1
    dropped[0].train()
    assert not torch.equal(model.forward_head(features), model.forward_head(features))


@every_backbone
def test_drop_path_drops_branches_in_training(case):
    rates = {getattr(m, "drop_prob", 0.0) for m in build(case, drop_path_rate=0.25).modules()}
    assert max(rates) == pytest.approx(0.25)
    assert max(getattr(m, "drop_prob", 0.0) for m in build(case).modules()) == 0.0


@every_backbone
@pytest.mark.parametrize("channels", [1, 5])
def test_image_channels_are_free(case, channels):
    model = build(case, in_chans=channels)
    assert model.in_chans == channels
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == channels
    assert model(images(case, channels=channels)).shape == (2, 1000)


@every_backbone
def test_configuration_names_what_is_there(case):
    model = build(case)
    cfg = model.pretrained_cfg
    assert model.default_cfg == cfg
    assert cfg["mean"] == (0.485, 0.456, 0.406) and cfg["std"] == (0.229, 0.224, 0.225)
    assert cfg["input_size"] == (3, 224, 224) and cfg["num_classes"] == 1000
    assert 0.8 < cfg["crop_pct"] <= 1 and cfg["interpolation"] == "bicubic"
    keys = model.state_dict()
    assert keys[f"{cfg['classifier']}.weight"].shape[0] == 1000
    model.reset_classifier(0)
    assert not [key for key in model.state_dict() if key.startswith(cfg["classifier"] + ".")]
    assert case.name in timm.list_models() and case.name not in timm.list_models(pretrained=True)


@every_backbone
@pytest.mark.parametrize("coarse", [False, True])
def test_parameters_group_by_depth(case, coarse):
    model = build(case)
    groups = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    assert groups[f"{model.pretrained_cfg['first_conv']}.weight"] == min(groups.values()) == 0
    assert groups[f"{model.pretrained_cfg['classifier']}.weight"] == max(groups.values())
    # Along the pyramid the groups rise, and the deepest map lies before the head.
    depth = [
        max(layer for name, layer in groups.items() if name.startswith(info["module"] + "."))
        for info in model.feature_info
    ]
    assert depth == sorted(set(depth)) and depth[-1] < max(groups.values())
    fine = group_parameters(model, model.group_matcher(), reverse=True)
    assert not coarse or max(groups.values()) <= max(fine.values())


@every_backbone
def test_weight_decay_exceptions_are_parameters(case):
    model = build(case)
    assert set(model.no_weight_decay()) <= {name for name, _ in model.named_parameters()}


@every_backbone
def test_checkpointing_changes_no_training_step(case):
    """Outputs, gradients and running statistics; a second computation must not count twice."""
    states, gradient = [], []
    for enable in (False, True):
        torch.manual_seed(0)
        model = create(case, num_classes=7, drop_path_rate=0.2).train()
        model.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        gradient.append(gradients(model, model(images(case)).square().mean()))
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        states.append(model.state_dict())
    torch.testing.assert_close(gradient[1], gradient[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(states[1], states[0], rtol=1e-6, atol=1e-7)


@every_backbone
def test_checkpointing_changes_no_gradient(case):
    model = build(case, num_classes=7).double().train()
    plain = gradients(model, model(images(case).double()).square().mean())
    model.set_grad_checkpointing(True)
    calls: Counter[nn.Module] = Counter()
    handles = [
        module.register_forward_pre_hook(lambda module, _: calls.update([module]))
        for module in model.modules()
        if module is not model.head
    ]
    recomputed = gradients(model, model(images(case).double()).square().mean())
    for handle in handles:
        handle.remove()
    # All but embeddings and stems is computed a second time.
    second = {p for module, count in calls.items() if count > 1 for p in module.parameters()}
    trunk = [p for name, p in model.named_parameters() if not name.startswith("head.")]
    assert sum(p.numel() for p in second) > 0.7 * sum(p.numel() for p in trunk)
    for name, expected in plain.items():
        torch.testing.assert_close(recomputed[name], expected, rtol=1e-9, atol=1e-12)
    model.set_grad_checkpointing(False)
    torch.testing.assert_close(
        gradients(model, model(images(case).double()).square().mean()), plain, rtol=1e-9, atol=1e-12
    )


@every_backbone
def test_state_dict_carries_the_model(case, tmp_path):
    model = build(case, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    other = create(case, num_classes=7).eval()
    assert not torch.equal(other(images(case)), model(images(case)))
    other.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    assert torch.equal(other(images(case)), model(images(case)))


@every_backbone
def test_channels_last_gives_the_same(case):
    model = build(case).double()
    image = images(case).double()
    expected = model(image)
    got = model.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@every_backbone
def test_samples_do_not_see_each_other(case):
    model = build(case).double()
    batch = images(case, batch=3).double()
    alone = torch.cat([model(image[None]) for image in batch])
    torch.testing.assert_close(model(batch), alone, rtol=1e-10, atol=1e-12)


@every_size
def test_every_size_is_built_on_the_device_and_in_the_dtype_asked_for(name):
    model = timm.create_model(
        name, num_classes=11, in_chans=4, drop_path_rate=0.1, device="meta", dtype=torch.bfloat16
    )
    tensors = [*model.parameters(), *model.buffers()]
    assert all(t.is_meta and t.dtype in (torch.bfloat16, torch.int64) for t in tensors)
    logits = model(torch.empty(2, 4, 64, 64, device="meta", dtype=torch.bfloat16))
    assert logits.shape == (2, 11) and logits.dtype == torch.bfloat16
    assert model.pretrained_cfg["architecture"] == name
    assert isinstance(model.get_submodule(model.pretrained_cfg["first_conv"]), nn.Conv2d)


@every_size
def test_default_input_gives_the_pool_size_of_the_configuration(name):
    model = timm.create_model(name, num_classes=0, global_pool="", device="meta")
    cfg = model.pretrained_cfg
    features = model(torch.empty(1, *cfg["input_size"], device="meta"))
    assert features.shape == (1, model.num_features, *cfg["pool_size"])


@every_backbone
def test_a_dtype_says_nothing_about_the_draw(case):
    torch.manual_seed(3)
    single = create(case, num_classes=5).state_dict()
    torch.manual_seed(3)
    double = create(case, num_classes=5, dtype=torch.float64, device="cpu").state_dict()
    assert all(torch.equal(value.to(double[key].dtype), double[key]) for key, value in single.items())


@every_backbone
def test_unknown_keywords_are_timms_own_error(case):
    with pytest.raises(TypeError, match="not_a_model_arg"):
        create(case, not_a_model_arg=1)


@every_backbone
def test_pooling_can_be_named(case):
    image = images(case)
    averaged = build(case, global_pool="avg")(image)
    assert torch.equal(averaged, build(case)(image))
    model = build(case, num_classes=0, global_pool="")
    assert torch.equal(model(image), model.forward_features(image))
    with pytest.raises(UserError, match="global_pool='max'.*give 'avg'"):
        create(case, global_pool="max")


@every_backbone
def test_a_new_head_is_in_the_mode_of_the_model(case):
    model = create(case)
    for mode in (False, True):
        model.train(mode)
        for num_classes in (0, 5):
            model.reset_classifier(num_classes)
            assert all(module.training is mode for module in model.modules())


@every_backbone
@pytest.mark.parametrize("feature_cls", ["getter", "hook", "fx"])
def test_features_only_through_any_of_timms_readers(case, feature_cls):
    torch.manual_seed(0)
    model = create(case).eval()
    torch.manual_seed(0)
    pyramid = create(case, features_only=True, feature_cls=feature_cls, out_indices=(1, 3)).eval()
    image = images(case)
    expected = model.forward_intermediates(image, [1, 3], intermediates_only=True)
    for got, want in zip(pyramid(image), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert pyramid.feature_info.reduction() == [8, 32]


@every_backbone
def test_wrong_inputs_are_one_clear_line(case):
    model = build(case, num_classes=3)
    for wrong in (torch.randn(3, 64, 64), torch.randn(2, 4, 64, 64), torch.randn(2, 64)):
        for run in (model, model.forward_features, model.forward_intermediates):
            with pytest.raises(UserError, match=r"input of shape .* given: .*\(B, 3, H, W\)") as error:
                run(wrong)
            assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="num_classes=-1 given: give 1 or more"):
        model.reset_classifier(-1)


def other_image(case: Case) -> Tensor:
    """An image of another batch and size than `images`."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(3, 3, *case.image_sizes[-1], generator=generator)


@every_backbone
def test_traces_for_other_sizes(case):
    model = build(case, num_classes=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, images(case), check_trace=False)
    with torch.no_grad():
        for image in (images(case), other_image(case)):
            torch.testing.assert_close(traced(image), model(image), rtol=1e-5, atol=1e-5)


@every_backbone
def test_fx_graph_serves_other_sizes(case):
    model = build(case, num_classes=7)
    graph = create_feature_extractor(copy.deepcopy(model), {"head": "logits"})
    with torch.no_grad():
        for image in (images(case), other_image(case)):
            torch.testing.assert_close(graph(image)["logits"], model(image), rtol=1e-5, atol=1e-5)


def assert_exports(model: nn.Module, free: set[int], sizes: list[tuple[int, int, int]]) -> None:
    """Export with the dimensions `free` at the first (B, H, W) of `sizes`, compare at all."""
    dims = ({dim: Dim.AUTO for dim in free},)
    images = [torch.randn(batch, 3, height, width) for batch, height, width in sizes]
    program = torch.export.export(model, (images[0],), dynamic_shapes=dims).module()
    with torch.no_grad():
        for image in images:
            torch.testing.assert_close(program(image), model(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c.name == "topformer_tiny" else pytest.mark.slow) for c in CASES],
    ids=lambda case: case.name,
)
def test_exports_with_the_batch_free(case):
    assert_exports(build(case, num_classes=7), {0}, [(2, 64, 96), (5, 64, 96)])


@every_backbone
@pytest.mark.long
def test_exports_with_batch_and_size_free(case):
    sizes = [(2, 224, 256), (3, 256, 192), (4, 288, 320)]
    assert_exports(build(case, num_classes=7), {0, 2, 3}, sizes)
