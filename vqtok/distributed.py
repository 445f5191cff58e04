"""Several processes that train one model: what each sees of the others' latents and draws.

R ranks with batches of B items learn what one process would from the joint batch of R·B: rank r
holds its items r·B … (r + 1)·B - 1. Statistics are added up over ranks, random numbers are drawn
for the joint batch, and what ranks could round differently comes from rank 0, so that codebooks
stay the same on all, bit for bit. Every rank must make the same calls in the same order, in
training only; without ``torch.distributed`` all of this does nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqtok.nn.gradients import straight_through

PATIENCE = timedelta(hours=2)
"""How long the others wait while rank 0 measures."""

_replicas: list[DistributedDataParallel] = []
"""Those of the group that this process is in."""


class Share(NamedTuple):
    """A rank's part of the joint batch."""

    total: int
    """Items of the joint batch."""
    mine: slice
    """Those of this rank."""


def world() -> int:
    """R: processes that train together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, r, from 0."""
    return dist.get_rank() if world() > 1 else 0


def share(batch: int) -> Share:
    """Returns where this rank's ``batch`` items are in the joint batch; all ranks have as many.

    Random numbers are drawn for ``total`` items, from generators in the same state on all ranks,
    and ``mine`` of them used.
    """
    start = rank() * batch
    return Share(world() * batch, slice(start, start + batch))


def summed(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Sums over ranks, in one collective: the same bits on all ranks; without gradients.

    Args:
        tensors: Of any shapes, the same on all ranks, on one device. They are added in float32, or
            all in float64 if one is float64 or integer.

    Returns:
        In the types of ``tensors``; alone, the tensors themselves.
    """
    if world() == 1:
        return tensors
    exact = any(each.dtype == torch.float64 or not each.is_floating_point() for each in tensors)
    wide = torch.float64 if exact else torch.float32
    flat = torch.cat([each.detach().reshape(-1).to(wide) for each in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat, [each.numel() for each in tensors])
    return tuple(
        part.reshape(each.shape).to(each.dtype) for part, each in zip(parts, tensors, strict=True)
    )


def counts(rows: Tensor) -> list[int]:
    """Rows of every rank, in rank order."""
    if world() == 1:
        return [len(rows)]
    mine = torch.zeros(world(), dtype=torch.int64, device=rows.device)
    mine[rank()] = len(rows)
    dist.all_reduce(mine)
    return cast("list[int]", mine.tolist())


def gathered(rows: Tensor) -> Tensor:
    """Maps (N, …) rows of every rank → (sum of N, …) in rank order, on all; without gradients.

    Args:
        rows: N may differ between ranks; it may be 0.
    """
    if world() == 1:
        return rows.detach()
    lengths = counts(rows)
    longest = max(lengths)
    mine = rows.new_zeros(longest, *rows.shape[1:])
    mine[: len(rows)] = rows.detach()
    found = [torch.empty_like(mine) for _ in lengths]
    dist.all_gather(found, mine)
    return torch.cat([each[:length] for each, length in zip(found, lengths, strict=True)])


def picked(rows: Tensor, order: Tensor, lengths: list[int]) -> Tensor:
    """Returns some rows of the joint batch, of which only these travel; without gradients.

    Args:
        rows: (N, d) of this rank.
        order: int64 (n,) on any device: numbers in the joint batch, the same on all ranks.
        lengths: ``counts(rows)``.

    Returns:
        (n, d).
    """
    order = order.to(rows.device)
    if world() == 1:
        return rows.detach()[order]
    here = order - sum(lengths[: rank()])
    mine = ((here >= 0) & (here < len(rows))).nonzero().squeeze(1)
    chosen = rows.new_zeros(len(order), *rows.shape[1:])
    chosen[mine] = rows.detach()[here[mine]]
    dist.all_reduce(chosen)  # each row is added to zeros: no rounding
    return chosen


def agreed(tensor: Tensor) -> Tensor:
    """Rank 0's values, on all ranks; ``tensor`` itself is left as it is.

    For what follows from generators or kernels that might not be the same everywhere.
    """
    if world() == 1:
        return tensor
    device = tensor.device
    if dist.get_backend() == "nccl" and device.type == "cpu":  # only GPUs' tensors travel there
        device = torch.device("cuda", torch.cuda.current_device())
    found = tensor.detach().to(device).contiguous().clone()
    dist.broadcast(found, src=0)
    return found.to(tensor.device)


def pooled(mean: Tensor) -> Tensor:
    """Averages a mean over ranks of equally many items, with the own rank's gradient.

    A loss that depends on it has, averaged over ranks, the gradient of the loss over the joint
    batch: each rank adds the part of its own items.
    """
    if world() == 1:
        return mean
    (total,) = summed(mean)
    return straight_through(mean, total / world())


def device_of_rank(device: torch.device) -> torch.device:
    """Choose this rank's own GPU where the device is "cuda"; else the device."""
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
    # DistributedDataParallel imports it, and what is imported while there is a group keeps that for
    # good. Its threads then outlive the interpreter, and one that still holds a tensor aborts.
    importlib.import_module("torch._dynamo")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        # Reducers hold the group too. The last of them would end it with the interpreter's lock in
        # hand, and wait for a thread of the group that wants this lock to let go of a tensor.
        while _replicas:
            replica = _replicas.pop()
            del replica.logger, replica.reducer
        dist.destroy_process_group()


def wait() -> None:
    """Let every rank come this far."""
    if world() > 1:
        dist.barrier()


def agree(stop: bool, clock: float, *, device: torch.device) -> tuple[bool, float]:
    """Agree on whether any rank wants to stop, and on the clock of rank 0."""
    if world() == 1:
        return stop, clock
    values = torch.tensor([float(stop), clock if rank() == 0 else 0.0], dtype=torch.float64)
    (found,) = summed(values.to(device))
    return bool(found[0] > 0), float(found[1])


def all_finite(values: Tensor) -> bool:
    """Tell whether every number is finite, on every rank."""
    (found,) = summed((~values.isfinite()).sum())
    return int(found) == 0


def replicated(module: nn.Module) -> nn.Module:
    """Wrap a module to average gradients over ranks, while they are joined; alone, return it."""
    if world() == 1:
        return module
    # Buffers agree by construction: none is sent at a step. torch 2.13 has another word for that.
    known = signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {sync: False}
    # A codebook's entries have no gradient during its warm-up.
    replica = DistributedDataParallel(module, find_unused_parameters=True, **options)
    _replicas.append(replica)
    return replica
