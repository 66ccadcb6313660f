"""Recipe files that are broken at random: one line that names the file, or a recipe; never more."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from mscsa.recipes import get_recipe
from mscsa.recipes.options import recipe_yaml
from mscsa_cli.commands import parse_command

RECIPE = "scenes/mscsa_resnet10t"
CALL = "!!python/object/apply:os.mkdir ['executed']"
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 10**400, float("nan"), float("inf"), "text", "", [], [[]], {}, [{}], {"a": 1}),
    *(CALL, 1e300, "1e-3", "0x10", "2020-01-01", [1, 2, 3], "\u2028", "é" * 10),
)
WORDS = (
    CALL,
    "!!python/name:os.system",
    "&a *a",
    "*nope",
    "{",
    "[",
    "'",
    '"',
    "|",
    "!!binary abc",
    "!foo 3",
    "? x",
)


def broken(text: str, draw: random.Random) -> str:
    """Break a recipe file in one of six ways."""
    kind, lines = draw.randrange(6), text.splitlines()
    place = draw.randrange(len(lines))
    if kind == 0:  # a letter
        characters = list(text)
        characters[draw.randrange(len(text))] = draw.choice("abcxyz_:{}[]\t&*!|>%@`\x00é")
        return "".join(characters)
    if kind == 1:  # the end
        return text[: draw.randrange(len(text))]
    if kind == 2:  # an indentation
        lines[place] = draw.choice(["  ", " ", "\t", "    "]) + lines[place]
    elif kind == 3:  # what stands behind a key
        lines[place] = f"{lines[place].partition(':')[0]}: {draw.choice(WORDS)}"
    else:  # a value, or a section
        tree = yaml.safe_load(text)
        section = draw.choice(["model", "data", "augment", "optim", "run"])
        if kind == 4:
            tree[section][draw.choice(list(tree[section]))] = draw.choice(VALUES)
        else:
            tree[section] = draw.choice(VALUES)
        return yaml.safe_dump(tree, sort_keys=False)
    return "\n".join(lines) + "\n"


def refused(count: int, seed: int) -> int:
    """Parse so many broken files; give how many were refused."""
    draw, text, path = random.Random(seed), recipe_yaml(get_recipe(RECIPE)), Path("broken.yaml")
    found = 0
    for _ in range(count):
        path.write_text(broken(text, draw), encoding="utf-8")
        try:
            parse_command(["train", RECIPE, "--config", str(path)])
        except ValueError as error:
            assert "broken.yaml" in str(error), error
            assert len(str(error)) < 1000, error
            found += 1
        assert not Path("executed").exists(), path.read_text()
    return found


@pytest.mark.slow
def test_a_malformed_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("call.yaml").write_text(f"run:\n  seed: {CALL}\n")
    with pytest.raises(ValueError, match="call.yaml"):
        parse_command(["train", RECIPE, "--config", "call.yaml"])
    assert not Path("executed").exists()
    assert refused(60, seed=0) > 20


@pytest.mark.long
def test_a_thousand_malformed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(1000, seed=1) > 400
