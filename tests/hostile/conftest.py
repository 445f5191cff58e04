"""The ordinary run: some hundred inputs of every room through one worker process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.hostile import arena

ROOMS = ("image", "audio", "codes", "decode", "model", "resume", "tar", "corpus",
         "checkpoint", "device")  # fmt: skip
SHORT = 70
"""Inputs per room; other seeds than those of the long run, whose first is 0."""

SHORT_FIRST = 500_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        reason = "limits of memory and /proc are those of Linux"
        for item in items:
            if "hostile" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> arena.Report:
    from tests.hostile.room import CRAFTED

    folder: Path = tmp_path_factory.mktemp("hostile")
    tasks = [(room, SHORT_FIRST, SHORT) for room in ROOMS]
    tasks += [(room, CRAFTED, 1000) for room in ROOMS]
    return arena.run(folder, tasks)
