"""What installed packages add: tokenizers, quantizers and layouts of checkpoints.

A package says so in its own metadata, as entry points of the groups ``vqtok.tokenizers``,
``vqtok.quantizers`` and ``vqtok.layouts``. Whoever installed it has chosen to run it; a config or a
file can name what is installed, and bring nothing itself. Metadata are read when a name is not one
of ours, or names are listed; a package is imported when it is used.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from vqtok.errors import ConfigError

if TYPE_CHECKING:
    from importlib import metadata

GROUPS = ("tokenizers", "quantizers", "layouts")


def found(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name, sorted; of two of one name the first on the path.

    Args:
        group: One of ``GROUPS``; others have none.
    """
    return _found(group, tuple(sys.path)) if group in GROUPS else {}


@functools.lru_cache(maxsize=len(GROUPS))
def _found(group: str, path: tuple[str, ...]) -> dict[str, metadata.EntryPoint]:
    from importlib import metadata  # slower than all of a command's own start

    points: dict[str, metadata.EntryPoint] = {}
    for each in metadata.entry_points(group=f"vqtok.{group}"):
        points.setdefault(each.name, each)
    return dict(sorted(points.items()))


def load(group: str, name: str, *, where: str) -> Any:
    """Import what a package adds under a name; ``found`` has it.

    Raises:
        ConfigError: the package fails while it is imported, whatever the reason.
    """
    point = found(group)[name]
    try:
        return point.load()
    except Exception as error:  # it is not our program
        raise ConfigError(
            where, _fault(point, error), hint=f"pip install -U {_of(point)}"
        ) from error


def layouts() -> list[Any]:
    """Import the layouts that packages add; one that is broken is a warning in a line."""
    sound = []
    for name, point in found("layouts").items():
        try:
            layout = load("layouts", name, where="")
            if not (callable(layout.recognise) and layout.FAMILIES):
                raise AttributeError("FAMILIES is empty")
        except (ConfigError, AttributeError) as error:
            warn(point, error.__cause__ or error)
            continue
        sound.append(layout)
    return sound


def warn(point: metadata.EntryPoint, error: BaseException | str) -> None:
    """Say once, in a line, what is left out; it goes to stderr unless logging is set up."""
    _say(_fault(point, error))


@functools.lru_cache
def _say(fault: str) -> None:
    import logging

    logging.getLogger("vqtok").warning("Warning: %s; left out", fault)


def name_of(cls: type[Any]) -> str | None:
    """Return the "family/name" under which a package adds a class; None: none does."""
    value = f"{cls.__module__}:{cls.__qualname__}"
    for group in ("tokenizers", "quantizers"):
        for name, point in found(group).items():
            if point.value.replace(" ", "") == value:
                return f"{group}/{name}"
    return None


def _fault(point: metadata.EntryPoint, error: BaseException | str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"plug-in {point.name} of {_of(point)} cannot be loaded: {text}"


def _of(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an installed package"
