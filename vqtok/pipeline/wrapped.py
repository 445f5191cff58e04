"""Tokenizers of this process under a name, so that commands work on them as on any model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqtok import config
from vqtok.checkpoints.facts import ModelInfo, Read
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vqtok.codes.spec import CodeSpec
    from vqtok.protocols import Tokenizer


def wrap(
    encode: Callable[[Tensor], Any],
    decode: Callable[..., Any],
    *,
    spec: CodeSpec,
    name: str = "wrapped",
    version: str = "",
    channels: int | None = None,
) -> Tokenizer:
    """Make a tokenizer of two functions.

    Each signal goes through alone and whole, brought to multiples of the strides; what is decoded
    gets its own size back. Whether tiles and threads change codes is for the functions to say.

    Args:
        encode: (1, C, *space) float32 in [-1, 1] → integers of each level, (1, *axes), of torch or
            numpy: one array, or a sequence where the spec has several levels.
        decode: The codes of each level, int64 tensors (1, *axes) → (1, C, *space).
        spec: What the codes mean.
        name: Under which ``vqtok.run`` knows it.
        version: Name, version and spec are the fingerprint in codes files, as functions have none:
            let it change when the weights do.
        channels: C; None: 3 of images, 1 of audio.

    Raises:
        UsageError: a name that is a path, or a spec without levels.
    """
    from vqtok.tokenizers import published

    if not name or Path(name).name != name:
        raise UsageError(repr(name), "not a name for a model", hint="name='lab'")
    if not spec.levels:
        raise UsageError(name, "its spec has no levels of codes")
    said = {"name": name, "version": version, "spec": spec.with_fingerprint("").to_json()}
    sign = hashlib.sha256(config.to_json(said).encode()).hexdigest()[:16]
    if channels is None:
        channels = 3 if spec.modality == "image" else 1
    spec = spec.with_fingerprint(sign)
    return published.of_functions(encode, decode, spec=spec, name=name, channels=channels)


def facts_of(tokenizer: Tokenizer) -> ModelInfo:
    """Return the facts of a tokenizer of this process, as of a model directory.

    Raises:
        UsageError: it has no name or no fingerprint.
    """
    spec = tokenizer.spec
    if not (tokenizer.name and spec.fingerprint):
        raise UsageError("a model", "without a name or a fingerprint", hint="vqtok.wrap gives both")
    weights = list(cast("nn.Module", tokenizer).parameters())
    return ModelInfo(
        name=tokenizer.name,
        path=Path(tokenizer.name),
        config={"type": "tokenizers/wrapped"},
        spec=spec,
        fingerprint=spec.fingerprint,
        reads=(),
        parameters=sum(each.numel() for each in weights),
        size_bytes=sum(each.numel() * each.element_size() for each in weights),
        training={},
        foreign="a model of this process",
        decodes=bool(getattr(tokenizer, "decodes", True)),
        read=Read(open=lambda: tokenizer, stays=True),
    )
