"""Settings of the whole test run."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from tests.examples import MANY

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores: one thread each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Beside other programs threads that spin take three times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in the background, and programs inherit it; not so if there is a
    # handler. Tests interrupt programs that they start.
    signal.signal(signal.SIGINT, lambda number, frame: None)

# Where Python keeps no compiled modules, each of the many processes of a run compiles them anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Fixed examples: a run that fails fails again. No limits in seconds, neither for an example nor for
# making ten: machines are busy. Where a test does not say how many there are 20, and 100 in CI.
settings.register_profile(
    "vqtok",
    deadline=None,
    derandomize=True,
    max_examples=100 if MANY else 20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("vqtok")


TESTS = Path(__file__).parent

LEFT_OUT = ("slow", "long", "outside")
"""Marks of tests that run only where -m speaks of them."""

FAST = 1
"""Tests of each file that are fast: its first, with the first of its parameters."""

DEAR = frozenset(
    ("checkpoints/foreign/test_cosmos.py", "checkpoints/foreign/test_diffusers.py",
     "checkpoints/foreign/test_hf_audio.py", "checkpoints/foreign/test_wrapped.py",
     "cli/test_classifier.py", "cli/test_json.py", "cli/test_train_flags.py",
     "codes/test_packed.py", "corpus/test_bin.py", "corpus/test_round_trip.py",
     "corpus/test_tar.py", "hostile/test_commands.py", "nn/test_discriminators.py",
     "pipeline/report/test_page.py", "pipeline/test_recordings.py",
     "test_architecture.py", "test_photo_way.py", "test_readme.py", "test_shipped.py",
     "tokenizers/test_exactness_benchmark.py", "training/data/test_fit.py",
     "training/report/test_gallery.py", "training/report/test_tensorboard.py",
     "training/test_held_out.py", "training/test_run_of_0_1_0.py")
)  # fmt: skip
"""Files whose first test takes a processor for more than a second: none of theirs is fast."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of which no test is fast where only the fast ones are run."""
    fast = config.getoption("markexpr") == "fast" and TESTS in collection_path.parents
    return True if fast and collection_path.relative_to(TESTS).as_posix() in DEAR else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless -m speaks of them, and mark the first of every file ``fast``.

    Whatever takes its examples from a strategy is ``many``.
    """
    chosen = str(config.getoption("markexpr"))
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    fast: dict[Path, set[str]] = {}
    for item in items:
        marks = [name for name in LEFT_OUT if item.get_closest_marker(name)]
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("many")
        (left_out if marks and not any(name in chosen for name in marks) else kept).append(item)
        functions = fast.setdefault(item.path, set())
        function = item.nodeid.partition("[")[0]
        dear = item.path.relative_to(TESTS).as_posix() in DEAR
        if not marks and not dear and function not in functions and len(functions) < FAST:
            functions.add(function)
            item.add_marker("fast")
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """Keep what is loaded by now out of the garbage collector's way: it stays to the end."""
    gc.freeze()


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
