"""CoaT: its serial part as a backbone of its own, and any input size for timm's full models.

Xu et al., "Co-Scale Conv-Attentional Image Transformers", arXiv:2104.06399; official code
mlpc-ucsd/CoaT (Apache-2.0). timm has the full CoaT (`coat_tiny`, `coat_small`, ...), whose parallel
blocks exchange information between the stages. MSCSA takes their place, so its backbone is what
comes before them: `coat_serial_tiny` and `coat_serial_small`. ("CoaT-Lite" is also serial, but with
other widths and ratios; the name would promise its weights.)

The class token of a stage takes part in its attention and goes no further; the classifier averages
the last map.
"""

import functools
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from timm.layers import DropPath, LayerNorm, LayerNorm2d, Mlp, PatchEmbed
from timm.models import register_model
from timm.models.coat import CoaT, ConvPosEnc, ConvRelPosEnc
from torch import Tensor, nn

from mscsa.backbones.layers import init_linear
from mscsa.backbones.official_keys import Renaming, rename_official
from mscsa.backbones.staged import Stage, StagedBackbone
from mscsa.backbones.timm_contract import boundary_check, create_backbone, describe_sizes
from mscsa.errors import UserError

NUM_HEADS = 8
MLP_RATIO = 4
DEPTHS = (2, 2, 2, 2)
HEADS_OF_WINDOW = {3: 2, 5: 3, 7: 3}
STRIDE = 32
"""Of the last stage; patches do not overlap, so image sides must be multiples of it."""


@boundary_check
def check_input_size(x: Tensor, multiple: int) -> None:
    """Raise a UserError unless both sides of (B, C, H, W) are multiples of the given one."""
    height, width = x.shape[-2:]
    if height % multiple or width % multiple:
        fitting = f"{-height // multiple * -multiple}x{-width // multiple * -multiple}"
        raise UserError(
            f"CoaT got an image of {height}x{width}; both sides must be multiples of {multiple}: "
            f"pad or resize it to {fitting}"
        )


class FactorisedAttention(nn.Module):
    """Attend through a small matrix of keys and values, linear in the number of tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = (dim // NUM_HEADS) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, crpe: ConvRelPosEnc, size: tuple[int, int]) -> Tensor:
        """Map (B, 1 + H*W, C) to the same shape.

        Args:
            x: Class token, then the map of `size`.
            crpe: Position encoding from the values, added without the attention's scale.
            size: H and W.
        """
        batch, tokens, dim = x.shape
        heads = (NUM_HEADS, dim // NUM_HEADS)
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, *heads).permute(2, 0, 3, 1, 4).unbind(0)
        context = k.softmax(dim=2).transpose(-2, -1) @ v  # over all tokens, the class token too
        out = self.scale * (q @ context) + crpe(q, v, size)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


class SerialBlock(nn.Module):
    """Position encoding, attention, MLP, each added to the tokens."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = FactorisedAttention(dim)
        self.norm2 = LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, cpe: ConvPosEnc, crpe: ConvRelPosEnc, size: tuple[int, int]) -> Tensor:
        """Map (B, 1 + H*W, C) to the same shape; the encodings belong to the stage."""
        x = cpe(x, size)
        x = x + self.drop_path(self.attn(self.norm1(x), crpe, size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SerialStage(Stage):
    """Patch embedding, class token, and blocks that share the two position encodings."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        *,
        patch_size: int,
        input_multiple: int,
        drop_path: float,
    ) -> None:
        embed = PatchEmbed(
            img_size=None,
            patch_size=patch_size,
            in_chans=in_channels,
            embed_dim=channels,
            norm_layer=nn.LayerNorm,
            output_fmt="NHWC",
        )
        super().__init__(embed, [SerialBlock(channels, drop_path) for _ in range(depth)])
        self.input_multiple = input_multiple
        self.cls_token = nn.Parameter(torch.empty(1, 1, channels))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.cpe = ConvPosEnc(channels)
        self.crpe = ConvRelPosEnc(channels // NUM_HEADS, NUM_HEADS, HEADS_OF_WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H/p, W/p), p the patch size.

        Raises:
            UserError: If the size does not fit.
        """
        check_input_size(x, self.input_multiple)
        x = self.embed(x)
        size = (x.shape[1], x.shape[2])
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)
        x = self.run_blocks(x, self.cpe, self.crpe, size)
        return x[:, 1:].unflatten(1, size).permute(0, 3, 1, 2)


class SerialCoaT(StagedBackbone):
    """CoaT without its parallel blocks, for images of any size divisible by 32.

    Args:
        channels: Width of each of the four stages.
        drop_path_rate: Of every block.
        num_classes: See `StagedBackbone`; so for the rest.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        stages = [
            SerialStage(
                width_in,
                width,
                DEPTHS[i],
                patch_size=4 if i == 0 else 2,
                input_multiple=STRIDE if i == 0 else 2,
                drop_path=drop_path_rate,
            )
            for i, (width_in, width) in enumerate(pairwise((in_chans, *channels)))
        ]
        super().__init__(
            stages,
            channels,
            norm=LayerNorm2d(channels[-1], eps=1e-6),
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )
        self.apply(init_linear)  # convolutions keep PyTorch's default, as in the official code

    def no_weight_decay(self) -> set[str]:
        """Name the class tokens."""
        return {f"stages.{i}.cls_token" for i in range(len(self.stages))}


class InputGridPatchEmbed(nn.Module):
    """timm's `PatchEmbed` with a grid that is the last input's, not the constructor's.

    timm's CoaT reads `grid_size` after each call. Keys are `PatchEmbed`'s.
    """

    def __init__(self, proj: nn.Module, norm: nn.Module, input_multiple: int) -> None:
        super().__init__()
        self.input_multiple = input_multiple
        self.proj = proj
        self.norm = norm
        self.grid_size = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, H/p * W/p, C), p the patch size.

        Raises:
            UserError: If the size does not fit.
        """
        check_input_size(x, self.input_multiple)
        x = self.proj(x)
        self.grid_size = (x.shape[2], x.shape[3])
        return self.norm(x.flatten(2).transpose(1, 2))


def accept_any_size(model: nn.Module) -> nn.Module:
    """Let one of timm's CoaT models take images of any size divisible by 32; return it. Others stay so.

    Changes this model only, and none of its parameters or keys. No parameter of CoaT depends on
    the size, yet timm's models take no other than the one they were built for.
    """
    if not isinstance(model, CoaT):
        return model
    for i in range(1, 5):
        embed: Any = getattr(model, f"patch_embed{i}")
        if embed is not None:  # of a stage that was pruned
            multiple = STRIDE if i == 1 else 2
            embed = InputGridPatchEmbed(embed.proj, embed.norm, input_multiple=multiple)
            setattr(model, f"patch_embed{i}", embed)
    return model


# CoaT registers its shared modules in every block; each of these names is another of an earlier key.
_DUPLICATE_KEYS = (
    (r"^serial_blocks(\d)\.\d+\.cpe\.", r"cpe\1."),
    (r"^serial_blocks(\d)\.\d+\.factoratt_crpe\.crpe\.", r"crpe\1."),
    (r"^parallel_blocks\.\d+\.factoratt_crpe(\d)\.crpe\.", r"crpe\1."),
    (r"^(parallel_blocks\.\d+)\.mlp[34]\.", r"\1.mlp2."),
)
_SERIAL_KEYS: tuple[Renaming, ...] = (
    (r"^cls_token(\d)$", lambda m: f"stages.{int(m[1]) - 1}.cls_token"),
    (r"^patch_embed(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.embed."),
    (r"^(cpe|crpe)(\d)\.", lambda m: f"stages.{int(m[2]) - 1}.{m[1]}."),
    (r"^serial_blocks(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks."),
    (r"\.factoratt_crpe\.", lambda m: ".attn."),
)
_NOT_SERIAL = re.compile(r"(parallel_blocks|norm\d|aggregate|head)\.")
_COAT_PART = re.compile(r"(patch_embed|cpe|crpe|serial_blocks)\d\.|cls_token\d|" + _NOT_SERIAL.pattern)


def first_key(key: str) -> str:
    """Name the first of the official keys that hold the same tensor as `key`."""
    for pattern, replacement in _DUPLICATE_KEYS:
        key = re.sub(pattern, replacement, key)
    return key


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Take the serial part of an official CoaT checkpoint for `model`, a `SerialCoaT`.

    A final norm and a classifier of `model` keep their values: the official ones belong to the
    class tokens after the parallel blocks. A checkpoint in our keys stays as it is.
    """
    if any(key.startswith("stages.") for key in state_dict):
        return dict(state_dict)
    serial = {
        key: value
        for key, value in state_dict.items()
        if first_key(key) == key and not _NOT_SERIAL.match(key)
    }
    own = {k: v for k, v in model.state_dict().items() if k.startswith(("norm.", "head."))}
    return rename_official(serial, model, _SERIAL_KEYS) | own


def full_checkpoint_filter_fn(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official CoaT checkpoint to one of timm's `coat_*`, whose names are the official ones.

    Left out are `norm1`, which the official model has and does not use, and the parts that `model`
    was built or pruned without. The keys of one shared tensor all get the value of the first, also
    where the checkpoint holds no other.
    """
    own = model.state_dict()
    own_parts = {key.split(".")[0] for key in own}
    entries = {
        key: value
        for key, value in state_dict.items()
        if key.split(".")[0] in own_parts or not _COAT_PART.match(key)
    }
    shared = {key: state_dict[first_key(key)] for key in own if first_key(key) in state_dict}
    return entries | shared


SIZES: dict[str, dict[str, Any]] = {
    "coat_serial_tiny": {"channels": (152, 152, 152, 152)},
    "coat_serial_small": {"channels": (152, 320, 320, 320)},
}
"""Registered model -> the arguments of its size."""

default_cfgs = describe_sizes(
    SIZES,
    first_conv="stages.0.embed.proj",
    classifier="head",
    crop_pct=0.9,
    license="apache-2.0",
    paper_ids="arXiv:2104.06399",
    paper_name="Co-Scale Conv-Attentional Image Transformers",
    origin_url="https://github.com/mlpc-ucsd/CoaT",
)
_create = functools.partial(create_backbone, SerialCoaT, SIZES, checkpoint_filter_fn)


@register_model
def coat_serial_tiny(pretrained: bool = False, **kwargs: Any) -> SerialCoaT:
    """Build the serial part of CoaT-Tiny."""
    return _create("coat_serial_tiny", pretrained, **kwargs)


@register_model
def coat_serial_small(pretrained: bool = False, **kwargs: Any) -> SerialCoaT:
    """Build the serial part of CoaT-Small."""
    return _create("coat_serial_small", pretrained, **kwargs)
