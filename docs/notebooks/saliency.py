# %% [markdown]
# # Where cross-scale attention looks
#
# A small classifier learns rendered digits for a few steps; then its attention is read out, from its own Q
# and K. A training this short shows the way to the pictures, not what MSCSA learns in a long one ([Look
# inside](../saliency.md) has those).

# %%
import matplotlib.pyplot as plt
import torch

import mscsa
from mscsa.data import build_datasets
from mscsa.pictures.saliency import compute_saliency
from mscsa.recipes import get_recipe

torch.manual_seed(0)
recipe = get_recipe("scenes/mscsa_resnet10t")
model = mscsa.create_model("resnet10t", num_classes=10, pool_stride=8, budget=0.25, budget_size=64)
train, val = build_datasets(recipe.data, recipe.augment, model.pretrained_cfg, seed=0)
images = torch.stack([train[i][0] for i in range(128)])
labels = torch.tensor([int(train[i][1]) for i in range(128)])
optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
model.train()
for step in range(24):
    batch = torch.arange(16) + 16 * (step % 8)
    loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
model.eval()
print(f"loss of the last step: {loss.item():.2f}")

# %% [markdown]
# One image, and one pixel whose attention to show:

# %%
image = val[1][0]
found = compute_saliency(model, image, queries=[(32, 32)])
for layer in found.layers:
    print(layer.name, f"a query looks at {layer.perplexity:.1f} keys or so")
    for scale, values in enumerate(layer.scales):
        print(
            f"  X_{scale}: {values.share:.0%} of attention, {values.relative_share:.2f} of its uniform share"
        )

# %%
layer = found.layers[0]
figure, panels = plt.subplots(1, 1 + len(layer.scales), figsize=(10, 2.8))
shown = image - image.amin()
panels[0].imshow((shown / shown.amax()).permute(1, 2, 0))
panels[0].set_title("image")
for scale, (axes, values) in enumerate(zip(panels[1:], layer.scales, strict=True)):
    drawn = axes.imshow(values.attention, vmin=0, vmax=2, cmap="magma")
    axes.set_title(f"X_{scale}: {values.share:.0%}")
for axes in panels:
    axes.set_axis_off()
figure.colorbar(drawn, ax=panels, label="times uniform attention", shrink=0.8)
plt.show()

# %% [markdown]
# And where the token of the pixel in the middle looks:

# %%
figure, panels = plt.subplots(1, len(layer.scales), figsize=(8, 2.8))
for scale, (axes, values) in enumerate(zip(panels, layer.scales, strict=True)):
    axes.imshow(values.queries[0], vmin=0, cmap="magma")
    axes.set_title(f"from token {found.tokens[0]} to X_{scale}")
    axes.set_axis_off()
plt.show()
