"""Checking a folder: each seeded defect is found, a sound folder has none."""

import shutil

import pytest
from PIL import Image

from mscsa.data.class_folders.checks import check_image_folder
from mscsa.data.problems import Problem
from mscsa.errors import UserError


def test_a_sound_folder_has_no_problems(folder):
    (folder / "train" / "ant" / ".hidden").write_bytes(b"")
    assert check_image_folder(folder) == []


def test_every_unreadable_file_is_named(folder):
    bad = [folder / "train" / "ant" / "0.png", folder / "val" / "cat" / "2.png"]
    bad[0].write_bytes(bad[0].read_bytes()[:300])
    bad[1].write_bytes(b"")
    dangling = folder / "val" / "bee" / "link.png"
    dangling.symlink_to(folder / "gone.png")
    problems = {problem.path: problem for problem in check_image_folder(folder)}
    assert set(problems) == {str(path) for path in (*bad, dangling)}
    assert "damaged or truncated" in problems[str(bad[0])].what
    assert problems[str(bad[1])] == Problem(str(bad[1]), "empty file", "remove or replace it")
    assert "no such file" in problems[str(dangling)].what


def test_files_of_other_formats_are_noted(folder):
    (folder / "train" / "ant" / "more").mkdir()
    (folder / "train" / "ant" / "more" / "a.heic").write_bytes(b"x")
    (problem,) = check_image_folder(folder)
    assert problem.is_note and problem.path == str(folder / "train" / "ant") and "1 .heic" in problem.what


def test_an_unreadable_image_in_a_folder_within_is_named(folder):
    path = folder / "train" / "ant" / "more" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert [problem.path for problem in check_image_folder(folder)] == [str(path)]


def test_empty_classes_and_classes_of_one_split(folder):
    (folder / "train" / "dog").mkdir()
    shutil.rmtree(folder / "val" / "ant")
    found = {(problem.path, problem.what) for problem in check_image_folder(folder)}
    assert found == {
        (str(folder), "only train/ has 'ant', 'dog'"),
        (str(folder / "train" / "dog"), "class without images"),
    }


def test_the_same_content_in_both_splits(folder):
    """Under another name and class too; equal size alone, or twice in one split, is no problem."""
    copied = folder / "val" / "cat" / "copy.png"
    original = folder / "train" / "ant" / "1.png"
    shutil.copy(original, copied)
    shutil.copy(original, folder / "train" / "ant" / "twice.png")
    for split, colour in (("train", 3), ("val", 4)):
        Image.new("L", (9, 9), colour).save(folder / split / "bee" / "same.bmp")
    (problem,) = check_image_folder(folder)
    assert problem.path == str(copied)
    assert problem.what in {
        f"same content as {folder / 'train' / 'ant' / name}" for name in ("1.png", "twice.png")
    }


def test_one_image_in_two_classes_of_a_split(folder):
    """A copy within its class contradicts nothing."""
    original = folder / "val" / "ant" / "1.png"
    for copied in (folder / "val" / "ant" / "again.png", folder / "val" / "cat" / "copy.png"):
        shutil.copy(original, copied)
    (problem,) = check_image_folder(folder)
    assert problem.path == str(folder / "val" / "cat" / "copy.png")
    assert problem.what == f"its class is 'cat'; {original} has the same content and is 'ant'"


def test_nothing_to_look_through_is_one_line(folder):
    shutil.rmtree(folder / "val")
    with pytest.raises(UserError, match="no folder val/"):
        check_image_folder(folder)
