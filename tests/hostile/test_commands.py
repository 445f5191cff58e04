"""The commands on folders of damaged files: one line each, the others go on, nothing outside."""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import here, picture, recording, vqtok
from tests.hostile import pictures, recordings
from tests.hostile.corpora import CorpusRoom, TarRoom, member
from tests.hostile.corpora import media as tars_media
from tests.hostile.models import codes_files
from tests.hostile.mutations import mutate
from tests.hostile.room import UNDECODED
from tests.programs import LIMIT_S, environment

__all__ = ["here", "picture", "recording", "vqtok"]

COUNT = 45
SUFFIXES = {"png": "png", "jpeg": "jpg", "webp": "webp", "tiff": "tif", "bmp": "bmp", "gif": "gif",
            "wav": "wav", "wavex": "wav", "rf64": "wav", "rifx": "wav", "aiff": "aiff",
            "flac": "flac", "ogg": "ogg", "mp3": "mp3"}  # fmt: skip
LIMIT = ("--max-pixels", "100000")


def damage(folder: Path, files: dict[str, bytes], count: int, *, seed: int) -> list[Path]:
    """``count`` damaged files, and every fifth of them sound."""
    folder.mkdir()
    donors, made = list(files.values()), []
    for number in range(count):
        rng = random.Random(seed + number)
        name = rng.choice(sorted(files))
        words = name.split()
        suffix = SUFFIXES.get(words[0], words[-1])
        path = folder / f"{number:03}.{suffix}"
        sound = number % 5 == 0
        path.write_bytes(files[name] if sound else mutate(files[name], rng, donors).data)
        made.append(path)
    return made


def snapshot(folder: Path, *, without: str) -> dict[str, bytes | None]:
    """Every file below a folder, its bytes too, but for one subfolder."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if without not in path.relative_to(folder).parts
    }


def check_lines(stderr: str, failed: int) -> None:
    """Nothing but our own lines, and no more errors than failures."""
    ours = ("Error: ", "Hint: ", "encoded: ", "decoded: ", "evaluated: ")
    lines = stderr.splitlines()
    odd = [line for line in lines if not line.startswith(ours) and "inputs failed" not in line]
    assert odd == []
    assert "internal: " not in stderr and "Traceback" not in stderr
    errors = [line for line in lines if line.startswith("Error: ")]
    assert (1 if failed else 0) <= len(errors) <= failed


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which may take a minute of processor time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    return subprocess.run(
        [sys.executable, "-m", "vqtok", *arguments],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, preexec_fn=limit,
        env={**environment(), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def media() -> dict[str, bytes]:
    return {**pictures.seeds(), **recordings.seeds()}


def test_encode_goes_through_a_folder_of_damaged_media(here: Path):
    paths = damage(here / "bad", media(), COUNT, seed=0)
    before = snapshot(here, without="out")
    result = process("encode", "bad", "-o", "out/", "--format", "npy", "--json", *LIMIT)
    if result.returncode == 2:  # two of one stem would be a mistake of this test
        raise AssertionError(result.stderr)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(each["source"] for each in records) == sorted(
        str(path.relative_to(here)) for path in paths
    )
    failed = [each for each in records if "error" in each]
    assert result.returncode == (1 if failed else 0)
    assert 0 < len(failed) < len(paths)
    check_lines(result.stderr, len(failed))
    sound = {str(path.relative_to(here)) for path in paths[::5]}
    assert sound.isdisjoint(each["source"] for each in failed)
    assert snapshot(here, without="out") == before
    written = sorted(path.name for path in (here / "out").iterdir())
    assert written == sorted(Path(each["target"]).name for each in records if "error" not in each)


def test_decode_goes_through_a_folder_of_damaged_codes(here: Path, shelf: Path, vqtok):
    paths = damage(here / "bad", codes_files(shelf), COUNT, seed=1000)
    before = snapshot(here, without="out")
    result = vqtok("decode", "bad", "-o", "out/")
    assert result.exit_code == 1
    done = result.stdout.splitlines()
    check_lines(result.stderr, len(paths) - len(done))
    assert {path.stem for path in paths[::5]} <= {Path(each).name.split(".")[0] for each in done}
    assert sorted(f"out/{path.name}" for path in (here / "out").iterdir()) == sorted(done)
    assert snapshot(here, without="out") == before


def test_info_describes_or_refuses_each(here: Path, shelf: Path):
    paths = damage(here / "bad", media(), COUNT, seed=2000)
    paths += damage(here / "codes", codes_files(shelf), COUNT, seed=3000)
    names = [str(path.relative_to(here)) for path in paths]
    before = snapshot(here, without="out")
    result = process("info", "--json", *names)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    failed = len([each for each in records if "error" in each])
    assert len(records) in (len(paths), len(paths) - failed)
    described = {each["subject"] for each in records if "error" not in each}
    assert described.issuperset(names[0:COUNT:5])
    assert result.returncode == 1
    check_lines(result.stderr, len(paths) - len(described))
    assert snapshot(here, without="out") == before


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_eval_measures_what_is_sound(here: Path, vqtok, kind: str):
    files = pictures.seeds() if kind == "image" else recordings.seeds()
    count = 10
    paths = damage(here / "bad", files, count, seed=4000)
    before = snapshot(here, without="out")
    result = vqtok("eval", "bad", "-o", "out/", "--json", *LIMIT)
    assert result.exit_code in (0, 1)
    assert "internal: " not in result.stderr and "Traceback" not in result.stderr
    assert {path.stem for path in paths[::5]} <= {
        path.name.split(".")[0] for path in (here / "out").rglob("*")
    }
    assert snapshot(here, without="out") == before


CORPORA = ("files", "tar", "bin", "parquet", "arrow")


def test_encode_goes_through_damaged_tars(here: Path):
    room = TarRoom(here, here)
    (here / "bad").mkdir()
    whole = b"".join(member(name.encode(), data) for name, data in tars_media().items())
    long = member(b"././@LongLink", b"x" * 5000 + b".png", type=b"L")
    up = member(b"../up.png", tars_media()["one.png"])
    hostile = [whole + long + up, up + b"\xff" * 700, *(room.mutant(n).data for n in range(6))]
    for number, data in enumerate(hostile):
        (here / "bad" / f"{number}.tar").write_bytes(data)
    (here / "sound.tar").write_bytes(whole + bytes(1024))
    before = snapshot(here, without="out")
    names = [f"bad/{number}.tar" for number in range(len(hostile))]
    result = process(
        "encode", "sound.tar", *names, "-o", "out/", "--format", "tar",
        "--model", "image-f8", *LIMIT,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    check_output(result.stderr)
    assert snapshot(here, without="out") == before
    index = json.loads((here / "out" / "index.json").read_text())
    listed = (here / "out" / "failed.jsonl").read_text().splitlines()
    assert index["failed"] == len(listed) >= 2
    # What is sound in the sound one is there, whatever the others hold.
    decoded = process("decode", "out", "-o", "out/back", "--json")
    assert decoded.returncode == 0, decoded.stderr
    found = [json.loads(line)["source"] for line in decoded.stdout.splitlines()]
    assert {"out/sound/one.png", "out/sound/a/two.png"} <= set(found)


@pytest.mark.parametrize("format", CORPORA)
def test_decode_and_info_take_or_refuse_damaged_corpora(here: Path, shelf: Path, vqtok, format):
    room = CorpusRoom(shelf, here / "work")
    (here / "work").mkdir()
    kinds = [name for name in room.corpora if name.endswith(format)]
    codes = set()
    for number in range(12):
        rng = random.Random(number)
        room.place(room.damaged(rng.choice(kinds), rng).data, here / "in")
        before = snapshot(here, without="out")
        for arguments in (("decode", "in", "-o", "out/there"), ("info", "in")):
            result = vqtok(*arguments)
            codes.add(result.exit_code)
            assert result.exit_code in (0, 1, 2), result.stderr
            check_output(result.stderr)
            assert "\x1b" not in result.stdout
        assert snapshot(here, without="out") == before
        assert not [path for path in (here / "out").rglob("*") if "there" not in path.parts]
        shutil.rmtree(here / "out", ignore_errors=True)
    assert {0, 1} <= codes


def check_output(stderr: str) -> None:
    """Clean lines, and no bug."""
    assert "internal: " not in stderr and "Traceback" not in stderr
    assert all(UNDECODED.sub("", line).isprintable() for line in stderr.splitlines())
