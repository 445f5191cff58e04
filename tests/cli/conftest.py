"""The command in-process, in a folder of its own that holds a little media."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

Run = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory; the only models are the tiny ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQTOK_MODELS", str(shelf))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    for name in ("VQTOK_MODEL", "VQTOK_DEVICE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def vqtok(here: Path) -> Run:
    """Run the command: ``vqtok("encode", "a.png", input=b"...")``."""
    from vqtok.cli.app import app

    def run(*arguments: str | Path, input: bytes | None = None) -> Any:
        result = CliRunner().invoke(app, [str(each) for each in arguments], input=input)
        assert "Traceback" not in result.stderr or "-vv" in arguments
        return result

    return run


@pytest.fixture
def picture(here: Path) -> Callable[..., Path]:
    """Write a picture of smooth colours."""

    def write(
        name: str = "photo.png", *, width: int = 37, height: int = 21, **options: Any
    ) -> Path:
        target = here / name
        target.parent.mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[0:height, 0:width]
        pixels = np.stack([x * 5, y * 7, (x + y) * 3], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).convert(options.pop("mode", "RGB")).save(target, **options)
        return Path(name)

    return write


@pytest.fixture
def recording(here: Path) -> Callable[..., Path]:
    """Write a recording of two tones, different in each channel."""

    def write(
        name: str = "speech.wav", *, rate: int = 8000, length: int = 4001, channels: int = 1
    ) -> Path:
        target = here / name
        target.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(length)[:, None] / rate
        tones = 200.0 * (1 + np.arange(channels))
        soundfile.write(target, 0.4 * np.sin(2 * np.pi * tones * t), rate)
        return Path(name)

    return write
