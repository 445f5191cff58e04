"""Processes that torchrun started together, by what it says in the environment."""

from __future__ import annotations

import os

from vqtok.errors import UsageError

_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT", "RANK")


def is_first_rank() -> bool:
    """Check that this process prints and writes: the first of those that torchrun started."""
    number = os.environ.get("RANK", "")
    return not number.isdecimal() or int(number) == 0


def check() -> None:
    """Refuse an environment that torchrun cannot have made.

    Raises:
        UsageError: naming the variable.
    """
    hint = "torchrun sets it; without torchrun, unset it"
    for name in _NUMBERS:
        value = os.environ.get(name, "")
        if value and not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise UsageError(f"{name}={value}", "not a number", hint=hint)
    count = int(os.environ.get("WORLD_SIZE") or 1)
    if count < 1:
        raise UsageError("WORLD_SIZE=0", "no process at all", hint=hint)
    if count == 1:
        return
    for name in _ADDRESS:
        if not os.environ.get(name):
            raise UsageError(f"WORLD_SIZE={count}", f"several processes need {name}", hint=hint)
    if int(os.environ["RANK"]) >= count:
        raise UsageError(f"RANK={os.environ['RANK']}", f"there are {count} processes", hint=hint)
