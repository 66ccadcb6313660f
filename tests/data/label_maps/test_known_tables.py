"""Tables that come with a layout: ADE20K's names and shift, Cityscapes' ids, VOC's colours."""

from __future__ import annotations

from pathlib import Path

from mscsa.data.label_maps.known_tables import ade20k_table, cityscapes_table, voc_colour, voc_table


def test_ade20ks_classes_are_numbered_or_named(tmp_path: Path) -> None:
    assert ade20k_table(tmp_path).names == tuple(f"class {i}" for i in range(1, 151))
    rows = [
        f"{i}\t0.1\t1\t1\tscreen, crt" if i > 148 else f"{i}\t0.1\t1\t1\tthing{i}, x" for i in range(1, 151)
    ]
    header = "Idx\tRatio\tTrain\tVal\tName"
    (tmp_path / "objectInfo150.txt").write_text("\n".join([header, *rows]) + "\n")
    names = ade20k_table(tmp_path).names
    assert names[0] == "thing1" and names[148:] == ("screen (149)", "screen (150)")
    (tmp_path / "objectInfo150.txt").write_text("\n".join([header, *rows[:9]]))
    assert ade20k_table(tmp_path).names[0] == "class 1"
    values = dict(ade20k_table(tmp_path).values)
    assert (values[0], values[1], values[150], 151 in values) == (255, 0, 149, False)


def test_cityscapes_evaluates_nineteen_of_its_ids() -> None:
    values = dict(cityscapes_table("_gtFine_labelIds").values)
    assert (values[7], values[33], values[0], values[29], values[255]) == (0, 18, 255, 255, 255)
    assert sorted(set(values.values())) == [*range(19), 255]
    assert dict(cityscapes_table("_gtFine_labelTrainIds").values)[18] == 18


def test_vocs_colours_are_those_of_its_development_kit() -> None:
    assert [voc_colour(i) for i in (0, 1, 2, 15, 20)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
    ]
    assert voc_colour(255) == (224, 224, 192)
    table = voc_table()
    assert len(table.names) == 21 and dict(table.colours)[224, 224, 192] == 255
