"""timm's model contract, written once, for backbones that are a row of stages.

P2T, Shunted and the serial part of CoaT are of this form: each defines its stage, the class here
does the rest.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from timm.models._features import feature_take_indices
from torch import Tensor, nn

from mscsa.attention.checkpointing import checkpoint_module
from mscsa.backbones.layers import init_linear
from mscsa.backbones.timm_contract import check_image, check_output_format, replace_classifier


class Stage(nn.Module):
    """Base of the stages, modules from (B, C_in, H, W) to (B, C, H', W'): embedding, then blocks."""

    def __init__(self, embed: nn.Module, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)

    def run_blocks(self, x: Tensor, *shared: Any) -> Tensor:
        """Pass x through the blocks, each called with what they share in the stage."""
        for block in self.blocks:
            x = checkpoint_module(block, x, *shared) if self.grad_checkpointing else block(x, *shared)
        return x


class StagedBackbone(nn.Module):
    """Run the stages; classify the norm of the last map by average pooling and a linear layer.

    Args:
        stages: From stride 4 on, each of half the resolution of the one before.
        channels: Of each stage's output.
        norm: Final norm on the last map; `nn.Identity()` where the stages bring their own or none.
        num_classes: 0 for no classifier.
        in_chans: Channels of the image.
        global_pool: "avg", or "" for the map itself.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        channels: Sequence[int],
        norm: nn.Module,
        *,
        num_classes: int,
        in_chans: int,
        global_pool: str,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = channels[-1]
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": 4 * 2**i, "module": f"stages.{i}"}
            for i, width in enumerate(channels)
        ]
        self.stages = nn.Sequential(*stages)
        self.norm = norm
        self.drop_rate = drop_rate
        self.head_drop = nn.Dropout(drop_rate)
        self.head: nn.Module = nn.Identity()
        self.global_pool = global_pool
        self.reset_classifier(num_classes, global_pool)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters without weight decay, beyond those with one dimension."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Give the regular expressions that order the parameters for layer-wise decay.

        Fine groups are the blocks; what a stage has before or beside its blocks goes with its
        first block, a norm after them with its last.
        """
        by_block = [
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^stages\.(\d+)\.norm", (99999,)),
            (r"^stages\.(\d+)", (0,)),
            (r"^norm", (99999,)),
        ]
        by_stage = [(r"^stages\.(\d+)", None), (r"^norm", (99999,))]
        return {"stem": r"^stages\.0\.embed", "blocks": by_stage if coarse else by_block}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the linear layer, `nn.Identity` without classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one of `num_classes` outputs (0: none).

        Raises:
            UserError: As `chosen_pooling`.
        """

        def build() -> nn.Module:
            linear = nn.Linear(self.num_features, num_classes)
            init_linear(linear)
            return linear

        replace_classifier(self, num_classes, global_pool, build)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps of the stages at `indices`, beside what `forward_features` gives.

        Args:
            x: Image, (B, in_chans, H, W).
            indices: Stages to return; the last n if an int, all if None.
            norm: Apply the final norm to the last stage's map.
            stop_early: Leave out the stages after the last one asked for.
            output_fmt: Only "NCHW".
            intermediates_only: Return the list alone.
        Raises:
            UserError: If `output_fmt` is another one, or `x` no batch of images.
        """
        check_output_format(output_fmt)
        check_image(x, self.in_chans)
        taken, last = feature_take_indices(len(self.stages), indices)
        maps = []
        for i, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            is_final = i == len(self.stages) - 1
            if i in taken:
                maps.append(self.norm(x) if norm and is_final else x)
        if intermediates_only:
            return maps
        return (self.norm(x) if is_final else x), maps

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove what the maps at `indices` do not need; return `indices` as positive numbers."""
        taken, last = feature_take_indices(len(self.stages), indices)
        is_cut = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if is_cut:
            # The norm and the classifier are sized for the stage that is gone.
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_norm or is_cut:
            self.norm = nn.Identity()
        if prune_head or is_cut:
            self.reset_classifier(0, "")
        return taken

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, (B, num_features, H/32, W/32), after the final norm.

        Raises:
            UserError: If `x` is no batch of images, or of a size that the backbone cannot take.
        """
        check_image(x, self.in_chans)
        return self.norm(self.stages(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the last map; with `pre_logits`, stop before the linear layer."""
        if self.global_pool:
            x = x.mean(dim=(2, 3))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (B, num_classes)."""
        return self.forward_head(self.forward_features(x))
