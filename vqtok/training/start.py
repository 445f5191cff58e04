"""The weights of a trained model to begin with; blocks that are new change nothing at first.

Net2DeeperNet (Chen, Goodfellow and Shlens 2016, arXiv:1511.05641, section 2.3) for residual blocks:
a branch whose scale is zero leaves the identity, and the scale is what learns first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqtok.errors import UsageError
from vqtok.nn.convnext import Block
from vqtok.protocols import LearnedCodebook


def begin_from(model: nn.Module, start: nn.Module) -> None:
    """Give a fresh model the weights of a trained one; labels' vectors and blocks may be new.

    Raises:
        UsageError: the two are built differently.
    """
    state, fresh = deepened(model, start)
    new = ("labels.", *(f"{block}." for block in fresh))
    try:
        odd = [name for keys in model.load_state_dict(state, strict=False) for name in keys]
    except RuntimeError as error:
        odd = [str(error)]
    if other := [name for name in odd if not name.startswith(new)]:
        raise UsageError(
            f"-m {start.name}",
            f"its weights do not fit the recipe: {other[0]}",
            hint="with -m, --set changes how it is trained; of how it is built, only more blocks",
        )
    for each in model.modules():
        if isinstance(each, LearnedCodebook):
            each.begin_averages()


@torch.no_grad()
def deepened(model: nn.Module, start: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the weights of a trained model to those of a deeper one.

    Args:
        model: Fresh. Where ``start`` has ConvNeXt blocks in a row, it may have more of them after
            those; they become the identity.
        start: Trained.

    Returns:
        State of ``start`` for ``model``, and the names of the blocks that ``start`` lacks. What
        differs in any other way keeps its name.
    """
    state, fresh = dict(start.state_dict()), list[str]()
    modules = dict(model.named_modules())
    for name, old in start.named_modules():
        new = modules.get(name)
        if not isinstance(old, nn.Sequential) or not isinstance(new, nn.Sequential):
            continue
        positions, added = _positions(list(new), list(old))
        for position, block in added.items():
            block.scale.zero_()
            fresh.append(f"{name}.{position}")
        # From the last on: each moves to where the one after it has left.
        for was, position in reversed(list(enumerate(positions))):
            before = f"{name}.{was}."
            for key in [each for each in state if each.startswith(before)]:
                state[f"{name}.{position}.{key.removeprefix(before)}"] = state.pop(key)
    return state, fresh


def _positions(new: list[nn.Module], old: list[nn.Module]) -> tuple[list[int], dict[int, Block]]:
    """Find where each old layer goes, and the new blocks; none if the rest does not match."""
    positions, added = list[int](), dict[int, Block]()
    for position, layer in enumerate(new):
        if len(positions) < len(old) and type(old[len(positions)]) is type(layer):
            positions.append(position)
        elif isinstance(layer, Block):
            added[position] = layer
    return (positions, added) if len(positions) == len(old) else (list(range(len(old))), {})
