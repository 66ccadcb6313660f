"""The rows of Table 7: what they name exists, and the paper's rules hold in them."""

import pytest
import timm

from mscsa.backbones.presets import PRESETS, REGISTERED
from mscsa.backbones.timm_pyramid import attended_levels, pyramid_levels


@pytest.mark.parametrize("name", PRESETS)
def test_every_row_is_of_a_pyramid_that_reaches_its_pooling(name):
    levels = attended_levels(pyramid_levels(timm.create_model(name, device="meta")), name)
    assert [level.stride for level in levels] == [4, 8, 16, 32]
    row = PRESETS[name]
    assert row.config.pool_stride in (16, 32) and row.dense_pool_stride in (32, 64)
    assert row.dense_pool_stride >= row.config.pool_stride


def test_registered_names_drop_what_mscsa_replaces_in_coat():
    assert set(REGISTERED.values()) == set(PRESETS)
    assert REGISTERED["mscsa_coat_tiny"] == "coat_serial_tiny"
    assert REGISTERED["mscsa_pvt_v2_b1"] == "pvt_v2_b1"


def test_only_topformer_and_coat_lose_a_part_to_mscsa():
    replaced = {name for name, row in PRESETS.items() if row.replaces}
    assert replaced == {"topformer_tiny", "topformer_base", "coat_serial_tiny", "coat_serial_small"}
    assert {name for name, row in PRESETS.items() if row.pool_first} == {"topformer_tiny", "topformer_base"}
    for name in replaced:  # what the part read, MSCSA reads unsqueezed
        assert PRESETS[name].config.squeeze_ratio == 1.0


def test_rows_are_the_paper_s():
    rows = {
        name: (c.squeeze_ratio, c.depth, c.num_heads, c.head_dim, c.mlp_ratio)
        for name, c in ((name, row.config) for name, row in PRESETS.items())
    }
    assert rows["resnet50"] == (0.25, 1, 8, 32, 2.0)
    assert rows["pvt_v2_b0"] == (0.75, 1, 8, 15, 2.0)
    assert rows["coat_serial_small"] == (1.0, 3, 8, 52, 2.0)
    assert rows["topformer_tiny"] == (1.0, 2, 4, 14, 3.0)
