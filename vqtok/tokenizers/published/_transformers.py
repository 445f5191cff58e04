"""Networks that the transformers library has: built from numbers alone, never downloaded."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vqtok.errors import UsageError

HINT = "pip install 'vqtok[hf]'"

_lock = threading.RLock()


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


def settings(family: str, keys: Mapping[str, Any]) -> Any:
    """Returns the library's own config object of some of its keys; tuples become lists.

    Raises:
        UsageError: as ``module``.
        ValueError: numbers that the library refuses.
    """
    make = getattr(module(family, f"configuration_{family}"), f"{family.capitalize()}Config")
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


def unparametrized(network: nn.Module) -> nn.Module:
    """Compute normalised weights once: the same numbers, stored as plain ``weight``."""
    from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

    for each in list(network.modules()):
        if is_parametrized(each, "weight"):
            remove_parametrizations(each, "weight")
    return network
