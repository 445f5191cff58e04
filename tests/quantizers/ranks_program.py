"""One rank of a small training: ``python ranks_program.py RANK WORLD FOLDER``.

Writes ``FOLDER/RANK.json``: by case, a digest of the model's state after every step; and
``FOLDER/CASE.safetensors``: the state at the end, from rank 0.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.programs import LIMIT_S
from vqtok import config, distributed

STEPS = 24
BATCH = 12
"""Items of the joint batch."""
GRID = 9
DIM = 6
LEARNING_RATE = 0.05

WARM = {"codebook_size": 40, "warmup": 3, "samples": 4}
MORTAL = {"decay": 0.8, "revive": 0.3, "revive_every": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vq": ("vq", WARM | MORTAL),
    "vq-unrevived": ("vq", WARM | MORTAL | {"revive": 0.0}),
    "vq-error": ("vq", WARM | MORTAL | {"revive_at": "error"}),
    "vq-loss": ("vq", WARM | MORTAL | {"ema": False}),
    "vq-cosine": ("vq", WARM | {"codebook_dim": 3, "cosine": True}),
    "simvq": ("simvq", WARM | MORTAL),
    "simvq-unrevived": ("simvq", WARM | MORTAL | {"revive": 0.0}),
    "fsq": ("fsq", {"levels": (5, 4, 3), "diversity": 1.0}),
    "lfq": ("lfq", {"bits": 6, "temperature": 1.0}),
    "gaussian": ("gaussian", {"free_bits": 0.1}),
    "rvq": ("rvq", WARM | MORTAL | {"codebook_size": 16, "depth": 3, "dropout": 0.7}),
}


class Model(nn.Module):
    """A map before the quantizer and one behind it."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        super().__init__()
        self.enter = nn.Conv1d(DIM, DIM, 1)
        self.quantizer = config.config_class(f"quantizers/{name}")(**settings).build(dim=DIM)
        self.leave = nn.Conv1d(DIM, DIM, 1)

    def forward(self, x: Tensor) -> Tensor:
        quantized = self.quantizer(self.enter(x))
        error = (self.leave(quantized.z_q) - x).square().mean()
        total: Tensor = error + quantized.loss
        return total


def items(step: int) -> Tensor:
    """The joint batch: (B, D, T), from clusters that wander, so that entries die."""
    generator = torch.Generator().manual_seed(1000 + step)
    centres = torch.randn(8, DIM, generator=torch.Generator().manual_seed(step // 6)) * 2
    which = torch.randint(8, (BATCH, GRID), generator=generator)
    noise = 0.5 * torch.randn(BATCH, GRID, DIM, generator=generator)
    return (centres[which] + noise).movedim(-1, 1)


def states(case: str, rank: int, world: int, *, generator: bool = True) -> Iterator[nn.Module]:
    """The model after every step."""
    name, settings = CASES[case]
    torch.manual_seed(0)
    model = Model(name, settings).train()
    share = BATCH // world
    if not generator:  # every rank's own choices differ: rank 0's count
        torch.manual_seed(rank)
    for step in range(STEPS):
        if generator:
            model.quantizer.generator = torch.Generator().manual_seed(step)
        x = items(step)[rank * share : (rank + 1) * share]
        model.zero_grad()
        model(x).backward()
        learned = [each for each in model.parameters() if each.grad is not None]
        sums = distributed.summed(*(each.grad for each in learned))
        # By hand: torch's optimizers import its compiler, longer than all steps take.
        with torch.no_grad():
            for each, total in zip(learned, sums, strict=True):
                each -= LEARNING_RATE * total / world
        yield model


def digest(module: nn.Module) -> str:
    """Of every bit of the state."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name}{tuple(tensor.shape)}".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def main(rank: int, world: int, folder: Path) -> None:
    """Run all cases."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=LIMIT_S),
    )
    digests: dict[str, list[str]] = {}
    for case in CASES:
        digests[case] = []
        for model in states(case, rank, world):
            digests[case].append(digest(model))
        if rank == 0:
            state = {key: each.contiguous() for key, each in model.state_dict().items()}
            save_file(state, folder / f"{case}.safetensors")
    digests["own choices"] = [digest(each) for each in states("vq", rank, world, generator=False)]
    digests["evaluation"] = [evaluated(rank)]
    (folder / f"{rank}.json").write_text(json.dumps(digests))
    dist.barrier()
    dist.destroy_process_group()


def evaluated(rank: int) -> str:
    """Codes that rank 0 alone asks for: it would wait forever if evaluation needed the others."""
    torch.manual_seed(0)
    model = Model(*CASES["rvq"]).eval()
    return str(model.quantizer(items(0)).codes.sum().item()) if rank == 0 else ""


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
