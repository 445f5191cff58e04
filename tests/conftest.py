"""Settings of the whole test run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores: one thread each, and where a test has more, none that spins.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in the background, and programs inherit it; not so if there is a
    # handler. Tests interrupt programs that they start.
    signal.signal(signal.SIGINT, lambda number, frame: None)

# Fixed examples: a run that fails fails again. No deadline: machines are busy.
settings.register_profile("vqtok", deadline=None, derandomize=True)
settings.load_profile("vqtok")


LEFT_OUT = ("slow", "long")
"""Marks of tests that run only where -m speaks of them."""

FAST = 1
"""Tests of each file that are fast: its first, with the first of its parameters."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless -m speaks of them, and mark the first of every file ``fast``."""
    chosen = str(config.getoption("markexpr"))
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    fast: dict[Path, set[str]] = {}
    for item in items:
        marks = [name for name in LEFT_OUT if item.get_closest_marker(name)]
        (left_out if marks and not any(name in chosen for name in marks) else kept).append(item)
        functions = fast.setdefault(item.path, set())
        function = item.nodeid.partition("[")[0]
        if not marks and function not in functions and len(functions) < FAST:
            functions.add(function)
            item.add_marker("fast")
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


TINY_IMAGE = {
    "type": "tokenizers/vqvae",
    "quantizer": {"type": "quantizers/vq", "codebook_size": 64},
    "patch": 4,
    "widths": [8, 8],
    "encoder_blocks": [1, 1],
    "decoder_blocks": [1, 1],
    "kernel": 3,
    "latent": 4,
}
TINY_AUDIO = {
    "type": "tokenizers/codec",
    "quantizer": {"type": "quantizers/rvq", "codebook_size": 16, "depth": 3},
    "rate": 8000,
    "frame": 160,
    "hop": 80,
    "width": 8,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "kernel": 3,
    "latent": 4,
}


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small untrained models under the default names: 8x8 pixels, 8 kHz."""
    import torch

    from vqtok.checkpoints import directory
    from vqtok.config import parse
    from vqtok.protocols import Config

    folder = tmp_path_factory.mktemp("shelf")
    for name, config in (("image-f8", TINY_IMAGE), ("audio-24k", TINY_AUDIO)):
        torch.manual_seed(0)
        tokenizer = parse(config, Config).build().eval()
        tokenizer.quantizer.initialised.fill_(True)
        directory.save(folder / name, tokenizer, training={"step": 3, "files": 2})
    return folder
