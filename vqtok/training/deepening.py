"""A deeper network that begins as a trained one: blocks that are new change nothing at first.

Net2DeeperNet (Chen, Goodfellow and Shlens 2016, arXiv:1511.05641, section 2.3) for residual blocks:
a branch whose scale is zero leaves the identity, and the scale is what learns first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqtok.nn.convnext import Block


@torch.no_grad()
def deepened(model: nn.Module, start: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of a trained model under the names that they have in a deeper one.

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
        places, added = _places(list(new), list(old))
        for place, block in added.items():
            block.scale.zero_()
            fresh.append(f"{name}.{place}")
        # From the last on: each moves to where the one after it has left.
        for was, place in reversed(list(enumerate(places))):
            before = f"{name}.{was}."
            for key in [each for each in state if each.startswith(before)]:
                state[f"{name}.{place}.{key.removeprefix(before)}"] = state.pop(key)
    return state, fresh


def _places(new: list[nn.Module], old: list[nn.Module]) -> tuple[list[int], dict[int, Block]]:
    """Where each old layer goes, and the new blocks; none are new if the rest does not match."""
    places, added = list[int](), dict[int, Block]()
    for place, layer in enumerate(new):
        if len(places) < len(old) and type(old[len(places)]) is type(layer):
            places.append(place)
        elif isinstance(layer, Block):
            added[place] = layer
    return (places, added) if len(places) == len(old) else (list(range(len(old))), {})
