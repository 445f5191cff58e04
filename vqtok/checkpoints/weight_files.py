"""Where in a directory the weights lie, and what is worth opening at all. No torch."""

from __future__ import annotations

from pathlib import Path

from vqtok import regular
from vqtok.checkpoints.facts import our_config
from vqtok.codes import safetensors
from vqtok.config import read_json
from vqtok.errors import CheckpointError, CodesError, ConfigError

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".th", ".bin", ".pkl", ".jit")

WHOLE = (
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
    "autoencoder.jit",
)
"""The first of these that is there is taken: the same weights lie there in several formats."""

_PAIRS = (("encoder.pkl", "decoder.pkl"), ("encoder.jit", "decoder.jit"))
"""Networks whose sides lie in a file each."""

TOKENIZERS = frozenset(("vqmodel", "gen_vision_model", "vision_tokenizer", "vqgan"))
"""What language models call the tokenizer that lies among their weights."""

_BELOW = ("vqvae", "movq", "vae", "checkpoints", "ckpts")
"""Directories of a pipeline or a run in which its tokenizer lies."""


_HEAD = 256
_ZIP = b"PK\x03\x04"
_FIRST = (b"data.pkl", b"constants.pkl", b"version", b"byteorder", b".format_version")
"""What torch writes first into an archive."""

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files of torch before 1.6 begin with."""


def is_foreign(path: Path) -> bool:
    """Tell whether ``foreign`` is to read this: a file or directory that is no model of ours.

    By names and a glance at ``config.json``; whether it can be read shows when it is.
    """
    try:
        return our_config(path) is None and is_candidate(path)
    except OSError:
        return False


def is_candidate(path: Path) -> bool:
    """Checks whether this may be a checkpoint of another program: by its name, or its first bytes.

    Many have a suffix of other files, ``model_best.pth.tar``, one of their own, ``best.model``, or
    none, as the blobs of a cache. In a directory those of their own are not looked into.
    """
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            return suffix != ".safetensors" or not _holds_codes(path)
        return _holds_weights(path)
    return path.is_dir() and bool(_candidates(path))


def weights_in(path: Path) -> list[Path]:
    """Returns the file or files that hold the weights of a checkpoint.

    Raises:
        CheckpointError: none, or several of which none is the obvious one.
    """
    if not path.is_dir():
        return [path]
    found = _candidates(path)
    if not found:
        raise CheckpointError(
            path, "no weights in it", hint=f"files that can be read: {', '.join(SUFFIXES)}"
        )
    if len(found) > 1 and tuple(each.name for each in found) not in _PAIRS:
        names = ", ".join(str(each.relative_to(path)) for each in found[:4])
        raise CheckpointError(path, f"several checkpoints in it: {names}", hint="name one file")
    return found


def shards(index: Path) -> dict[str, list[str]]:
    """Returns the files that an index names, and of each the tensors that are wanted, by name.

    Of a language model with a tokenizer inside, these are the tokenizer's alone.

    Raises:
        CheckpointError: not an index, or one that leads out of its directory.
    """
    try:
        table = {str(name): str(file) for name, file in read_json(index)["weight_map"].items()}
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(index, "damaged: not an index of shards") from error
    wanted = [name for name in table if not TOKENIZERS.isdisjoint(name.split("."))] or list(table)
    files: dict[str, list[str]] = {}
    for name in wanted:
        if Path(table[name]).name != table[name]:  # an index must not lead out of its directory
            raise CheckpointError(index, f"damaged: {table[name]!r} is not a file beside it")
        files.setdefault(table[name], []).append(name)
    return dict(sorted(files.items()))


def _is_unnamed(path: Path) -> bool:
    """Tell whether a name says nothing of what is in a file."""
    return path.suffix.lower() in ("", ".tar") or not path.suffix[1:].isalpha()


def _holds_weights(path: Path) -> bool:
    """Tell by its first bytes whether a file is of ``torch.save``, or safetensors of weights."""
    try:
        with regular.opened(path) as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    if head.startswith(_ZIP):
        length = int.from_bytes(head[26:28], "little")
        return head[30 : 30 + length].partition(b"/")[2] in _FIRST
    if head.startswith(_LEGACY):
        return True
    return head[8:9] == b"{" and _kinds(path).intersection("FB") != set()


def _holds_codes(path: Path) -> bool:
    """Tell whether a safetensors file is one of codes: integers, or our own header."""
    kinds = _kinds(path)
    return bool(kinds) and not kinds.intersection("FB")


def _kinds(path: Path) -> set[str]:
    """Returns the first letters of the formats of numbers in a safetensors file; "U" of codes."""
    try:
        with regular.opened(path) as stream:
            table = safetensors.table(stream, path.stat().st_size)
    except (OSError, CodesError):
        return set()  # what is wrong with it is said by whoever opens it
    if table.vqtok is not None:
        return {"U"}
    return {str(entry.get("dtype"))[:1] for entry in table.tensors.values()}


def _candidates(path: Path) -> list[Path]:
    for name in WHOLE:
        if (path / name).is_file():
            return [path / name]
    for pair in _PAIRS:
        if all((path / name).is_file() for name in pair):
            return [path / name for name in pair]
    listed = sorted(each for each in path.iterdir() if each.is_file())
    files = [each for each in listed if each.suffix.lower() in SUFFIXES]
    files = files or [each for each in listed if _is_unnamed(each) and _holds_weights(each)]
    if files:
        return files
    for name in _BELOW:
        if (path / name).is_dir():
            below = _candidates(path / name)
            if below:
                last = [each for each in below if each.name == "last.ckpt"]
                return last or below
    return []
