"""Everything a training run needs to go on exactly where it stopped, in one safetensors file.

One file and not a pair, so that a kill between two renames cannot leave weights of one step with
the state of another. Tensors are named ``MODULE.…`` ("model", "average" …) and
``OPTIMIZER.INDEX.KEY``; the rest is JSON in the metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vqtok import atomic, regular
from vqtok.errors import CheckpointError

FILE = "resume.safetensors"

_MOST_STEPS = 1 << 53


def save(
    directory: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    state: Mapping[str, Any],
) -> None:
    """Write the whole state of a run, atomically.

    Args:
        directory: The model's directory.
        modules: Name → weights and buffers, training-only ones included.
        optimizers: Name → moments and counters.
        state: JSON data: step, seconds, recipe.
    """
    tensors = {
        f"{kind}.{name}": value
        for kind, module in modules.items()
        for name, value in module.state_dict().items()
    }
    for kind, optimizer in optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"{kind}.{index}.{key}"] = torch.as_tensor(value)
    # safetensors refuses tensors that share memory; a copy of each costs little beside a step.
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic.file(directory / FILE) as temporary:
        save_file(owned, temporary, metadata={"vqtok": json.dumps(state, sort_keys=True)})


def read_state(directory: Path) -> dict[str, Any]:
    """Returns the JSON part of a saved run.

    Raises:
        CheckpointError: nothing to resume from, or a damaged file.
    """
    path = directory / FILE
    if not path.exists():
        raise CheckpointError(
            directory, f"nothing to resume: no {FILE}", hint="start without --resume"
        )
    try:
        regular.opened(path).close()
        with safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
        state = json.loads(metadata["vqtok"])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(path, f"damaged: {error}") from error
    if not _is_state(state):
        raise CheckpointError(path, "damaged: not the state of a run")
    found: dict[str, Any] = state
    return found


def _is_state(state: object) -> bool:
    if not isinstance(state, dict) or not isinstance(state.get("recipe"), dict):
        return False
    if type(state.get("step")) is not int or not _is_number(state.get("elapsed_s")):
        return False
    for key in ("vitals", "scale", "best"):
        found = state.setdefault(key, {})
        if not isinstance(found, dict) or not all(map(_is_number, found.values())):
            return False
    if state["best"] and type(state["best"].get("step")) is not int:
        return False
    reads = state.setdefault("reads", [])
    if not isinstance(reads, list) or not all(isinstance(each, str) for each in reads):
        return False
    if type(state.setdefault("files", 0)) is not int:
        return False
    return all(0 <= state[key] <= _MOST_STEPS for key in ("step", "elapsed_s"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def restore(
    directory: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Put a saved run's tensors back into modules and optimizers built from the same recipe.

    Raises:
        CheckpointError: tensors that do not fit the recipe.
    """
    path = directory / FILE
    weights: dict[str, dict[str, Tensor]] = {kind: {} for kind in modules}
    moments: dict[str, dict[int, dict[str, Tensor]]] = {kind: {} for kind in optimizers}
    try:
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                kind, _, rest = name.partition(".")
                # A copy, so that nothing refers to the file that the next save replaces.
                value = stored.get_tensor(name).clone()
                if kind in weights:
                    weights[kind][rest] = value
                elif kind in moments:
                    index, _, key = rest.partition(".")
                    moments[kind].setdefault(int(index), {})[key] = value
                else:
                    raise ValueError(f"{name}: not of this recipe")
        for kind, optimizer in optimizers.items():
            _check_moments(moments[kind], optimizer, kind=kind)
        for kind, module in modules.items():
            module.load_state_dict(weights[kind])
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(path, f"does not fit the recipe: {error}") from error
    for kind, optimizer in optimizers.items():
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments[kind], "param_groups": groups})


_MOMENTS: dict[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Muon: {"momentum_buffer"},
}
"""What each optimizer keeps of a parameter."""

_SIGNED = {"exp_avg", "momentum_buffer"}


def _check_moments(
    moments: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer, *, kind: str
) -> None:
    """Raise ValueError unless the moments are those of the parameters, and numbers."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for index, found in moments.items():
        if not 0 <= index < len(parameters):
            raise ValueError(f"{kind}.{index}: there are {len(parameters)} parameters")
        shape = parameters[index].shape
        for key, value in found.items():
            if value.shape != (() if key == "step" else shape):
                raise ValueError(f"{kind}.{index}.{key}: shape {tuple(value.shape)} found")
            low, high = (float(each) for each in torch.aminmax(value)) if value.numel() else (0, 0)
            # NaN compares as false. A power of a wild step, or a root of a negative, would fail.
            if not (-math.inf < low and high < math.inf and (key in _SIGNED or low >= 0)):
                raise ValueError(f"{kind}.{index}.{key}: values from {low:g} to {high:g}")
        names = next(each for known, each in _MOMENTS.items() if isinstance(optimizer, known))
        if set(found) != names:
            raise ValueError(f"{kind}.{index}: {', '.join(sorted(found))} found")
