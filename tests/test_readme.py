"""Every command and snippet of README and docs runs, beside a photo and a recording."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from tests.checkpoints.foreign.checkpoints import CHECKPOINTS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = {path.name: path for path in (README, *sorted((ROOT / "docs").glob("*.md")))}


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """photo.png, speech.wav, photos/ and clips/, and a ``vqtok`` that is this checkout's."""
    folder = tmp_path
    for name in ("photo.png", "speech.wav"):
        shutil.copy(ROOT / "tests" / "data" / name, folder)
    (folder / "photos").mkdir()
    (folder / "clips").mkdir()
    with Image.open(folder / "photo.png") as photo:
        for i in range(3):
            photo.crop((60 * i, 20, 60 * i + 200, 220)).save(folder / "photos" / f"{i}.png")
    samples, rate = soundfile.read(folder / "speech.wav")
    soundfile.write(folder / "clips" / "a.wav", samples[: 2 * rate], rate)
    (folder / "bin").mkdir()
    script = folder / "bin" / "vqtok"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vqtok "$@"\n')
    script.chmod(0o755)
    return folder


def run(command: str, desk: Path) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VQTOK")}
    path = f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = kept | {"PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=desk,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_the_session_at_the_top_prints_what_it_says(desk: Path) -> None:
    (session,) = blocks(README, "console")
    steps = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", session, flags=re.M)
    assert len(steps) == 3
    for command, expected in steps:
        # The interpreter that runs the tests, by its own path: a link would lose its environment.
        command = re.sub(r"^python ", f"{sys.executable} ", command)
        assert run(command, desk) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if blocks(page, "sh")])
def test_every_command_runs(desk: Path, name: str) -> None:
    if name == "training.md":  # which speaks of what somebody else has trained
        (desk / "theirs").mkdir()
        CHECKPOINTS["VQGAN"](desk / "theirs").rename(desk / "last.ckpt")
    for line in "".join(blocks(PAGES[name], "sh")).strip().splitlines():
        run(line, desk)
    if name != "shell.md":
        return
    with Image.open(desk / "back.png") as back, Image.open(desk / "photo.png") as photo:
        assert back.size == photo.size
    speech = soundfile.info(desk / "speech.wav")
    for file in ("back.wav", "again.wav", "live.wav"):
        assert soundfile.info(desk / file).frames == speech.frames
    assert (desk / "again.wav").read_bytes() == (desk / "live.wav").read_bytes()


def test_links_lead_somewhere() -> None:
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)


def test_the_readme_is_one_page_that_leads_to_every_other() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert all(f"(docs/{name})" in text for name in PAGES if name != README.name)


@pytest.mark.slow
def test_every_snippet_runs(desk: Path) -> None:
    run("vqtok encode photo.png -o codes.npy -f", desk)
    files, arrays, own = blocks(PAGES["python.md"], "python")
    (desk / "snippet.py").write_text(files)
    out = run(f"{sys.executable} snippet.py", desk)
    assert "image-f8 (300, 451) (1, 38, 57)" in out
    assert "audio-24k cifar10-f4 image-f16 image-f8" in out
    with Image.open(desk / "back.jpg") as back, Image.open(desk / "photo.png") as photo:
        assert back.size == photo.size
    assert (desk / "again.npy").read_bytes() == (desk / "codes.npy").read_bytes()
    shapes = "\nprint(codes.levels[0].shape, y.shape, stereo.levels[0].shape)"
    (desk / "snippet.py").write_text(arrays + shapes)
    out = run(f"{sys.executable} snippet.py", desk)
    assert "torch.Size([1, 1, 24000])" in out
    assert "Size([1, 38, 57]) torch.Size([1, 3, 304, 456]) torch.Size([2, 8, 75])" in out
    (desk / "snippet.py").write_text(own)
    assert run(f"{sys.executable} snippet.py", desk).endswith("torch.Size([1, 3, 3])\n")
    assert "lab" in (desk / "lab.html").read_text(encoding="utf-8")
    (light,) = blocks(PAGES["instant.md"], "python")
    seen = "\nimport sys\nprint(codes.levels[0].shape, y.shape, 'torch' in sys.modules)"
    (desk / "snippet.py").write_text(light + seen)
    out = run(f"{sys.executable} snippet.py", desk)
    assert out == "(1, 38, 57) (1, 3, 301, 450) False\n"
