# %% [markdown]
# # A frozen ViT as a pyramid
#
# A plain ViT has maps of one stride. ViTDet's simple pyramid (Li et al., 2022) makes four of its last one,
# by transposed convolutions and pooling; MSCSA lets them talk to each other; a small head reads them. The
# ViT stays as it is: what learns is the pyramid, MSCSA and the head.
#
# No package ships weights of a ViT, so that this page, which is run without a network, has a ViT at random:
# it shows how the parts fit together, and no score. With a network take `pretrained=True`, and a DINOv2 or
# a SigLIP by its timm name.

# %%
import timm
import torch
from torch import Tensor, nn

import mscsa

torch.manual_seed(0)


class SimplePyramid(nn.Module):
    """Images (B, 3, H, W) to maps at strides 4, 8, 16 and 32 of a frozen ViT of stride 16, fused by MSCSA."""

    def __init__(self, name: str, channels: int = 64, *, pretrained: bool = False) -> None:
        super().__init__()
        self.vit = timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
        self.vit.requires_grad_(False)
        width, double = self.vit.embed_dim, 2 * channels
        self.levels = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, double, 2, 2),
                    nn.BatchNorm2d(double),
                    nn.GELU(),
                    nn.ConvTranspose2d(double, channels, 2, 2),
                ),
                nn.ConvTranspose2d(width, channels, 2, 2),
                nn.Conv2d(width, channels, 1),
                nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, channels, 1)),
            ]
        )
        config = {"squeeze_ratio": 0.25, "num_heads": 4, "head_dim": 8, "pool_stride": 16}
        self.neck = mscsa.MSCSANeck([channels] * 4, strides=[4, 8, 16, 32], config=config)

    def train(self, mode: bool = True) -> "SimplePyramid":
        super().train(mode)
        self.vit.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        last = len(self.vit.blocks) - 1
        with torch.no_grad():
            (tokens,) = self.vit.forward_intermediates(
                images, indices=[last], norm=True, output_fmt="NCHW", intermediates_only=True
            )
        return self.neck([level(tokens) for level in self.levels])


pyramid = SimplePyramid("vit_tiny_patch16_224")
[tuple(x.shape) for x in pyramid(torch.rand(2, 3, 96, 64))]

# %%
learnt = sum(p.numel() for p in pyramid.parameters() if p.requires_grad)
frozen = sum(p.numel() for p in pyramid.parameters() if not p.requires_grad)
print(f"{learnt:,} parameters learn, {frozen:,} stay")

# %% [markdown]
# ## Train it
#
# Scenes of 64 px, a class for each pixel; the finest map and a 1x1 convolution on it make the logits.

# %%
from mscsa.data import build_datasets
from mscsa.recipes import get_recipe

recipe = get_recipe("scenes_semantic_fpn/resnet10t")
train, _ = build_datasets(recipe.data, recipe.augment, pyramid.vit.pretrained_cfg, seed=0)
samples = [train[i] for i in range(32)]
images = torch.stack([sample[0] for sample in samples])
labels = torch.stack([torch.as_tensor(sample[1]) for sample in samples]).long()
classify = nn.Conv2d(64, len(train.class_names), 1)

# %%
before = {name: p.clone() for name, p in pyramid.vit.named_parameters()}
optimiser = torch.optim.AdamW(
    [*(p for p in pyramid.parameters() if p.requires_grad), *classify.parameters()], lr=2e-3
)
pyramid.train()
losses = []
for step in range(16):
    batch = torch.arange(8) + 8 * (step % 4)
    logits = nn.functional.interpolate(
        classify(pyramid(images[batch])[0]), size=labels.shape[-2:], mode="bilinear"
    )
    loss = nn.functional.cross_entropy(logits, labels[batch], ignore_index=255)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
print(" ".join(f"{loss:.2f}" for loss in losses))
assert sum(losses[-4:]) < sum(losses[:4])
assert all(torch.equal(before[name], p) for name, p in pyramid.vit.named_parameters())
