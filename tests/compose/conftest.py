"""Streams are written by the hundred here."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut does is not tested, and waiting for the disk takes minutes."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
