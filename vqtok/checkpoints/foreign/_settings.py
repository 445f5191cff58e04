"""Keys of a library's ``config.json`` as one of our configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vqtok import config as configs
from vqtok.checkpoints.facts import check_sizes
from vqtok.errors import CheckpointError

T = TypeVar("T")

_MOST = 1 << 24
"""Of any number in the config of a library, before its weights are looked at."""


def picked(keys: Mapping[str, Any], make: Callable[..., T], *, path: Path) -> T:
    """Returns the config whose fields are among these keys; all the others are left alone.

    Raises:
        ConfigError: a value of another type, with its location.
    """
    names = {field.name for field in dataclasses.fields(make)}  # type: ignore[arg-type]
    kept = {key: value for key, value in keys.items() if key in names}
    check_sizes(kept, _MOST, subject=f"{path}: config.json")
    return configs.parse(kept, make, where=f"{path}: config.json")


def require(keys: Mapping[str, Any], *, path: Path, family: str, **values: Any) -> None:
    """Do nothing if these keys are absent, or have the values that we know.

    Raises:
        CheckpointError: another variant of the family.
    """
    for key, value in values.items():
        if keys.get(key, value) != value:
            raise CheckpointError(
                path, f"{family}: {key} {keys[key]!r} found, only {value!r} can be read"
            )
