"""What was read last, until it is opened: a command asks for facts first, and reading is slow.

One checkpoint at most, so that facts of many do not fill the memory. No torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.checkpoints.foreign._places import weights_in

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.checkpoints.foreign import Recognised
    from vqtok.protocols import Tokenizer

Stamp = tuple[str, str, tuple[tuple[int, ...], ...]]
"""The name, what it stands for, and what tells its files from others put in their place."""

_infos: dict[Stamp, ModelInfo] = {}
_tokenizers: dict[Stamp, Tokenizer] = {}


def stamp(path: Path) -> Stamp:
    """What tells a checkpoint from every other, and from itself once a file of it has changed.

    Raises:
        CheckpointError: no weights there.
    """
    first = weights_in(path)[0]
    if path.is_dir():
        files = [each for each in sorted(first.parent.iterdir()) if each.is_file()]
    else:
        config = path.parent / "config.json"
        files = [path, *([config] if config.is_file() else [])]
    stats = [each.stat() for each in files]
    marks = tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)
    return str(path), str(path.resolve()), marks


def keep(key: Stamp, found: Recognised) -> None:
    """Hold what was read under the stamp that its files had before."""
    _tokenizers.clear()
    _tokenizers[key] = found.tokenizer
    _infos.clear()
    _infos[key] = found.info


def facts(key: Stamp) -> ModelInfo | None:
    """Of the checkpoint with this stamp, if it was read last."""
    return _infos.get(key)


def take(key: Stamp) -> Tokenizer | None:
    """The tokenizer, if it was read last; once, as whoever gets it may change it."""
    return _tokenizers.pop(key, None)
