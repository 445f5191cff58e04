"""Everything a training run needs to go on exactly where it stopped, in one safetensors file.

One file and not a pair, so that a kill between two renames cannot leave weights of one step with
the state of another. Tensors are named ``model.…`` and ``optimizer.INDEX.KEY``; the rest is JSON
in the metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vqtok import atomic
from vqtok.errors import CheckpointError

FILE = "resume.safetensors"


def save(
    directory: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write the whole state of a run, atomically.

    Args:
        directory: The model's directory.
        model: Weights and buffers, training-only ones included.
        optimizer: Its moments and counters.
        state: JSON data: step, seconds, recipe.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    # safetensors refuses tensors that share memory; a copy of each costs little beside a step.
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic.file(directory / FILE) as temporary:
        save_file(owned, temporary, metadata={"vqtok": json.dumps(state, sort_keys=True)})


def read_state(directory: Path) -> dict[str, Any]:
    """The JSON part of a saved run.

    Raises:
        CheckpointError: nothing to resume from, or a damaged file.
    """
    path = directory / FILE
    if not path.exists():
        raise CheckpointError(
            f"{directory}: nothing to resume: no {FILE}", hint="start without --resume"
        )
    try:
        with safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
        state: dict[str, Any] = json.loads(metadata["vqtok"])
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error
    return state


def restore(directory: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a saved run's tensors back into a model and an optimizer built from the same recipe.

    Raises:
        CheckpointError: tensors that do not fit the recipe.
    """
    path = directory / FILE
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                kind, _, rest = name.partition(".")
                if kind == "model":
                    weights[rest] = stored.get_tensor(name)
                else:
                    index, _, key = rest.partition(".")
                    # A copy, so that nothing refers to the file that the next save replaces.
                    moments.setdefault(int(index), {})[key] = stored.get_tensor(name).clone()
        model.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not fit the recipe: {error}") from error
    plan = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": plan["param_groups"]})
