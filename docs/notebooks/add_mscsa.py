# %% [markdown]
# # Add MSCSA to a model
#
# A pretrained EfficientNet-Lite0 (its weights come as a package, no download) gets MSCSA; then both learn,
# for some steps, to tell rendered digits apart. What counts here is what goes where: some steps on some
# scenes show no difference.

# %%
import torch

import mscsa

torch.manual_seed(0)
plain = mscsa.models.build_pyramid("tf_efficientnet_lite0", pretrained=True)
model = mscsa.create_model("tf_efficientnet_lite0", pretrained=True, features_only=True, budget=0.10)
image = torch.rand(1, 3, 96, 96)
[tuple(x.shape) for x in model(image)]

# %% [markdown]
# The fused maps have the shapes of timm's, and at step 0 their values, too: a pretrained backbone loses
# nothing.

# %%
model.eval(), plain.eval()
with torch.no_grad():
    fused = {x.shape[-1]: x for x in model(image)}
    equal = {f"1/{96 // x.shape[-1]}": torch.equal(fused[x.shape[-1]], x) for x in plain(image)}
equal

# %% [markdown]
# What it added: parameters, and multiply-adds within the budget of 10 %.

# %%
added = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("backbone."))
whole = sum(p.numel() for p in model.parameters())
print(f"{added:,} of {whole:,} parameters are new")
print(model.mscsa.config)

# %% [markdown]
# ## A classifier that keeps what it knew
#
# With `keep_classifier` the backbone's own classifier stays and MSCSA's logits, 0 at the start, are added
# to its.

# %%
classifier = mscsa.create_model(
    "tf_efficientnet_lite0", pretrained=True, keep_classifier=True, num_classes=10
)
optimiser = torch.optim.AdamW(classifier.parameters(), lr=1e-3)

# %% [markdown]
# The data: scenes with one digit each, in the loader that training uses.

# %%
from mscsa.data import build_datasets
from mscsa.recipes import get_recipe

recipe = get_recipe("scenes/mscsa_resnet10t")
train, _ = build_datasets(recipe.data, recipe.augment, classifier.pretrained_cfg, seed=0)
images = torch.stack([train[i][0] for i in range(64)])
labels = torch.tensor([int(train[i][1]) for i in range(64)])

# %%
classifier.train()
losses = []
for step in range(12):
    batch = torch.arange(16) + 16 * (step % 4)
    loss = torch.nn.functional.cross_entropy(classifier(images[batch]), labels[batch])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
print(" ".join(f"{loss:.2f}" for loss in losses))
assert sum(losses[-4:]) < sum(losses[:4])

# %% [markdown]
# Keep all of it, or what MSCSA added alone:

# %%
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    mscsa.save_weights(classifier, Path(folder) / "model.safetensors")
    mscsa.save_addon(model, Path(folder) / "addon.safetensors")
    for path in sorted(Path(folder).iterdir()):
        print(path.name, f"{path.stat().st_size / 2**20:.1f} MiB")
