"""Build models for weights that are there: nothing is drawn, and not much more made than they fill.

A config is a few bytes and may ask for a network of any size, or of a billion blocks. Building it
only to find that no weights fit would take all memory or forever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from vqtok.checkpoints import weights
from vqtok.errors import ConfigError, VqtokError

Model = TypeVar("Model")
"""A tokenizer, a prior or a classifier: a module of torch."""

_SPARE_NUMBERS = 1 << 22
"""For buffers that are not stored: windows, masks. 16 MB as float32."""

_SPARE_TENSORS = 1000

_FACTORIES = frozenset(
    ("arange", "empty", "eye", "full", "hamming_window", "hann_window", "linspace", "ones",
     "rand", "randint", "randn", "randperm", "zeros")
)  # fmt: skip


_FILLERS = frozenset(
    (Tensor.uniform_, Tensor.normal_, init.uniform_, init.normal_, init.trunc_normal_,
     init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_)
)  # fmt: skip


def build(
    make: Callable[[], Model],
    found: Mapping[str, Tensor],
    *,
    subject: Path,
    file: Path,
    device: str = "cpu",
) -> Model:
    """Build a model and put weights in: evaluation mode, float32, no gradients.

    Args:
        make: Makes the model by its config.
        found: Its weights by name.
        subject: The config, in messages.
        file: Of the weights, in messages.
        device: Where the weights go.

    Raises:
        ConfigError: a config of which nothing can be built.
        CheckpointError: weights of another config.
    """
    try:
        # What some networks draw all the same is not taken from the caller's random numbers.
        with torch.random.fork_rng(devices=[]), Budget(found, subject=str(subject)), Unfilled():
            model = make()
    except VqtokError:
        raise
    except Exception as error:  # libraries have errors of their own
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(subject, f"model: cannot be built: {text}") from error
    module = cast("nn.Module", model)
    weights.restore(module, found, file)
    module.float().eval().requires_grad_(False).to(device)
    return model


class Unfilled(TorchFunctionMode):
    """Inside this block tensors are not filled with random numbers, but left as they are."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do everything but fill."""
        named = dict(kwargs or {})
        if func in _FILLERS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


class Budget(TorchFunctionMode):
    """Inside this block tensors and modules may be made up to a few times what the weights hold.

    Args:
        weights: Tensors of the file by name.
        subject: The config, in messages.

    Raises:
        ConfigError: from inside the block, before a tensor is made that is too much.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, subject: str) -> None:
        super().__init__()
        self.subject = subject
        self.numbers = 4 * sum(each.numel() for each in weights.values()) + _SPARE_NUMBERS
        self.tensors = 10 * len(weights) + _SPARE_TENSORS
        self.modules = 10 * self.tensors
        self._hook: Any = None

    def __enter__(self) -> Budget:
        """Count what is made from now on; modules need not hold tensors to be too many."""
        self._hook = register_module_module_registration_hook(self._count_module)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        """Stop counting."""
        self._hook.remove()
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count what a factory is about to make, then let it."""
        options = dict(kwargs or {})
        if getattr(func, "__name__", "") in _FACTORIES:
            count = 1
            for size in _integers((*args, options.get("size", ()))):
                count *= max(size, 1)
            self.numbers -= count
            self.tensors -= 1
            if self.numbers < 0 or self.tensors < 0:
                self._refuse()
        return func(*args, **options)

    def _count_module(self, *registered: object) -> None:
        self.modules -= 1
        if self.modules < 0:
            self._refuse()

    def _refuse(self) -> None:
        raise ConfigError(
            self.subject,
            "model: cannot be built: far larger than the weights",
            hint="weights and config.json are not of one model",
        )


def _integers(values: Any) -> Iterator[int]:
    for value in values:
        if isinstance(value, int):
            yield value
        elif isinstance(value, list | tuple):
            yield from _integers(value)
