"""Networks that the transformers library has: built from numbers alone, never downloaded."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.errors import UsageError

HINT = "pip install 'vqtok[hf]'"

_lock = threading.RLock()

Copied = TypeVar("Copied", bound=nn.Module)


def module(family: str, name: str) -> Any:
    """Returns one module of the library: ``module("dac", "modeling_dac")``.

    Raises:
        UsageError: the library is not installed, or its version lacks the family.
    """
    try:
        return importlib.import_module(f"transformers.models.{family}.{name}")
    except ImportError as error:
        raise UsageError(
            f"{family}: this kind of model needs the transformers package", hint=HINT
        ) from error


def settings(family: str, keys: Mapping[str, Any], *, name: str = "") -> Any:
    """Returns the library's own config object of some of its keys; tuples become lists.

    Args:
        family: As of ``module``.
        keys: For the config.
        name: Of its class, where that is not the family's, capitalized.

    Raises:
        UsageError: as ``module``.
        ValueError: numbers that the library refuses.
    """
    name = name or f"{family.capitalize()}Config"
    make = getattr(module(family, f"configuration_{family}"), name)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items()}
    return make(**plain)


@contextmanager
def drawing() -> Iterator[None]:
    """Build the library's networks inside; it draws no weights where torch would draw none.

    Then weights are whatever lies in memory, and are not normalised.
    """
    probe = torch.full((1,), torch.nan).uniform_(generator=torch.Generator())
    if not probe.isnan():
        yield
        return
    initialization = importlib.import_module("transformers.initialization")
    parametrizations: Any = torch.nn.utils.parametrizations
    with _lock:  # what is changed is global
        plain = parametrizations.weight_norm
        parametrizations.weight_norm = lambda module, *rest, **options: module
        try:
            with initialization.no_init_weights():
                yield
        finally:
            parametrizations.weight_norm = plain


class _Convolution(nn.Module):
    """A convolution of the library for lengths that are multiples of its stride.

    Args:
        given: The library's, which finds out by the length what to pad.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.conv, self.norm = given.conv, getattr(given, "norm", None)
        total = int(given.padding_total)
        self.right = 0 if given.causal else total // 2
        self.left, self.mode = total - self.right, given.pad_mode

    def forward(self, x: Tensor, padding_cache: None = None) -> Tensor:
        """Maps (B, C, T) → (B, C', T / stride)."""
        if self.mode == "reflect" and self.left and not self.right:
            # Of a few frames, what is mirrored is silence behind them.
            x = F.pad(x, (0, self.left))
            x = F.pad(x, (self.left, 0), mode="reflect")[..., : -self.left]
        elif self.left or self.right:
            x = F.pad(x, (self.left, self.right), mode=self.mode)
        out: Tensor = self.conv(x)
        return out if self.norm is None else cast(Tensor, self.norm(out))


def traceable(network: Copied) -> Copied:
    """Copy a network with convolutions that tracing fixes to no length."""
    copy = deepcopy(network)
    for each in list(copy.modules()):
        for name, part in list(each.named_children()):
            if hasattr(part, "_get_extra_padding_for_conv1d"):
                setattr(each, name, _Convolution(part))
    return copy


def unparametrized(network: nn.Module) -> nn.Module:
    """Compute normalised weights once: the same numbers, stored as plain ``weight``."""
    from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

    for each in list(network.modules()):
        if is_parametrized(each, "weight"):
            remove_parametrizations(each, "weight")
    return network
