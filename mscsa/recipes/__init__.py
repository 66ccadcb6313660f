"""Every run the library knows by name.

`RECIPES` is built from the tables of the modules beside this one; a further recipe is a further line
there. Import the types from `mscsa.recipes.spec`.
"""

from __future__ import annotations

from mscsa.errors import unknown_name
from mscsa.recipes.ablation import ABLATION
from mscsa.recipes.ade20k import ADE20K
from mscsa.recipes.coco import COCO
from mscsa.recipes.finetune import FINETUNE, FINETUNE_PREFIX, finetune_recipe
from mscsa.recipes.finetune_dense import DENSE_BUILDERS, FINETUNE_DENSE
from mscsa.recipes.frozen import FROZEN_BUILDERS, FROZEN_RECIPES
from mscsa.recipes.imagenet import IMAGENET
from mscsa.recipes.small import SMALL
from mscsa.recipes.small_detection import SMALL_DETECTION
from mscsa.recipes.small_segmentation import SMALL_SEGMENTATION
from mscsa.recipes.spec import Recipe

__all__ = ["BUILDERS", "RECIPES", "get_recipe", "is_recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(*SMALL, *SMALL_SEGMENTATION, *SMALL_DETECTION, *FROZEN_RECIPES, *FINETUNE),
        *(*FINETUNE_DENSE, *IMAGENET, *ABLATION, *ADE20K, *COCO),
    )
}

BUILDERS = {FINETUNE_PREFIX: finetune_recipe, **DENSE_BUILDERS, **FROZEN_BUILDERS}
"""Before the name of any timm model -> what makes its recipe."""


def is_recipe(word: str) -> bool:
    """Tell whether a word names a recipe: one of `RECIPES`, or of a family of `BUILDERS`."""
    return word in RECIPES or any(word.startswith(prefix) and word != prefix for prefix in BUILDERS)


def get_recipe(name: str) -> Recipe:
    """Look a recipe up.

    The families of `BUILDERS` take any timm name, with `mscsa_` before it or not; the others are in
    `RECIPES`.

    Raises:
        UserError: If there is none of this name; names the nearest.
    """
    if isinstance(name, str):
        if name in RECIPES:
            return RECIPES[name]
        for prefix, build in BUILDERS.items():
            if name.startswith(prefix) and name != prefix:
                return build(name.removeprefix(prefix))
    raise unknown_name(
        "no recipe is called", name, RECIPES, all_names="`mscsa list --recipes` shows all names"
    )
