"""``index.json``, written last: its presence means that the corpus is complete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vqtok.corpus import disk, format
from vqtok.corpus.info import CorpusInfo, Identity, checking
from vqtok.corpus.names import FAILED, HISTOGRAM, INDEX, STATE
from vqtok.corpus.vocabulary import COUNTED, Book, Vocabulary
from vqtok.errors import CodesError

JOB = f"{STATE}/job.json"
"""The identity of an unfinished corpus."""

_LARGEST = 1 << 28  # bytes: the index of a hundred million items


def read(folder: Path) -> CorpusInfo:
    """Read a complete corpus' index.

    Raises:
        CodesError: not a corpus, unfinished, damaged, or of a newer version.
    """
    try:
        info = CorpusInfo.from_json(read_json(folder / INDEX))
        with checking():
            _check(info)
        return info
    except FileNotFoundError as error:
        if is_corpus(folder):
            raise CodesError(
                folder, "unfinished corpus", hint="run the command that makes it again"
            ) from error
        raise CodesError(folder, f"not a corpus: it has no {INDEX}") from error
    except OSError as error:
        raise CodesError(folder, f"cannot read: {error.strerror}") from error
    except CodesError as error:
        error.about(folder / INDEX)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object, of bounded size.

    Raises:
        CodesError: too long, or something else.
        OSError: missing or unreadable.
    """
    with disk.regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        text = stream.read(min(size, _LARGEST))
    try:
        data = json.loads(text) if size <= _LARGEST else None
    except (ValueError, RecursionError) as error:
        raise CodesError("damaged: not JSON") from error
    if not isinstance(data, dict):
        raise CodesError("damaged: not a JSON object")
    return data


def is_corpus(folder: Path) -> bool:
    """Tell whether a folder holds a corpus, complete or unfinished."""
    for path in (folder / INDEX, folder / JOB):
        try:
            if "corpus" in read_json(path):
                return True
        except (OSError, CodesError):
            continue
    return False


def identity_of(folder: Path) -> Identity | None:
    """Return the identity of a corpus, complete or unfinished; None if there is none."""
    for path in (folder / INDEX, folder / JOB):
        try:
            return Identity.from_json(read_json(path))
        except (OSError, CodesError):
            continue
    return None


def to_text(info: CorpusInfo) -> str:
    """Return the text of ``index.json``."""
    return json.dumps(info.to_json(), sort_keys=True, indent=1, allow_nan=False) + "\n"


def _check(info: CorpusInfo) -> None:
    own, known = info.identity, format.named(info.format)
    if len(info.shards) != own.shards or info.items + info.failed != own.count:
        raise ValueError("its counts are at odds")
    for number, (shard, (first, whole)) in enumerate(zip(info.shards, own.spans(), strict=True)):
        if shard.first != first or shard.count != whole or shard.failed > whole:
            raise ValueError(f"shard {number} is at odds with the others")
        if [each.path for each in shard.ranges] != known.shard_files(number):
            raise ValueError(f"shard {number} lies in other files than its format has")
    if sum(shard.failed for shard in info.shards) != info.failed:
        raise ValueError("its failures are at odds")
    if not set(own.carry) <= set(known.carries) or not set(info.carried) <= set(own.carry):
        raise ValueError("it carries what its format cannot hold")
    if not {each.path for each in info.sides} <= {FAILED, HISTOGRAM, *known.derived}:
        raise ValueError("a side file that no corpus has")
    vocabulary = Vocabulary(own.spec)
    if info.layout != known.layout(vocabulary):
        raise ValueError("its layout is not that of its codes")
    # Their number first: a spec of few bytes may have millions.
    counted = len(vocabulary) if vocabulary.bos <= COUNTED else 0
    found = [Book(use.level, use.stage, use.offset, use.size) for use in info.codebooks]
    if len(found) != counted or (counted and found != vocabulary.books()):
        raise ValueError("its codebooks are not those of its codes")
