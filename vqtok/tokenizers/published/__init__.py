"""Networks that other people published: one file, one architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.codes.spec import CodeSpec
    from vqtok.protocols import Tokenizer


def of_functions(
    encode: Callable[[Tensor], Any],
    decode: Callable[..., Any],
    *,
    spec: CodeSpec,
    name: str,
    channels: int,
) -> Tokenizer:
    """Make a tokenizer of two functions; see ``_wrapped``."""
    from vqtok.tokenizers.published._wrapped import Wrapped

    return Wrapped(encode, decode, spec=spec, name=name, channels=channels)
