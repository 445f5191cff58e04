"""Coding that the caller's settings of torch do not reach: autocast, and another default dtype."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")

_DEVICES = ("cpu", "cuda")


def undisturbed(function: Callable[P, R]) -> Callable[P, R]:
    """Run in inference mode, in float32 whatever the caller chose; of a generator each step."""

    @functools.wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> R:
        with _float32():
            return function(*given, **named)

    @functools.wraps(function)
    def steps(*given: P.args, **named: P.kwargs) -> Iterator[object]:
        made = cast("Iterator[object]", function(*given, **named))
        end = object()
        while True:
            with _float32():
                item = next(made, end)
            if item is end:
                return
            yield item

    return cast("Callable[P, R]", steps) if inspect.isgeneratorfunction(function) else call


@contextmanager
def held_still() -> Iterator[None]:
    """Compute without gradients and in float32, as coding does, what training goes on from."""
    with _float32(torch.no_grad()):
        yield


@contextmanager
def _float32(mode: AbstractContextManager[object] | None = None) -> Iterator[None]:
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode() if mode is None else mode)
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, before)
        yield
