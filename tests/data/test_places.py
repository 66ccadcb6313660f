"""Names on the disk that differ from those looked for in case, or in how Unicode writes them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from mscsa.data.places import by_named_folder, first_file, in_any_case


def test_the_name_as_given_comes_first(tmp_path: Path) -> None:
    for name in ("Images/TRAIN", "Images/Val", "val", "Val"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    given = ["images/train", "images/val", "val", "images/gone", "gone/train"]
    wanted = ["Images/TRAIN", "Images/Val", "val", "Images/gone", "gone/train"]
    assert list(in_any_case(tmp_path, given)) == [tmp_path / name for name in wanted]
    assert list(in_any_case(tmp_path / "none", ["train"])) == [tmp_path / "none/train"]


def test_other_signs_are_found_where_nothing_is_as_given(tmp_path: Path) -> None:
    one, two = (unicodedata.normalize(form, "\u00fc.png") for form in ("NFC", "NFD"))
    assert first_file([(tmp_path, one), (tmp_path / "none", one)]) is first_file([]) is None
    (tmp_path / two).touch()
    assert first_file([(tmp_path / "none", one), (tmp_path, one)]) == tmp_path / two
    (tmp_path / "a.png").touch()
    assert first_file([(tmp_path, one), (tmp_path, "a.png")]) == tmp_path / "a.png"
    assert first_file([(tmp_path, "A.png")]) is first_file([(tmp_path, "\u00fc" * 300)]) is None
    (tmp_path / "Ka\u0308fer").mkdir()
    assert list(in_any_case(tmp_path, ["k\u00e4fer/x"])) == [tmp_path / "Ka\u0308fer/x"]


def test_elsewhere_capitals_are_those_of_the_disk(tmp_path: Path) -> None:
    """A neighbour's Train is not the train of a data set; accents are the same there, too."""
    root = tmp_path / "set"
    for folder in (root / "Train", tmp_path / "Train", tmp_path / "Ka\u0308fer"):
        folder.mkdir(parents=True)
    given = ["../train", "./../train", str(root / "train"), "../k\u00e4fer", "../K\u00e4fer", "../Train"]
    wanted = ["../train", "../train", str(root / "train"), "../k\u00e4fer", "../Ka\u0308fer", "../Train"]
    assert list(in_any_case(root, given)) == [root / name for name in wanted]


def test_a_file_that_is_gone_is_none_of_the_same_name_elsewhere(tmp_path: Path) -> None:
    """Names of other machines end in folders that are here; only without such a folder is the name enough."""
    names = ["train/1.png", "val/1.png", "val/4.png", "val/deep/5.png", "K\u00e4fer/6.png", "x/images/7.png"]
    names += ["A/8.png", "a/8.png", "A/9.png"]
    files = [str(tmp_path / name) for name in names]
    choose = by_named_folder(tmp_path, files)

    def chosen(name: str) -> list[str]:
        alike = [file for file in files if Path(file).name == Path(name).name]
        return [Path(file).relative_to(tmp_path).as_posix() for file in choose(name, alike)]

    assert chosen("1.png") == chosen("elsewhere/1.png") == ["train/1.png", "val/1.png"]
    assert chosen("train/1.png") == chosen("/other/machine/Train/1.png") == ["train/1.png"]
    assert chosen("train/4.png") == chosen("C:/data/train/4.png") == chosen("../Training/4.png") == []
    assert chosen("other/4.png") == chosen("valid/4.png") == chosen("./4.png") == ["val/4.png"]
    assert (
        chosen("x/A/8.png") == ["A/8.png"]
        and chosen("x/a/8.png") == ["a/8.png"]
        and chosen("x/a/9.png") == []
    )
    assert chosen("val/5.png") == chosen("deep/5.png") == ["val/deep/5.png"]
    assert chosen("Ka\u0308fer/6.png") == ["K\u00e4fer/6.png"] and chosen("Ka\u0308fer/4.png") == []
    assert chosen("images/7.png") == ["x/images/7.png"] and chosen("images/4.png") == []


def test_the_folder_itself_comes_before_those_in_it(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("set/a/1.png", "set/a/old/1.png", "set/b/1.png")]
    assert by_named_folder(tmp_path, files)("a/1.png", files) == files[:1]
