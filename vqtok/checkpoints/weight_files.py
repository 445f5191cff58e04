"""Where in a directory the weights lie, and what is worth opening at all. No torch."""

from __future__ import annotations

from pathlib import Path

from vqtok.codes import safetensors
from vqtok.errors import CheckpointError, CodesError

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".th", ".bin", ".pkl", ".jit")

WHOLE = (
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "autoencoder.jit",
)
"""The first of these that is there is taken: the same weights lie there in several formats."""

_PAIRS = (("encoder.pkl", "decoder.pkl"), ("encoder.jit", "decoder.jit"))
"""Networks whose sides lie in a file each."""

_BELOW = ("vqvae", "movq", "vae", "checkpoints", "ckpts")
"""Directories of a pipeline or a run in which its tokenizer lies."""


def is_candidate(path: Path) -> bool:
    """Checks whether this may be a checkpoint of another program: by names alone."""
    if path.is_file():
        suffix = path.suffix.lower()
        return suffix in SUFFIXES and (suffix != ".safetensors" or not _holds_codes(path))
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


def _holds_codes(path: Path) -> bool:
    """Tell whether a safetensors file is one of codes: integers, or our own header."""
    try:
        with path.open("rb") as stream:
            table = safetensors.table(stream, path.stat().st_size)
    except (OSError, CodesError):
        return False  # what is wrong with it is said by whoever opens it
    if table.vqtok is not None:
        return True
    kinds = [str(entry.get("dtype"))[:1] for entry in table.tensors.values()]
    return bool(kinds) and not any(kind in "FB" for kind in kinds)


def _candidates(path: Path) -> list[Path]:
    for name in WHOLE:
        if (path / name).is_file():
            return [path / name]
    for pair in _PAIRS:
        if all((path / name).is_file() for name in pair):
            return [path / name for name in pair]
    files = sorted(
        each for each in path.iterdir() if each.is_file() and each.suffix.lower() in SUFFIXES
    )
    if files:
        return files
    for name in _BELOW:
        if (path / name).is_dir():
            below = _candidates(path / name)
            if below:
                last = [each for each in below if each.name == "last.ckpt"]
                return last or below
    return []
