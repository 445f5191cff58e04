"""The same job on Ray: the same folder, though a worker is killed on the way."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.ledger import Ledger, recordings
from tests.programs import LIMIT_S, environment
from vqtok.backends.torch_backend import coder
from vqtok.checkpoints import directory
from vqtok.errors import CheckpointError
from vqtok.media.items import items_of
from vqtok.pipeline import ray_engine
from vqtok.pipeline.corpus import CorpusOptions, encode_corpus, local_engine

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc"),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray"),
]
pyarrow = pytest.importorskip("pyarrow")

DRIVER = """
import logging, sys
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
from vqtok.cli import main
sys.argv = ["vqtok", *sys.argv[1:]]
main()
"""
"""The command on a local Ray of two workers, however many cores there are."""


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def start(shelf: Path, here: Path, *arguments: str) -> subprocess.Popen[str]:
    """The driver; what it says on stderr goes to a file."""
    env = environment() | {"VQTOK_MODELS": str(shelf)}
    command = [sys.executable, "-c", DRIVER, *arguments]
    with (here / "stderr").open("wb") as errors:
        return subprocess.Popen(
            command, cwd=here, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        )


def local(shelf: Path, here: Path, *arguments: str) -> int:
    env = environment() | {"VQTOK_MODELS": str(shelf)}
    command = [sys.executable, "-m", "vqtok", *arguments]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, check=False)
    return done.returncode


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        found.append(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def workers(driver: int) -> list[int]:
    """Processes below the driver that hold a model."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            pid = int(place.name)
            if b"MapWorker" in (place / "cmdline").read_bytes() and driver in ancestors(pid):
                found.append(pid)
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.slow
def test_a_worker_is_killed_and_the_folder_is_the_local_engines(shelf: Path, tmp_path: Path):
    generator = np.random.default_rng(0)
    (tmp_path / "d").mkdir()
    for i in range(160):
        pixels = generator.integers(0, 256, (200 + i, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "d" / f"{i:03d}.bmp")
    (tmp_path / "d" / "bad.png").write_bytes(b"none")
    command = ("encode", "d", "gone.png", "--format", "tar", "--shard-size", "30", "--json")
    process = start(shelf, tmp_path, *command, "-o", "ray", "--engine", "ray")
    assert process.stdout is not None
    with process.stdout as stdout:
        lines = [stdout.readline(), stdout.readline()]  # the first needs no worker
        found = workers(process.pid)
        for pid in found[:1]:
            os.kill(pid, signal.SIGKILL)
        lines += stdout
    errors = (tmp_path / "stderr").read_text()
    assert process.wait(timeout=LIMIT_S) == 1, errors
    assert found and "will be retried" in errors  # it died with work in its hands
    assert "Traceback" not in errors
    assert len([json.loads(line) for line in lines]) == 163  # JSON and nothing else
    assert local(shelf, tmp_path, *command, "-o", "local") == 1
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    assert len(tree(tmp_path / "ray")) == 6 + 3


def test_members_of_tars_stereo_and_flags_reach_the_workers(shelf: Path, tmp_path: Path):
    recordings(tmp_path / "d", 6)
    (tmp_path / "d" / "cut.wav").write_bytes((tmp_path / "d" / "001.wav").read_bytes()[:60])
    strange = tmp_path / os.fsdecode(b"caf\xe9")  # no UTF-8
    strange.mkdir()
    with tarfile.open(strange / "d.tar", "w") as archive:
        archive.add(tmp_path / "d", ".")
    items = items_of([str(strange / "d.tar")], ("audio",))
    info = directory.describe(str(shelf / "audio-24k"))
    options = CorpusOptions(depth=2)
    settings = {
        "directory": str(info.path),
        "fingerprint": info.fingerprint,
        "options": options,
        "device": "cpu",
        "readers": 2,
        "threads": 1,
        "backend": "auto",
    }
    rows = [ray_engine._row(number, item) for number, item in enumerate(items)]
    table = pyarrow.Table.from_pylist(rows)  # as Ray hands it on
    batch = {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}
    made = pyarrow.Table.from_pydict(ray_engine.Worker(settings)(batch)).to_pylist()
    expected, found = Ledger(len(items)), Ledger(len(items))
    local = local_engine(coder(directory.load(info.path)), options)
    list(encode_corpus(items, expected, local, folder=tmp_path))  # type: ignore[arg-type]
    outcomes = (ray_engine._outcome(row, items) for row in made)
    list(encode_corpus(items, found, lambda *_: outcomes, folder=tmp_path))  # type: ignore[arg-type]
    assert len(found.codes) == 6 and len(found.reasons) == 1
    assert found.codes == expected.codes and found.reasons == expected.reasons


def test_a_worker_with_another_model_under_the_name_refuses(shelf: Path):
    settings = {"directory": str(shelf / "image-f8"), "fingerprint": "0" * 16, "device": "cpu"}
    with pytest.raises(CheckpointError, match="on this worker, not 0000"):
        ray_engine.Worker(settings)


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, shelf: Path):
    (tmp_path / "a.png").touch()
    program = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'ray' else real(name, *a)\n"
        "from vqtok.cli import main\n"
        "sys.argv = ['vqtok', *'encode a.png --format tar -o c --engine ray'.split()]\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment() | {"VQTOK_MODELS": str(shelf)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: --engine ray: Ray is not installed",
        "Hint: pip install 'vqtok[ray]'",
    ]
