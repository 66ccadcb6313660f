"""The recipes of Tables 4 and 5: the paper's figures, and models that differ as its rows do."""

from __future__ import annotations

import pytest

from mscsa.attention import MSCSAConfig
from mscsa.backbones.presets import PRESETS
from mscsa.recipes import RECIPES
from mscsa.recipes.ablation import ABLATION, VARIANTS
from tests.paper_tables import lines_of

NAMES = [variant.row.name for variant in VARIANTS]
LINES = [*lines_of(4), *lines_of(5)]


def test_each_row_has_a_recipe_on_imagenet_and_one_on_scenes() -> None:
    families = ("ablation", "scenes")
    expected = [f"{family}/mscsa_topformer_tiny.{name}" for family in families for name in NAMES]
    assert [recipe.name for recipe in ABLATION] == expected
    assert [line.get("setting") or line["variant"] for line in LINES] == NAMES


@pytest.mark.parametrize("line", LINES, ids=NAMES)
def test_figures_are_the_papers(line: dict[str, str]) -> None:
    name, table = (line["setting"], 4) if "setting" in line else (line["variant"], 5)
    recipe = RECIPES[f"ablation/mscsa_topformer_tiny.{name}"]
    assert recipe.expected == (
        f"{line['top1']} % top-1 on ImageNet-1k (paper, Table {table}); not measured here"
    )
    assert recipe.paper.startswith(f"Table {table}, ")
    cost = f"{line['mmacs']} MMACs (paper)" if "mmacs" in line else None
    if name == "parallel_dwconv":
        cost = "132 MMACs (paper)"
    assert recipe.cost.startswith(cost or "cost unreadable in the source")


@pytest.mark.parametrize("line", lines_of(4), ids=NAMES[:4])
def test_table_4_adds_components_one_after_the_other(line: dict[str, str]) -> None:
    recipe = RECIPES[f"ablation/mscsa_topformer_tiny.{line['setting']}"]
    whole = PRESETS["topformer_tiny"].config
    config = MSCSAConfig(**{**vars(whole), **(recipe.model.mscsa or {})})
    has = (config.parallel_conv, config.intra_ffn, config.downsampling != "none")
    assert has == tuple(line[part] == "1" for part in ("pcp", "intra_ffn", "multi_scale"))
    assert (config.head_dim, config.mlp_ratio) == (int(line["head_dim"]), float(line["mlp_ratio"]))


@pytest.mark.parametrize("line", lines_of(5), ids=NAMES[4:])
def test_table_5_changes_the_downsampling_alone(line: dict[str, str]) -> None:
    fields = RECIPES[f"ablation/mscsa_topformer_tiny.{line['variant']}"].model.mscsa
    is_default = line["variant"] == MSCSAConfig(squeeze_ratio=1, head_dim=8).downsampling
    assert fields == ({} if is_default else {"downsampling": line["variant"]})
