"""The recipes of Table 6: the paper's figures and the settings of its appendix."""

from __future__ import annotations

import pytest

from mscsa.recipes import RECIPES
from mscsa.recipes.imagenet import IMAGENET, SETTINGS
from tests.paper_tables import lines_of

TABLE_6 = lines_of(6)


@pytest.mark.parametrize("line", TABLE_6, ids=[f"{r['model']}-{r['mscsa']}" for r in TABLE_6])
def test_imagenet_recipes_are_the_rows_of_table_6(line: dict[str, str]) -> None:
    name = ("mscsa_" if line["mscsa"] == "1" else "") + line["model"]
    recipe = RECIPES[f"imagenet/{name}"]
    assert recipe.model.name == name
    assert recipe.expected.startswith(f"{line['top1']} % top-1 on ImageNet-1k (paper, Table 6")
    assert recipe.cost.startswith(f"{line['gmacs']} GMACs")
    assert ("re-trained" in recipe.expected) == (line["mark"] == "r")


def test_table_6_is_complete() -> None:
    beyond = {"imagenet/pvt_v2_b2", "imagenet/mscsa_pvt_v2_b2"}  # where Tables 2 and 3 start from
    assert {f"imagenet/{name}" for name in SETTINGS} == {f"imagenet/{line['model']}" for line in TABLE_6}
    assert len({recipe.name for recipe in IMAGENET} - beyond) == len(TABLE_6)


@pytest.mark.parametrize(
    ("backbone", "warmup"),
    [
        ("resnet50", 5),
        ("pvt_v2_b0", 5),
        ("pvt_v2_b1", 5),
        ("swin_tiny_patch4_window7_224", 20),
        ("convnext_tiny", 20),
    ],
)
@pytest.mark.parametrize("prefix", ["", "mscsa_"])
def test_settings_of_appendix_c1(prefix: str, backbone: str, warmup: int) -> None:
    recipe = RECIPES[f"imagenet/{prefix}{backbone}"]
    assert (recipe.run.epochs, recipe.data.batch_size, recipe.data.image_size) == (300, 1024, 224)
    optim, augment = recipe.optim, recipe.augment
    assert (optim.optimizer, optim.lr, optim.weight_decay) == ("adamw", 1e-3, 0.05)
    assert (optim.schedule, optim.warmup_epochs, optim.ema_decay) == ("cosine", warmup, None)
    assert (augment.mixup, augment.cutmix, augment.label_smoothing) == (0.8, 1.0, 0.1)
    assert augment.random_erasing == 0.25
    assert augment.repeats > 1
    assert augment.auto_augment is not None
    assert recipe.model.drop_path_rate > 0
