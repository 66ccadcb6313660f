"""The recipes of Table 3: the paper's figures and the settings of its appendix."""

from __future__ import annotations

import pytest

from mscsa.recipes import RECIPES
from mscsa.recipes.ade20k import ADE20K
from tests.paper_tables import lines_of

TABLE_3 = lines_of(3)


@pytest.mark.parametrize("line", TABLE_3, ids=[f"{r['backbone']}-{r['mscsa']}" for r in TABLE_3])
def test_ade20k_recipes_are_the_rows_of_table_3(line: dict[str, str]) -> None:
    name = ("mscsa_" if line["mscsa"] == "1" else "") + line["backbone"]
    recipe = RECIPES[f"ade20k/{name}"]
    assert (recipe.model.name, recipe.model.head) == (name, line["head"])
    assert recipe.expected.startswith(f"{line['miou']} % mIoU on ADE20K (paper, Table 3")
    assert recipe.cost.startswith(f"{line['gmacs']} GMACs")
    assert ("re-trained" in recipe.expected) == (line["mark"] == "r")
    assert recipe.starts_from == f"imagenet/{name}"
    assert recipe.starts_from in RECIPES
    is_topformer = line["head"] == "topformer_head"
    settings = (recipe.run.steps, recipe.data.batch_size, recipe.optim.power, recipe.optim.weight_decay)
    assert settings == ((160_000, 16, 1.0, 0.01) if is_topformer else (40_000, 32, 0.9, 1e-4))
    assert (recipe.optim.warmup_steps, recipe.optim.head_lr_factor) == (
        (1500, 10) if is_topformer else (0, 1)
    )
    rates = {"topformer_tiny": 3e-4, "topformer_base": 1.2e-4}
    assert recipe.optim.lr == rates.get(line["backbone"], 2e-4)


def test_table_3_is_complete() -> None:
    assert len(ADE20K) == len(TABLE_3) == 10
