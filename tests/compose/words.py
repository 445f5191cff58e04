"""Tokenizers of text and specs of codes that the tests of ``compose`` share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vqtok.checkpoints import directory
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec

SHIPPED = ("audio-24k", "cifar10-f4", "image-f16", "image-f8", "image-vqvae2", "speech-speaker")


def shipped(name: str) -> CodeSpec:
    """The spec of a model that comes with vqtok."""
    info = directory.describe(name)
    return info.spec.with_fingerprint(info.fingerprint)


def snac(size: int = 4096) -> CodeSpec:
    """Three levels in time, of 1, 2 and 4 steps, as SNAC at 24 kHz has them."""
    levels = tuple(
        LevelSpec(f"scale{index}", ("t",), size, (2048,), None, steps)
        for index, steps in enumerate((1, 2, 4))
    )
    return CodeSpec("audio", levels, 24000.0, "5ac0000011112222")


def rvq(size: int = 2048, depth: int = 8) -> CodeSpec:
    """Stacked codebooks, as Mimi has them."""
    level = LevelSpec("codes", ("q", "t"), size, (1920,), depth)
    return CodeSpec("audio", (level,), 24000.0, "3131000011112222")


def grid(size: int, stride: int = 8) -> CodeSpec:
    """One level of a picture."""
    level = LevelSpec("codes", ("h", "w"), size, (stride, stride))
    return CodeSpec("image", (level,), None, f"{size:016x}")


def scales(size: int = 32, sides: Sequence[int] = (1, 2, 4)) -> CodeSpec:
    """Several scales of one codebook, as VAR has them; its pictures have 64 pixels a side."""
    levels = tuple(
        LevelSpec(f"scale{side}", ("h", "w"), size, (64 // side, 64 // side)) for side in sides
    )
    return CodeSpec("image", levels, None, "7a70000011112222")


def latent(size: int = 16, count: int = 5) -> CodeSpec:
    """Latent tokens without a grid, as TiTok has them."""
    return CodeSpec("image", (LevelSpec("codes", ("n",), size, (), count),), None, "717011112222")


def codes_of(spec: CodeSpec, extent: tuple[int, ...], *, seed: int = 0, channels: int = 1) -> Codes:
    """Random codes of one item."""
    random = np.random.default_rng(seed)
    levels = tuple(
        random.integers(0, level.codebook_size, (channels, *level.shape(extent)))
        for level in spec.levels
    )
    return Codes(spec, levels, extent).check().numpy()


def tokenizer_json(words: Sequence[str], added: Sequence[str] = ()) -> bytes:
    """A ``tokenizer.json`` that knows these words, digits and *, then added tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["<unk>", *words, *"0123456789*"])}
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    own.decoder = decoders.Fuse()
    own.add_tokens([AddedToken(each, special=True, normalized=False) for each in added])
    return own.to_str().encode()


def letters_json() -> bytes:
    """A ``tokenizer.json`` of bytes: every text comes back exactly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = Tokenizer(models.BPE({each: n for n, each in enumerate(alphabet)}, merges=[]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    return own.to_str().encode()


def write_tokenizer(path: Path, data: bytes | None = None) -> Path:
    """A tokenizer file; of bytes unless another is given."""
    path.write_bytes(data or letters_json())
    json.loads(path.read_bytes())
    return path
