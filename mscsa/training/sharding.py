"""Parameters, gradients and the optimiser's state cut up among the processes of a run (FSDP).

Torch's `fully_shard` cuts each parameter along its first dimension. A unit is a module whose parameters are
gathered together right before it runs and left again behind it; what is in no unit is gathered for the whole
step. Files know nothing of it: what they hold is whole and plain, as of one process.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from mscsa.errors import UserError
from mscsa.folding import image_models, without_data

logger = logging.getLogger(__name__)

LARGEST, SMALLEST = 1 / 8, 1 / 256
"""Shares of a model's parameters between which a unit is: what is larger is gathered in parts, what is
smaller with what is around it."""


class ShardedStrategy(DDPStrategy):
    """Lightning's DDP in all but one thing: each process keeps its share of the model, not a copy.

    The model is built and restored whole on the CPU, as by DDP, and cut up on its way to the device.
    """

    mesh: DeviceMesh
    _form: nn.Module

    def model_to_device(self) -> None:
        """Leave the model on the CPU: whole it may not fit."""

    def configure_ddp(self) -> None:
        """Cut up the model, and bring all else of the module to the device."""
        module: Any = self.lightning_module
        self.mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        self._form = _without_weights(module.model)
        shard(module.model, self.mesh)
        super().model_to_device()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Give the state of the module to the first process, whole; the others take part and get nothing."""
        return gathered(super().lightning_module_state_dict(), is_kept=self.is_global_zero)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Give the state of an optimiser to the first process, whole and numbered as DDP's."""
        return gathered(super().optimizer_state(optimizer), is_kept=self.is_global_zero)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's share of whole states."""
        for optimizer, whole in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            shares = {
                number: {name: _share(value, parameters[number]) for name, value in values.items()}
                for number, values in whole["state"].items()
            }
            optimizer.load_state_dict({**whole, "state": shares})

    def gather(self, model: nn.Module) -> nn.Module:
        """Make a whole copy of the sharded model, or of another one of its form, on the device."""
        state = {key: completed(value) for key, value in model.state_dict().items()}
        whole = copy.deepcopy(self._form)
        whole.load_state_dict(state, assign=True)
        return whole.to(self.root_device)


@contextmanager
def whole_model(trainer: pl.Trainer, model: nn.Module) -> Iterator[nn.Module]:
    """Give a model that runs in each process by itself and has all its weights; all processes take part.

    That of a sharded run is a copy, which the first process has on the CPU afterwards; the others' is empty.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ShardedStrategy):
        yield model
        return
    whole = strategy.gather(model)
    yield whole
    whole.to("cpu" if trainer.is_global_zero else "meta")


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut up all parameters of a model, in place, and move them and its buffers to the mesh's device."""
    for parameter in model.parameters():  # in channels-last layout they are not what torch can cut
        parameter.data = parameter.data.contiguous()
    for name in find_units(model):
        fully_shard(model.get_submodule(name), mesh=mesh)
    fully_shard(model, mesh=mesh)


def check_shardable(model: nn.Module) -> None:
    """Refuse what torch cannot cut.

    Raises:
        UserError: If a parameter is a number, without a dimension to cut along.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            raise UserError(
                f"run.strategy fsdp cannot cut up {name}, which is one number without dimensions: train this "
                "model with run.strategy ddp"
            )


def find_units(model: nn.Module) -> list[str]:
    """Name the units of a model: parts of its backbone and of what mixes its levels; a head is in none.

    Each is the outermost module that has at most `LARGEST` of the model's parameters, and `SMALLEST` or more,
    shares none with others, and runs once in a forward pass, as one without data shows. That all processes
    run it in each step is not so of a detector's head, which may have nothing to look at.
    """
    names = {module: name for name, module in model.named_modules()}
    owners = _owners(model)
    total = sum(p.numel() for p in model.parameters())
    found: list[str] = []
    for part in image_models(model):
        once = _run_once(part)
        waiting = list(part.named_children())
        while waiting:
            name, module = waiting.pop(0)
            share = sum(p.numel() for p in module.parameters()) / total
            if share < SMALLEST:
                continue
            is_apart = all(owners[each] == count for each, count in _owners(module).items())
            if name in once and is_apart and share <= LARGEST:
                found.append(".".join(filter(None, (names[part], name))))
            else:
                waiting += [(f"{name}.{child}", below) for child, below in module.named_children()]
    return found


def gathered(values: dict[str, Any], *, is_kept: bool) -> dict[str, Any]:
    """Make nested values whole, on the CPU as far as they were cut up; all processes take part.

    Args:
        is_kept: Whether this process wants them; otherwise they are dropped one by one, and it gets none.
    """

    def take(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        whole = completed(value)
        return whole.cpu() if is_kept else None

    made: dict[str, Any] = tree_map(take, values)
    return made if is_kept else {}


def local(value: Tensor) -> Tensor:
    """Give what this process has of a tensor, whether it is cut up or not."""
    return value.to_local() if isinstance(value, DTensor) else value


def completed(value: Tensor) -> Tensor:
    """Gather a tensor that is cut up, or sum a number up that comes from such; all processes take part."""
    # A copy: without the memory that torch adds to make equal parts.
    return value.full_tensor().detach().clone() if isinstance(value, DTensor) else value


def _share(value: Any, parameter: Tensor) -> Any:
    """Cut a value of the optimiser as its parameter is; all processes have the whole one."""
    if not (isinstance(value, Tensor) and isinstance(parameter, DTensor) and value.shape == parameter.shape):
        return value
    whole = value.to(parameter.device)
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _without_weights(model: nn.Module) -> nn.Module:
    """Copy a model with its buffers, but with parameters that have no memory."""
    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, dict(empty))


def _owners(module: nn.Module) -> Counter[nn.Parameter]:
    """Count the names that each parameter has, of which a shared parameter or module makes several."""
    return Counter(parameter for _, parameter in module.named_parameters(remove_duplicate=False))


def _run_once(model: nn.Module) -> set[str]:
    """Name the modules that run once in a forward pass of a training step; none where it cannot be tried."""
    skeleton, images = without_data(model, batch_size=2)
    calls: Counter[str] = Counter()
    for name, module in skeleton.named_modules():
        module.register_forward_pre_hook(partial(_count, calls, name))
    try:
        with torch.no_grad():
            skeleton(images)
    except Exception as error:  # it is then gathered as one, which is right too
        logger.info("%s is gathered as one: %s", type(model).__name__, error)
        return set()
    return {name for name, count in calls.items() if count == 1}


def _count(calls: Counter[str], name: str, _module: nn.Module, _args: Any) -> None:
    calls[name] += 1
