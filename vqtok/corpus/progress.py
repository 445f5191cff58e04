"""How far an unfinished corpus is, without changing anything in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vqtok.corpus import disk, folder, spool
from vqtok.corpus.info import Identity
from vqtok.corpus.log import Log
from vqtok.corpus.names import COMMAND, STATE
from vqtok.errors import CodesError

_LONGEST = 1 << 16


@dataclass(frozen=True)
class Progress:
    """Says what is done.

    Attributes:
        identity: Of what the corpus will be.
        before: Items that a finished corpus had, if it grows.
        done: New items with a result.
        failed: Those of them without codes.
        command: What was typed; "" if that is not known.
    """

    identity: Identity
    before: int
    done: int
    failed: int
    command: str

    @property
    def count(self) -> int:
        """Count the new items."""
        return self.identity.count - self.before


def progress(place: Path) -> Progress | None:
    """Look at the state of a corpus; None if it has none.

    Raises:
        CodesError: the state is damaged.
    """
    identity = folder.unfinished(place)
    if identity is None:
        return None
    state = place / STATE
    log = Log(state)
    before = identity.count - identity.parts[-1] if identity.parts else 0
    kinds: dict[int, int] = {}
    for shard, (first, count) in enumerate(identity.spans()):
        if shard >= len(log.shards):
            kinds |= spool.numbers(state / spool.name(shard), first=first, count=count)
    committed = sum(shard.count for shard in log.shards if shard.first >= before)
    failed = sum(shard.failed for shard in log.shards if shard.first >= before)
    failed += sum(kind == spool.FAILURE for kind in kinds.values())
    return Progress(identity, before, committed + len(kinds), failed, _command(state))


def _command(state: Path) -> str:
    try:
        with disk.regular(state / COMMAND) as stream:
            return stream.read(_LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CodesError(state / COMMAND, f"cannot read: {error.strerror}") from error
