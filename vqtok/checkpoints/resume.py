"""Everything a training run needs to go on exactly where it stopped, in one safetensors file.

One file and not a pair, so that a kill between two renames cannot leave weights of one step with
the state of another. Tensors are named ``model.…`` and ``optimizer.INDEX.KEY``; the rest is JSON
in the metadata.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vqtok import atomic
from vqtok.errors import CheckpointError

FILE = "resume.safetensors"

_MOST_STEPS = 1 << 53


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
        state = json.loads(metadata["vqtok"])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error
    if not _is_state(state):
        raise CheckpointError(f"{path}: damaged: not the state of a run")
    found: dict[str, Any] = state
    return found


def _is_state(state: object) -> bool:
    if not isinstance(state, dict) or not isinstance(state.get("recipe"), dict):
        return False
    if any(type(state.get(key)) is not int for key in ("step", "skipped")):
        return False
    if type(state.get("elapsed_s")) not in (int, float):
        return False
    return all(0 <= state[key] <= _MOST_STEPS for key in ("step", "skipped", "elapsed_s"))


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
        _check_moments(moments, optimizer)
        model.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: does not fit the recipe: {error}") from error
    plan = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": plan["param_groups"]})


def _check_moments(moments: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError unless the moments are those of the parameters, and numbers."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for index, found in moments.items():
        if not 0 <= index < len(parameters):
            raise ValueError(f"optimizer.{index}: there are {len(parameters)} parameters")
        shape = parameters[index].shape
        for key, value in found.items():
            if value.shape != (() if key == "step" else shape):
                raise ValueError(f"optimizer.{index}.{key}: shape {tuple(value.shape)} found")
            low, high = (float(each) for each in torch.aminmax(value)) if value.numel() else (0, 0)
            # NaN compares as false. A power of a wild step, or a root of a negative, would fail.
            if not (-math.inf < low and high < math.inf and (key == "exp_avg" or low >= 0)):
                raise ValueError(f"optimizer.{index}.{key}: values from {low:g} to {high:g}")
        if set(found) != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"optimizer.{index}: {', '.join(sorted(found))} found")
