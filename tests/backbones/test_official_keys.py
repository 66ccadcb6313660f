"""Official keys become ours; what the model lacks is left out, the rest stays for strict loading."""

import torch
from torch import nn

from mscsa.backbones.official_keys import part_of, rename_official


def test_a_row_counts_singly():
    assert part_of("stages.2.blocks.0.norm1.weight", row="stages") == "stages.2"
    assert part_of("head.weight", row="stages") == "head"
    assert part_of("tpm.layer3.conv.0.c.weight", row="tpm") == "tpm.layer3"
    assert part_of("stages.2.norm.weight", row="tpm") == "stages"


def test_renames_and_leaves_out_what_was_pruned():
    model = nn.ModuleDict({"stages": nn.Sequential(nn.Linear(2, 2)), "norm": nn.LayerNorm(2)})
    official = {
        "block1.weight": torch.ones(2, 2),
        "stages.0.bias": torch.ones(2),
        "block2.weight": torch.ones(2, 2),
        "head.weight": torch.ones(3, 2),
        "norm.weight": torch.ones(2),
        "unknown": torch.ones(1),
    }
    renamings = ((r"^block(\d)", lambda m: f"stages.{int(m[1]) - 1}"),)
    got = rename_official(official, model, renamings)
    assert list(got) == ["stages.0.weight", "stages.0.bias", "norm.weight", "unknown"]
    assert got["stages.0.weight"] is official["block1.weight"]
