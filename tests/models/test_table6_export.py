"""All 22 models of the paper's Table 6 export, and the exported graph computes the same."""

import pytest
import timm
import torch

from mscsa.backbones.presets import REGISTERED

NOT_IN_TABLE_6 = ("mscsa_resnet18", "mscsa_pvt_v2_b2")
ROWS = [name for name in REGISTERED if name not in NOT_IN_TABLE_6]
MODELS = [name for row in ROWS for name in (row.removeprefix("mscsa_"), row)]


def test_the_table_has_22_models():
    assert len(MODELS) == 22


@pytest.mark.sweep
@pytest.mark.parametrize("name", MODELS)
def test_model_exports_at_the_papers_size(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    image = torch.randn(1, 3, 224, 224)
    program = torch.export.export(model, (image,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)
