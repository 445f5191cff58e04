"""How many examples and combinations a property is tried on: few by default, many in CI."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings

MANY = "VQTOK_MANY_EXAMPLES" in os.environ


def examples(few: int, *, many: int, **options: Any) -> settings:
    """Try ``few`` examples, or ``many`` where the variable is set."""
    return settings(max_examples=many if MANY else few, **options)


def in_turn(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """Pair all of both as parameters: with each of the first one of the second is not slow."""
    return [
        pytest.param(one, other, marks=() if (i - j) % len(second) == 0 else pytest.mark.slow)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
    ]
