"""The wheel carries the shipped checkpoints and works far from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_shipped_model_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    shipped = [path for path in (ROOT / "models").rglob("*") if path.is_file()]
    assert {path.parent.name for path in shipped} >= {"image-f8", "audio-24k"}
    for path in shipped:
        assert packed[f"vqtok/models/{path.relative_to(ROOT / 'models')}"] == path.read_bytes()
    assert "vqtok/presets/image-f8.json" in packed
    for name in ("page.html.j2", "script.js", "style.css"):
        assert {f"vqtok/pipeline/{room}/{name}" for room in ("report", "web")} <= packed.keys()
    assert "vqtok/py.typed" in packed


def test_an_installed_wheel_encodes_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    home, away = tmp_path / "venv", tmp_path / "away"
    away.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    # torch and the other dependencies come from the environment that runs the tests; its own
    # vqtok cannot be meant, because the wheel's folder comes first on the path.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("VQTOK", "PYTHON"))}
    python = home / "bin" / "python"

    def run(*arguments: str) -> str:
        command = [str(python), "-m", "vqtok", *arguments]
        done = subprocess.run(command, cwd=away, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    photo = ROOT / "tests" / "data" / "photo.png"
    run("encode", str(photo), "-o", "codes.npy")
    run("decode", "codes.npy")
    assert (away / "codes.recon.png").stat().st_size > 0
    models = [json.loads(line) for line in run("models", "--json").splitlines()]
    assert all(str(site) in each["path"] for each in models)
