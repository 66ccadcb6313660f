"""A head by its name, on a pyramid that is built for it or given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mscsa import dense
from mscsa.dense import build_head, levels_of
from mscsa.errors import UserError
from mscsa.heads import COUNT, HEADS, Head
from mscsa.models import build_pyramid
from mscsa.models.model import MSCSAModel
from mscsa.models.neck import NeckPyramid

SEGMENTATION = ("segmentation",)


def echo_head(pyramid: Any, num_classes: int, *, width: int = 1, drop_path_rate: float = 0.0) -> Any:
    """Give back what a builder is given."""
    return pyramid, num_classes, width, drop_path_rate


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a head by a row of the table, as anybody would."""
    monkeypatch.setitem(
        HEADS,
        "echo",
        Head(
            task="segmentation",
            builder="tests.test_dense:echo_head",
            options={"width": COUNT, "drop_path_rate": COUNT.or_none()},
            strides=(8, 32),
        ),
    )


@pytest.mark.usefixtures("echo")
def test_a_further_head_is_a_function_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def record(name: str, **options: Any) -> Any:
        given.update(options, name=name)
        return build_pyramid(name, strides=options["strides"])

    monkeypatch.setattr(dense, "build_pyramid", record)
    # The names of its options are read off the function.
    monkeypatch.setattr(dense, "_pyramid_options", lambda: ["pretrained", "drop_path_rate"])
    options = {"width": 5, "drop_path_rate": 1, "pretrained": False}
    built = build_head("echo", "test_resnet", 3, options, tasks=SEGMENTATION)
    settled = {"name": "test_resnet", "strides": (8, 32), "fuse": True}
    assert given == {**settled, "pretrained": False, "drop_path_rate": 1}
    assert built.parts == (built.pyramid, 3, 5, 1)  # what both know goes to both
    assert built.head is HEADS["echo"]
    assert levels_of(built.pyramid) == ([48, 96], [8, 32])


@pytest.mark.usefixtures("echo")
def test_a_given_pyramid_is_taken_as_it_is() -> None:
    for fields in (None, {"head_dim": 8, "squeeze_ratio": 0.25}):
        pyramid = build_pyramid("test_resnet", strides=(8, 32), fields=fields)
        built = build_head("echo", pyramid, 3, {"drop_path_rate": 2}, tasks=SEGMENTATION)
        assert built.pyramid is pyramid
        assert built.parts == (pyramid, 3, 1, 2)
        assert isinstance(pyramid, MSCSAModel) == (fields is not None)


@pytest.mark.usefixtures("echo")
def test_what_cannot_be_put_on_a_pyramid_is_one_line() -> None:
    pyramid = build_pyramid("test_resnet", strides=(8, 16))
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (pyramid, {}, r"echo takes maps of strides \[8, 32\], the backbone gives \[8, 16\]: build it with"),
        (pyramid, {"pretrained": True, "budget": 0.1}, "pretrained, budget given with a built backbone"),
        (torch.nn.Identity(), {}, "echo on a Identity: give the name of a backbone, or a pyramid of"),
        ("test_resnet", {"strides": (4, 8)}, "echo has no option 'strides'"),
        ("test_resnet", {"widht": 3}, "echo has no option 'widht': did you mean width?"),
        ("test_resnet", {"my_nrom": 3}, "echo has no option 'my_nrom': did you mean my_norm?"),
        ("test_resnet", {"width": 0}, "width=0 given: give a whole number from 1 on"),
        ("nest_tiny", {}, r"not \[32\]: this head needs \[8, 32\]; choose another backbone"),
    ]
    for backbone, options, message in cases:
        with torch.device("meta"), pytest.raises(UserError, match=message) as caught:
            build_head("echo", backbone, 3, options, tasks=SEGMENTATION, also=("my_norm",))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no head for detection is called 'echo'"):
        build_head("echo", pyramid, 3, {}, tasks=("detection",))


@pytest.mark.parametrize("num_classes", [0, -1, 2.5, True, None, "3"])
def test_a_number_of_classes_that_cannot_be_is_one_line(num_classes: Any) -> None:
    with pytest.raises(
        UserError, match=f"^num_classes={num_classes!r} given: give a whole number from 1 on$"
    ):
        build_head("semantic_fpn", "test_resnet", num_classes, {}, tasks=SEGMENTATION)


def test_a_batch_norm_without_a_batch_is_told_as_a_matter_of_images() -> None:
    complaint = ValueError(
        "Expected more than 1 value per channel when training, got input size [1, 8, 1, 1]"
    )
    with pytest.raises(UserError, match="^one image gives a map of 1x1.* per batch, or freeze$") as caught:
        dense.refuse_one_value(complaint, "one image", "or freeze")
    assert caught.value.__cause__ is complaint
    with pytest.raises(UserError, match="give larger images or more per batch$"):
        dense.refuse_one_value(complaint, "one image")
    dense.refuse_one_value(ValueError("another"), "one image")


@pytest.mark.parametrize("name", [name for name in HEADS if name != "topformer_head"])
def test_every_head_stands_on_another_neck(name: str) -> None:
    """A head reads `feature_info`: the neck's channels."""
    options = {"neck": "bifpn", "neck_config": {"channels": 8}}
    with torch.device("meta"):
        built = build_head(name, "test_resnet", 3, options, tasks=(HEADS[name].task,))
    assert isinstance(built.pyramid, NeckPyramid)
    assert set(levels_of(built.pyramid)[0]) == {8}
