"""Backbone + MSCSA as a timm model: timm's own test ideas, for both forms."""

import copy

import pytest
import timm
import torch
from timm.models._manipulate import group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.export import Dim

import mscsa
from mscsa.models.register import backbone_names
from tests.attention.weights import wake_fusions
from tests.small_models import CASES, CONVNEXT, PVT, RESNET, SWIN, both_forms, every_case


def outputs(result: Tensor | list[Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else result


def assert_close(ours, expected, **tolerances) -> None:
    for a, b in zip(outputs(ours), outputs(expected), strict=True):
        torch.testing.assert_close(a, b, **tolerances)


@every_case
def test_classifier_forward(case):
    model = case.build(num_classes=7).eval()
    image = case.image()
    logits = model(image)
    assert logits.shape == (2, 7) and logits.isfinite().all()
    features = model.forward_features(image)
    assert features.shape[1] == model.num_features == model.head_hidden_size
    assert torch.equal(model.forward_head(features), logits)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    assert torch.equal(model.get_classifier()(pooled), logits)


@every_case
@both_forms
def test_every_parameter_gets_a_gradient(case, features_only):
    model = case.build(features_only=features_only)
    wake_fusions(model)
    sum(x.square().mean() for x in outputs(model(case.image()))).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    ours = {
        name: p
        for name, p in model.named_parameters()
        if not name.startswith(("backbone.", "mscsa.squeezes."))
    }
    # A gradient of exactly 0 would be a parameter without effect.
    assert not [name for name, p in ours.items() if not p.grad.abs().max() > 0]


@every_case
def test_pyramid_agrees_with_timm(case):
    model = case.build(features_only=True).eval()
    plain = timm.create_model(case.name, features_only=True, **case.backbone_kwargs)
    assert model.feature_info.channels() == plain.feature_info.channels()
    assert model.feature_info.reduction() == plain.feature_info.reduction()
    assert model.feature_info.out_indices == tuple(plain.feature_info.out_indices)
    maps = model(case.image())
    for x, channels, stride in zip(
        maps, model.feature_info.channels(), model.feature_info.reduction(), strict=True
    ):
        assert x.shape == (2, channels, case.size[0] // stride, case.size[1] // stride)


@every_case
@both_forms
def test_feature_info_names_modules(case, features_only):
    model = case.build(features_only=features_only)
    infos = model.feature_info.info if features_only else model.feature_info
    modules = dict(model.named_modules())
    for position, info in enumerate(infos):
        assert set(info) >= {"num_chs", "reduction", "module", "index"}
        assert info["module"] in modules
        assert info["index"] == position


@pytest.mark.parametrize(
    ("asked", "strides"),
    [
        (None, [2, 4, 8, 16, 32]),
        (2, [16, 32]),
        (5, [2, 4, 8, 16, 32]),
        ((0, 1, 2, 3, 4), [2, 4, 8, 16, 32]),
        ((-1,), [32]),
        ((-2, -1), [16, 32]),
        ((4,), [32]),
        ((1, 3), [4, 16]),
        ([3, 1], [4, 16]),
    ],
)
def test_out_indices_mean_what_they_mean_in_timm(asked, strides):
    model = RESNET.build(features_only=True, out_indices=asked).eval()
    assert model.feature_info.reduction() == strides
    assert len(model.fusion) == sum(stride >= 4 for stride in strides)
    image = RESNET.image()
    maps = model(image)
    assert [64 // x.shape[2] for x in maps] == strides
    assert [x.shape[1] for x in maps] == model.feature_info.channels()
    if asked is not None:
        plain = timm.create_model(RESNET.name, features_only=True, out_indices=asked)
        # timm's own feature_info keeps the order asked for, while its maps come finest first.
        assert sorted(plain.feature_info.reduction()) == strides
        assert [x.shape for x in plain(image)] == [x.shape for x in maps]


def test_the_level_of_stride_2_passes_through_unfused():
    model = RESNET.build(features_only=True, out_indices=(0, 1)).eval()
    wake_fusions(model)
    image = RESNET.image()
    own = model.backbone.forward_intermediates(image, indices=[0, 1], intermediates_only=True)
    fused = model(image)
    assert torch.equal(fused[0], own[0])
    assert not torch.allclose(fused[1], own[1])


@pytest.mark.parametrize("asked", [(5,), (-6,), (), 6, 0, (0, 9)])
def test_levels_that_are_not_there(asked):
    with pytest.raises(
        mscsa.UserError, match=r"^out_indices=.* given: the levels are \{0: 2, 1: 4"
    ) as caught:
        RESNET.build(features_only=True, out_indices=asked)
    assert "\n" not in str(caught.value)


def test_a_pyramid_without_a_fused_level_is_refused():
    with pytest.raises(mscsa.UserError, match="asks for levels that MSCSA leaves as they are") as caught:
        RESNET.build(features_only=True, out_indices=(0,))
    assert "\n" not in str(caught.value)


def test_a_part_of_the_levels_is_fused_alike():
    full = PVT.build(features_only=True).eval()
    part = PVT.build(features_only=True, out_indices=(1, 3)).eval()
    state = full.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith("fusion.")}
    state |= {
        k.replace("fusion.1.", "fusion.0."): v for k, v in full.state_dict().items() if "fusion.1." in k
    }
    state |= {
        k.replace("fusion.3.", "fusion.1."): v for k, v in full.state_dict().items() if "fusion.3." in k
    }
    part.load_state_dict(state)
    image = PVT.image()
    assert_close(part(image), [full(image)[i] for i in (1, 3)], rtol=0, atol=0)


@every_case
def test_forward_intermediates_of_the_classifier(case):
    model = case.build().eval()
    image = case.image()
    tokens, maps = model.forward_intermediates(image, norm=True)
    assert torch.equal(tokens, model.forward_features(image))
    assert [x.shape[1] for x in maps] == [info["num_chs"] for info in model.feature_info]
    only = model.forward_intermediates(image, indices=[1], intermediates_only=True)
    assert len(only) == 1 and torch.equal(only[0], maps[1])
    last = model.forward_intermediates(image, indices=2, intermediates_only=True)
    assert_close(last, maps[-2:], rtol=0, atol=0)


def test_forward_intermediates_of_the_pyramid():
    model = RESNET.build(features_only=True, out_indices=(0, 2, 4)).eval()
    image = RESNET.image()
    expected = model(image)
    tokens, maps = model.forward_intermediates(image)
    assert tokens.shape[1] == model.num_features
    assert_close(maps, expected, rtol=0, atol=0)
    assert torch.equal(model.forward_intermediates(image, [2], intermediates_only=True)[0], expected[1])
    with pytest.raises(
        mscsa.UserError, match=r"levels \[1\] asked for: this model was built for \[0, 2, 4\]"
    ):
        model.forward_intermediates(image, [1])
    with pytest.raises(mscsa.UserError, match="output_fmt='NHWC' given"):
        model.forward_intermediates(image, output_fmt="NHWC")


def test_reset_classifier():
    model = PVT.build(num_classes=7).eval()
    image = PVT.image()
    before = model.forward_features(image)
    model.reset_classifier(3)
    assert model(image).shape == (2, 3) and model.num_classes == 3
    assert torch.equal(model.forward_features(image), before)
    model.reset_classifier(0)
    assert model(image).shape == (2, model.num_features)
    assert isinstance(model.get_classifier(), nn.Identity)
    model.reset_classifier(5, "avg")
    assert model(image).shape == (2, 5)
    with pytest.raises(mscsa.UserError, match="global_pool='max' given"):
        model.reset_classifier(5, "max")


def test_a_new_head_lies_where_the_model_lies():
    model = PVT.build().to("meta").double()
    model.reset_classifier(4)
    assert model.head.weight.device.type == "meta" and model.head.weight.dtype == torch.float64


def test_a_pyramid_has_no_classifier():
    model = PVT.build(features_only=True)
    assert isinstance(model.get_classifier(), nn.Identity)
    with pytest.raises(mscsa.UserError, match="a pyramid .* has no classifier to reset"):
        model.reset_classifier(3)


@pytest.mark.parametrize("in_chans", [1, 4])
@every_case
def test_in_chans(case, in_chans):
    model = case.build(in_chans=in_chans, num_classes=3).eval()
    assert model.in_chans == in_chans
    assert model(case.image(channels=in_chans)).shape == (2, 3)


@every_case
@both_forms
def test_gradient_checkpointing_changes_nothing(case, features_only):
    plain = case.build(features_only=features_only, drop_path_rate=0.0).double()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    assert saving.grad_checkpointing and saving.mscsa.grad_checkpointing
    image = case.image().double()
    for model in (plain, saving):
        sum(x.square().mean() for x in outputs(model(image))).backward()
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12, msg=name)
    for name, value in plain.mscsa.state_dict().items():  # running statistics
        assert torch.equal(value, saving.mscsa.state_dict()[name]), name
    saving.set_grad_checkpointing(False)
    assert not saving.mscsa.grad_checkpointing


@every_case
@both_forms
def test_state_dict_round_trip(case, features_only):
    model = case.build(features_only=features_only).eval()
    torch.manual_seed(1)
    other = mscsa.create_model(
        case.name,
        backbone_kwargs=case.backbone_kwargs,
        features_only=features_only,
        config=model.mscsa.config,
    ).eval()
    image = case.image()
    assert not torch.allclose(outputs(model(image))[-1], outputs(other(image))[-1])
    other.load_state_dict(model.state_dict())
    assert_close(other(image), model(image), rtol=0, atol=0)


@every_case
@both_forms
def test_channels_last_is_equal(case, features_only):
    model = case.build(features_only=features_only).eval()
    image = case.image()
    expected = model(image)
    last = model.to(memory_format=torch.channels_last)
    assert_close(last(image.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (250, 129), (71, 250)])
@pytest.mark.parametrize("case", [RESNET, PVT, CONVNEXT], ids=lambda case: case.name)
def test_odd_and_non_square_sizes(case, size):
    model = case.build(features_only=True).eval()
    image = torch.rand(1, 3, *size)
    own = model.backbone.forward_intermediates(
        image, indices=list(model.feature_info.out_indices), intermediates_only=True
    )
    assert [x.shape for x in model(image)] == [x.shape for x in own]
    assert case.build(num_classes=2).eval()(image).shape == (1, 2)


@pytest.mark.parametrize("size", [(64, 96), (224, 160), (100, 68)])
def test_channels_last_backbone_at_other_sizes(size):
    """Swin keeps NHWC maps inside; all that comes out is NCHW."""
    model = SWIN.build(features_only=True).eval()
    maps = model(torch.rand(1, 3, *size))
    expected = [24, 48, 96, 192]
    assert [x.shape[1] for x in maps] == expected
    assert maps[0].shape[2:] == (size[0] // 4, size[1] // 4)


def test_a_size_that_the_backbone_refuses_is_one_line():
    model = mscsa.create_model("swin_s3_tiny_224", **LIGHT_SWIN)
    with pytest.raises(mscsa.UserError, match="refuses 50x50 images") as caught:
        model(torch.rand(1, 3, 50, 50))
    assert "\n" not in str(caught.value)


LIGHT_SWIN = {
    "backbone_kwargs": {**SWIN.backbone_kwargs, "strict_img_size": True},
    "num_heads": 2,
    "head_dim": 8,
    "squeeze_ratio": 0.25,
}


@every_case
@both_forms
def test_batch_of_one_in_eval(case, features_only):
    model = case.build(features_only=features_only).eval()
    image = case.image(batch=2)
    alone = outputs(model(image[:1]))
    assert_close(alone, [x[:1] for x in outputs(model(image))], rtol=1e-4, atol=1e-4)


def test_training_on_one_small_image_is_one_line():
    with pytest.raises(ValueError, match="a batch of 1 image gives 1x1 tokens here"):
        CONVNEXT.build()(torch.rand(1, 3, 32, 32))


def test_training_the_norm_of_the_classifier_alone_on_one_small_image_is_one_line():
    model = CONVNEXT.build().train()
    model.mscsa.eval()
    with pytest.raises(mscsa.UserError, match="^batch norm needs more than 1 value per channel.*give 2 im"):
        model(torch.rand(1, 3, 32, 32))
    model.norm.eval()
    assert len(model(torch.rand(1, 3, 32, 32))) == 1


def test_training_a_batch_norm_of_the_backbone_on_one_small_image_is_one_line():
    model = mscsa.create_model("resnet10t", num_heads=2, head_dim=8, squeeze_ratio=0.25).train()
    with pytest.raises(mscsa.UserError, match="^batch norm needs more than 1 value per channel") as caught:
        model(torch.rand(1, 3, 32, 32))
    assert "\n" not in str(caught.value) and "refuses" not in str(caught.value)


def test_training_a_norm_behind_the_pooling_on_one_image_is_one_line():
    model = timm.create_model("mscsa_topformer_tiny", num_classes=3).train()
    with pytest.raises(mscsa.UserError, match="batch norm needs more than 1 value per channel") as caught:
        model(torch.rand(1, 3, 96, 96))
    assert "\n" not in str(caught.value)
    assert model(torch.rand(2, 3, 96, 96)).shape == (2, 3)
    assert model.eval()(torch.rand(1, 3, 96, 96)).shape == (1, 3)


def test_without_classes_all_modules_are_in_the_mode_of_the_model():
    model = PVT.build(num_classes=3).eval()
    model.reset_classifier(0)
    assert not [name for name, module in model.named_modules() if module.training]


@every_case
@both_forms
def test_layer_groups(case, features_only):
    """Every parameter lies in one group; those of the backbone as in timm; ours come last."""
    model = case.build(features_only=features_only)
    plain = timm.create_model(case.name, num_classes=0, **case.backbone_kwargs)
    for coarse in (False, True):
        groups = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
        assert set(groups) == {name for name, _ in model.named_parameters()}
        own = group_parameters(plain, plain.group_matcher(coarse=coarse), reverse=True)
        ours = {groups[name] for name in groups if not name.startswith("backbone.")}
        assert ours == {max(groups.values())}
        kept = {name for name in groups if name.startswith("backbone.")}
        by_group: dict[int, set[int]] = {}
        for name in kept:
            by_group.setdefault(own[name.removeprefix("backbone.")], set()).add(groups[name])
        assert all(len(numbers) == 1 for numbers in by_group.values())
        assert [min(by_group[g]) for g in sorted(by_group)] == sorted(min(n) for n in by_group.values())


@pytest.mark.sweep
@pytest.mark.parametrize("module", [each for each in sorted(timm.list_modules()) if backbone_names(each)])
def test_layer_groups_of_every_family(module):
    """A regex with alternatives must lose none of them when its names get a prefix."""
    for name in backbone_names(module)[:1]:
        with torch.device("meta"):
            plain = timm.create_model(name, num_classes=0)
            levels = {info["reduction"] for info in getattr(plain, "feature_info", None) or []}
            if len([stride for stride in levels if stride >= 4]) < 2:
                continue
            model = mscsa.create_model(name, config=mscsa.MSCSAConfig(head_dim=4))
        if not hasattr(plain, "group_matcher"):  # three families
            with pytest.raises(mscsa.UserError, match="timm names no layer groups"):
                model.group_matcher()
            continue
        groups = group_parameters(model, model.group_matcher(), reverse=True)
        own = group_parameters(plain, plain.group_matcher(), reverse=True)
        kept = {n.removeprefix("backbone."): g for n, g in groups.items() if n.startswith("backbone.")}
        pairs = {(own[n], g) for n, g in kept.items()}
        assert len({a for a, _ in pairs}) == len(pairs), name
        spared = plain.no_weight_decay() if hasattr(plain, "no_weight_decay") else ()
        assert model.no_weight_decay() == {f"backbone.{n}" for n in spared}, name


@every_case
def test_layer_decay(case):
    model = case.build()
    groups = param_groups_layer_decay(
        model, weight_decay=0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.5
    )
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scale) == sum(1 for _ in model.parameters())
    assert scale[id(model.head.weight)] == 1.0
    assert scale[id(model.mscsa.blocks[0].csa1.qkv.weight)] == 1.0
    assert scale[id(next(model.backbone.parameters()))] == min(scale.values()) < 0.5


def test_no_weight_decay_names_the_backbones_parameters():
    model = mscsa.create_model("coat_serial_tiny")
    names = model.no_weight_decay()
    assert names and names <= {name for name, _ in model.named_parameters()}


def test_drop_rate_drops_before_the_head():
    model = CONVNEXT.build(drop_rate=1.0, num_classes=3).train()
    assert torch.equal(model(CONVNEXT.image()), model.head.bias.expand(2, 3))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_start_keeps_the_features(case):
    model = case.build(features_only=True).eval()
    image = case.image()
    own = model.backbone.forward_intermediates(
        image, indices=list(model.feature_info.out_indices), intermediates_only=True
    )
    for ours, expected in zip(model(image), own, strict=True):
        assert (ours - expected).abs().max() < 1e-6


def one_fast(fast: tuple[str, bool]) -> pytest.MarkDecorator:
    """Three models in both forms, all but one of them slow."""
    cases = [(name, form) for name in ("test_resnet", "resnet18", "pvt_v2_b0") for form in (False, True)]
    marked = [pytest.param(*case, marks=() if case == fast else pytest.mark.long) for case in cases]
    return pytest.mark.parametrize(("name", "features_only"), marked)


@pytest.mark.slow
@one_fast(("test_resnet", True))
def test_whole_models_export_with_any_size(name, features_only):
    """The pooling windows must be right at sizes that do not divide by 32."""
    model = mscsa.create_model(name, features_only=features_only).eval()
    free = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    program = torch.export.export(model, (torch.rand(2, 3, 290, 417),), dynamic_shapes=(free,))
    exported = program.module()
    for batch, size in enumerate([(250, 333), (224, 224), (193, 300)], start=1):
        image = torch.rand(batch, 3, *size)
        assert_close(exported(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet18", "pvt_v2_b0"])
def test_whole_models_export_with_multiples_of_32(name):
    model = mscsa.create_model(name, features_only=True).eval()
    batch, height, width = Dim("batch"), Dim("height", min=4, max=40), Dim("width", min=4, max=40)
    shapes = ({0: batch, 2: 32 * height, 3: 32 * width},)
    exported = torch.export.export(model, (torch.rand(2, 3, 160, 224),), dynamic_shapes=shapes).module()
    for count, size in enumerate([(128, 256), (224, 224)], start=1):
        image = torch.rand(count, 3, *size)
        assert_close(exported(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@one_fast(("pvt_v2_b0", True))
def test_whole_models_compile_to_one_graph(name, features_only):
    torch._dynamo.reset()
    model = mscsa.create_model(name, features_only=features_only).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    image = torch.rand(2, 3, 97, 131)
    assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-5)
