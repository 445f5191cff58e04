"""Several processes as one run: what ``torchrun`` starts, through torch.distributed.

The batch of a step is the joint batch of all ranks: DistributedDataParallel averages gradients,
``distributed.py`` adds up what codebooks count. Rank 0 alone measures, saves and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vqtok.distributed import rank, summed, world

PATIENCE = timedelta(hours=2)
"""How long the others wait while rank 0 measures."""


def device_of(device: torch.device) -> torch.device:
    """This rank's own GPU where the device is "cuda"; else the device."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Let every rank come this far."""
    if world() > 1:
        dist.barrier()


def agree(stop: bool, clock: float, *, device: torch.device) -> tuple[bool, float]:
    """What all ranks go by: whether any of them wants to stop, and the clock of rank 0."""
    if world() == 1:
        return stop, clock
    said = torch.tensor([float(stop), clock if rank() == 0 else 0.0], dtype=torch.float64)
    (found,) = summed(said.to(device))
    return bool(found[0] > 0), float(found[1])


def all_finite(values: Tensor) -> bool:
    """Whether every number is finite, on every rank."""
    bad = (~values.isfinite()).sum()
    if world() > 1:
        (bad,) = summed(bad)
    return int(bad) == 0


def spread(module: nn.Module) -> nn.Module:
    """The module with gradients averaged over ranks; alone, the module itself."""
    if world() == 1:
        return module
    # Buffers agree by construction, and a codebook's entries have no gradient during its warm-up.
    return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)
