"""``index.json``, written last: its presence means that the corpus is complete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vqtok.corpus import disk
from vqtok.corpus.info import CorpusInfo
from vqtok.corpus.kinds import INDEX, JOB, STATE
from vqtok.errors import CodesError

_LARGEST = 1 << 28  # bytes: the index of a hundred million items


def read(folder: Path) -> CorpusInfo:
    """Read a complete corpus' index.

    Raises:
        CodesError: not a corpus, unfinished, damaged, or of a newer version.
    """
    try:
        return CorpusInfo.from_json(read_json(folder / INDEX))
    except FileNotFoundError as error:
        if is_corpus(folder):
            raise CodesError(
                f"{folder}: unfinished corpus", hint="run the command that makes it again"
            ) from error
        raise CodesError(f"{folder}: not a corpus: it has no {INDEX}") from error
    except OSError as error:
        raise CodesError(f"{folder}: cannot read: {error.strerror}") from error
    except CodesError as error:
        raise CodesError(f"{folder / INDEX}: {error}", hint=error.hint) from error


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


def is_corpus(path: Path) -> bool:
    """True for a folder that holds a corpus, complete or unfinished."""
    for place in (path / INDEX, path / STATE / JOB):
        try:
            if "corpus" in read_json(place):
                return True
        except (OSError, CodesError):
            continue
    return False


def to_text(info: CorpusInfo) -> str:
    """The text of ``index.json``."""
    return json.dumps(info.to_json(), sort_keys=True, indent=1, allow_nan=False) + "\n"
