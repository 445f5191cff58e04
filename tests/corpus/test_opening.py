"""Who may write where: one process at a time, one job in a folder, no one else's files touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus import samples
from tests.corpus.samples import contents, small
from tests.programs import LIMIT_S, environment
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.writer import CorpusWriter
from vqtok.errors import CodesError, UsageError

formats = pytest.mark.parametrize("format", FORMATS)


@formats
def test_a_finished_job_is_known_and_left_alone(tmp_path: Path, format: str):
    corpus = small()
    info = corpus.write(tmp_path, format)
    before = contents(tmp_path)
    with corpus.open(tmp_path, format) as writer:
        assert writer.complete
        assert list(writer.pending()) == []
        writer.add(0, *samples.item(corpus.spec, 99))
        assert writer.finish() == info
    assert contents(tmp_path) == before


@formats
@pytest.mark.parametrize("finished", [True, False])
def test_another_job_is_refused_with_the_way_out(tmp_path: Path, format: str, finished: bool):
    corpus = small()
    if finished:
        corpus.write(tmp_path, format)
    else:
        with corpus.open(tmp_path, format) as writer:
            corpus.put(writer, 0)
    before = contents(tmp_path)
    others = {
        "job a, now b": replace(corpus, job="b"),
        "names": replace(corpus, names=[*corpus.names[:-1], "z.png"]),
        "number of items 8, now 9": replace(corpus, names=[*corpus.names, "z.png"]),
        "shard size 3, now 4": replace(corpus, shard_items=4),
        "spec": replace(corpus, spec=corpus.spec.with_fingerprint("ff")),
    }
    for what, other in others.items():
        with pytest.raises(UsageError, match=f"another job .*{what}") as told:
            other.open(tmp_path, format)
        assert "-f deletes it and starts over" in str(told.value.hint)
    with pytest.raises(UsageError, match=f"format {format}, now "):
        corpus.open(tmp_path, FORMATS[FORMATS.index(format) - 1])
    assert contents(tmp_path) == before


@formats
def test_starting_over_leaves_nothing_of_the_old_and_all_of_others(tmp_path: Path, format: str):
    old, new = small(job="old"), small("audio", job="new", count=3)
    new.write(tmp_path / "expected", format)
    for first in FORMATS:
        folder = tmp_path / first
        old.write(folder, first)
        (folder / "cats").mkdir(exist_ok=True)
        mine = {"README.md": b"mine", "cats/photo.png": b"mine too"}
        for name, data in mine.items():
            (folder / name).write_bytes(data)
        new.write(folder, format, restart=True)
        assert contents(folder) == {**contents(tmp_path / "expected"), "cats": None, **mine}


@formats
def test_a_folder_with_other_things_is_refused_even_with_force(tmp_path: Path, format: str):
    (tmp_path / "index.json").write_text("{}")
    for restart in (False, True):
        with pytest.raises(UsageError, match="neither empty nor a corpus"):
            small().open(tmp_path, format, restart=restart)
    assert contents(tmp_path) == {"index.json": b"{}"}


@formats
def test_a_file_of_others_in_the_way_is_not_replaced(tmp_path: Path, format: str):
    old = "tar" if format != "tar" else "arrow"
    small(job="old").write(tmp_path, old)
    (tmp_path / "dogs" / "old").mkdir(parents=True)
    taken = {"files": "dogs/old/0.safetensors", "bin": "tokens.bin"}
    place = tmp_path / taken.get(format, f"shard-00001.{format}")
    place.write_bytes(b"mine")
    with pytest.raises(UsageError, match="in the way"):
        small(job="new").open(tmp_path, format, restart=True)
    assert place.read_bytes() == b"mine"


@formats
def test_a_linked_folder_leads_no_deletion_elsewhere(tmp_path: Path, format: str):
    corpus = small()
    corpus.write(tmp_path / "a", "files")
    (tmp_path / "a" / "cats").rename(tmp_path / "elsewhere")
    (tmp_path / "a" / "cats").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    assert before
    if format == "files":
        with pytest.raises((CodesError, UsageError), match="in the way"):
            corpus.write(tmp_path / "a", format, restart=True)
    else:
        corpus.write(tmp_path / "a", format, restart=True)
    assert contents(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("path", ["../victim.safetensors", "/victim.safetensors", "notes.txt"])
def test_a_crafted_listing_deletes_no_file_of_others(tmp_path: Path, path: str):
    folder = tmp_path / "a"
    small().write(folder, "files")
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "victim.safetensors").write_text("mine")
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "path": path})
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(CodesError, match="unsafe"):
        small(job="b").open(folder, "files", restart=True)
    assert (folder / "notes.txt").exists()
    assert (tmp_path / "victim.safetensors").exists()
    assert (folder / "index.json").exists()


@formats
def test_shards_that_are_gone_are_missed_when_resuming(tmp_path: Path, format: str):
    corpus = small()
    with corpus.open(tmp_path, format) as writer:
        for number in range(7):
            corpus.put(writer, number)
    name = {"files": "items.jsonl", "bin": "tokens.bin"}.get(format, f"shard-00001.{format}")
    place = tmp_path / ".vqtok" / name
    (place if place.exists() else tmp_path / name).unlink()
    with pytest.raises(CodesError, match=r"missing or c") as told:
        corpus.open(tmp_path, format)
    assert told.value.hint == "-f starts over"
    corpus.write(tmp_path, format, restart=True)
    corpus.assert_read_back(tmp_path)


@formats
def test_shards_that_are_gone_are_missed_in_a_finished_corpus(tmp_path: Path, format: str):
    corpus = small()
    corpus.write(tmp_path, format)
    name = {"files": "items.jsonl", "bin": "tokens.bin"}.get(format, f"shard-00001.{format}")
    os.truncate(tmp_path / name, 5)
    with pytest.raises(CodesError, match=name):
        corpus.open(tmp_path, format)


def test_two_processes_do_not_write_one_corpus(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.corpus.samples import small\n"
        "with small().open(Path(sys.argv[1]), 'tar'):\n"
        "    print('open', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(UsageError, match="another process is writing"):
            small().open(tmp_path, "tar")
        with pytest.raises(UsageError, match="another process is writing"):
            small().open(tmp_path, "tar", restart=True)
        other.stdin.close()
        assert other.wait(LIMIT_S) == 0
    small().write(tmp_path, "tar")


def test_a_worker_that_outlives_a_killed_writer_keeps_no_lock(tmp_path: Path):
    program = (
        "import os, sys, time; from pathlib import Path\n"
        "from tests.corpus.samples import small\n"
        "writer = small().open(Path(sys.argv[1]), 'tar')\n"
        "child = os.fork()\n"
        # The child speaks for itself, once it has run: the lock is let go before fork returns.
        "if not child: print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        try:
            with pytest.raises(UsageError, match="another process is writing"):
                small().open(tmp_path, "tar")
            other.kill()
            other.wait(LIMIT_S)
            small().write(tmp_path, "tar")
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path):
    (tmp_path / "a").write_text("")
    with pytest.raises(CodesError, match="cannot write"):
        small().open(tmp_path / "a", "tar")


def test_an_item_that_does_not_exist_is_a_programming_error(tmp_path: Path):
    corpus = small()
    with corpus.open(tmp_path, "tar") as writer, pytest.raises(IndexError):
        writer.fail(8, "no")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in every format, which another process wrote under other settings."""
    folder = tmp_path_factory.mktemp("some") / "where" / "else"
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.corpus.samples import small\n"
        "for format in sys.argv[2:]: small().write(Path(sys.argv[1]) / format, format)\n"
    )
    command = [sys.executable, "-c", program, str(folder), *FORMATS]
    settings = {**environment(), "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    subprocess.run(command, check=True, env=settings, timeout=LIMIT_S)
    return folder


@formats
def test_files_say_nothing_of_when_or_where_they_were_made(
    tmp_path: Path, elsewhere: Path, format: str
):
    one = tmp_path / "one"
    small().write(one, format)
    assert contents(one) == contents(elsewhere / format)
    for data in contents(one).values():
        assert str(tmp_path).encode() not in (data or b"")


def test_a_writer_can_be_made_of_any_sequence_of_names(tmp_path: Path):
    corpus = small()
    with CorpusWriter(
        tmp_path, format="tar", names=tuple(corpus.names), spec=corpus.spec, job={}
    ) as writer:
        assert len(list(writer.pending())) == 8
