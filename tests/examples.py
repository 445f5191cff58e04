"""How many examples a property is tried on: few by default, many in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

MANY = "VQTOK_MANY_EXAMPLES" in os.environ


def examples(few: int, *, many: int, **options: Any) -> Callable[[Any], Any]:
    """Try ``few`` examples, or ``many`` where the variable is set; ``-m many`` finds the test."""

    def decorate(test: Any) -> Any:
        return pytest.mark.many(settings(max_examples=many if MANY else few, **options)(test))

    return decorate
