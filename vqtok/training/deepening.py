"""A deeper network that begins as a trained one: blocks that are new change nothing at first.

Net2DeeperNet (Chen, Goodfellow and Shlens 2016, arXiv:1511.05641, section 2.3) for residual blocks:
a branch whose scale is zero leaves the identity, and the scale is what learns first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqtok.layers.convnext import Block


def deepened(model: nn.Module, start: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of a trained model under the names that they have in a deeper one.

    Args:
        model: Fresh. Where ``start`` has ConvNeXt blocks in a row, it may have more of them.
        start: Trained.

    Returns:
        State of ``start`` for ``model``, and names of the blocks that ``start`` lacks: they follow
        those that it has. What differs in any other way keeps its name.
    """
    state, fresh = dict(start.state_dict()), list[str]()
    modules = dict(model.named_modules())
    for name, old in start.named_modules():
        new = modules.get(name)
        if not isinstance(old, nn.Sequential) or not isinstance(new, nn.Sequential):
            continue
        added, places = _added(list(new), list(old))
        fresh += [f"{name}.{place}" for place in added]
        # From the last on: each moves to where the one after it has left.
        for was, place in reversed(list(enumerate(places))):
            for key in [each for each in state if each.startswith(f"{name}.{was}.")]:
                state[f"{name}.{place}.{key.removeprefix(f'{name}.{was}.')}"] = state.pop(key)
    return state, fresh


@torch.no_grad()
def silence(model: nn.Module, blocks: list[str]) -> None:
    """Make these blocks the identity."""
    for name in blocks:
        block = model.get_submodule(name)
        if isinstance(block, Block):
            block.scale.zero_()


def _added(new: list[nn.Module], old: list[nn.Module]) -> tuple[list[int], list[int]]:
    """Places of the new blocks, and of each old layer; none are new if the rest does not match."""
    added, places = list[int](), list[int]()
    for place, layer in enumerate(new):
        if len(places) < len(old) and type(old[len(places)]) is type(layer):
            places.append(place)
        elif isinstance(layer, Block):
            added.append(place)
    return (added, places) if len(places) == len(old) else ([], list(range(len(old))))
