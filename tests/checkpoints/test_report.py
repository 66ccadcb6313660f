"""What loading did, in words."""

from __future__ import annotations

from mscsa.checkpoints import LoadReport


def report(**fields: tuple[str, ...]) -> LoadReport:
    given: dict[str, tuple[str, ...]] = {
        "matched": ("backbone.a", "backbone.b"),
        "missing": (),
        "unexpected": (),
        "mismatched": (),
        **fields,
    }
    parts = {key: key.split(".")[0] for what, each in given.items() if what != "notes" for key in each}
    return LoadReport(
        name="w.pth",
        matched=given["matched"],
        missing=given["missing"],
        unexpected=given["unexpected"],
        mismatched=given["mismatched"],
        not_finite=given.get("not_finite", ()),
        notes=given.get("notes", ()),
        parts=parts,
    )


def test_what_stays_new_is_counted_by_part() -> None:
    found = report(missing=("head.a", "mscsa.a", "mscsa.b"), mismatched=("head.b",))
    assert found.new == {"head": 2, "mscsa": 2} and found.filled == {"backbone": 2}
    assert found.warning() == ("w.pth: filled backbone (2 tensors); new: head (2 tensors), mscsa (2 tensors)")
    assert "1 of another shape (head.b)" in str(found)


def test_there_is_no_warning_without_a_reason() -> None:
    """A classifier that the model has no place for is no reason."""
    assert report().warning() == "" and report(unexpected=("fc.weight",)).warning() == ""


def test_values_that_are_not_finite_are_told() -> None:
    assert "1 with values that are not finite (backbone.a)" in report(not_finite=("backbone.a",)).warning()


def test_notes_are_told() -> None:
    assert report(notes=("a was adapted",)).warning().endswith("filled backbone (2 tensors); a was adapted")


def test_only_the_first_keys_are_named() -> None:
    text = str(report(missing=tuple(f"head.{i}" for i in range(9))))
    assert "9 missing (head.0, head.1, head.2, ...)" in text and "\n" not in text
