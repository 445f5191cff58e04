"""The ordinary run: some hundred inputs of all rooms through one worker process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.hostile import arena
from tests.hostile.room import SOME

ROOMS = ("image", "audio", "codes", "decode", "model", "resume", "tar", "corpus",
         "checkpoint", "device")  # fmt: skip
SHORT = dict.fromkeys(ROOMS, 25) | {"corpus": 8}
"""Damaged files per room, of a corpus three commands' work each."""

SHORT_FIRST = 500_000
"""Their first seed: others than those of the long run, whose first is 0."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        reason = "limits of memory and /proc are those of Linux"
        for item in items:
            if "hostile" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> arena.Report:
    folder: Path = tmp_path_factory.mktemp("hostile")
    tasks = [(room, SHORT_FIRST, SHORT[room]) for room in ROOMS]
    tasks += [(room, SOME, 1000) for room in ROOMS]
    return arena.run(folder, tasks)
