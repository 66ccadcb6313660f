"""Every backbone of ours keeps timm's whole model contract.

A new backbone adds a `Case`; what a test asks of it, any consumer of timm models may rely on.
"""

import re
from collections import Counter
from dataclasses import dataclass

import pytest
import timm
import torch
from timm.models._manipulate import group_parameters
from torch import Tensor, nn

from mscsa.backbones import coat, p2t, shunted, topformer  # noqa: F401 (registers the models)
from tests.backbones.golden import fill


@dataclass(frozen=True)
class Case:
    """A registered model and what is particular to it."""

    name: str
    image_size: tuple[int, int] = (97, 131)
    """Odd and not square, where the model takes that."""
    image_sizes: tuple[tuple[int, int], ...] = ((32, 32), (64, 160), (65, 129))
    without_gradient: str = "(?!)"
    """Pattern of the parameters that the mathematics of the official model leaves without one."""


# A shift of all keys shifts a query's logits alike, which the softmax takes out.
TOPFORMER_KEY_SHIFT = r"trans\.transformer_blocks\.\d\.attn\.to_k\.bn\.bias"

CASES = [
    *(Case(name, without_gradient=TOPFORMER_KEY_SHIFT) for name in topformer.SIZES),
    Case("p2t_tiny"),
    Case("shunted_tiny"),
    Case("coat_serial_tiny", image_size=(64, 96), image_sizes=((32, 32), (160, 64))),
]

every_backbone = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def build(case: Case, **kwargs) -> nn.Module:
    """Build in eval mode with parameters that leave no branch at zero."""
    return fill(timm.create_model(case.name, **kwargs)).eval()


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
    model = timm.create_model(case.name, num_classes=7, drop_rate=0.1, drop_path_rate=0.1)
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
    model = timm.create_model(case.name).eval()
    torch.manual_seed(0)
    chosen = {} if out_indices is None else {"out_indices": out_indices}
    pyramid = timm.create_model(case.name, features_only=True, **chosen).eval()
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
    assert sum(p.numel() for p in second) > 0.85 * sum(p.numel() for p in trunk)
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
    other = timm.create_model(case.name, num_classes=7).eval()
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
