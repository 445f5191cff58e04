"""What tells the corpus in a folder from the one that is wanted, for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqtok.corpus.info import Identity
from vqtok.errors import UsageError

_CALLED = {"count": "number of items", "shard_items": "shard size", "max_pixels": "max pixels"}
_NOT_SHOWN = ("spec", "names", "parts", "corpus")
"""What has no value that a person could compare."""


def compare(
    folder: Path, found: Identity, wanted: Identity, *, grows: bool = False, hint: str = ""
) -> None:
    """Refuse to go on with a corpus of another job.

    Args:
        folder: Of the corpus.
        found: What it is.
        wanted: What it should be.
        grows: Items may be added to it: their names and number do not count.
        hint: How to go on nevertheless; "": by starting over.

    Raises:
        UsageError: saying what was set otherwise, and how.
    """
    theirs, ours = found.to_json(), wanted.to_json()
    if grows:
        for each in (theirs, ours):
            for key in ("count", "names", "parts", "corpus"):
                each.pop(key, None)
    if theirs == ours:
        return
    what = ", ".join(_differences(theirs, ours))
    if not grows and _only_names(theirs, ours):
        hint = hint or "--append adds what is new; -f deletes it and starts over"
    raise UsageError(
        folder,
        f"holds a corpus of another job ({what})",
        hint=hint or "-f deletes it and starts over; or choose another folder",
    )


def _only_names(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    keys = {*theirs, *ours} - {"count", "names", "parts", "corpus"}
    return all(theirs.get(key) == ours.get(key) for key in keys)


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """Yield "shard size 30, now 1000" for each setting that differs."""
    before, now = (
        each | {f"job {key}": value for key, value in each["job"].items()}
        for each in (theirs, ours)
    )
    keys = sorted({*before, *now} - {"job"}, key=lambda key: (key in _NOT_SHOWN, key))
    shown = False
    for key in keys:
        if before.get(key) == now.get(key):
            continue
        name = key.removeprefix("job ")
        if key not in _NOT_SHOWN:
            shown = True
            yield f"{_CALLED.get(name, name)} {_text(before.get(key))}, now {_text(now.get(key))}"
        elif key == "spec" or (key == "names" and before["count"] == now["count"]):
            shown = True
            yield f"other {key}"
    if not shown:
        yield "items of several runs"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
