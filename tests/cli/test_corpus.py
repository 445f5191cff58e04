"""``vqtok encode --format tar -o corpus/`` and what is done with the corpus."""

from __future__ import annotations

import contextlib
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.ledger import pictures, recordings
from tests.programs import LIMIT_S, environment
from vqtok.corpus.writer import CorpusWriter

FORMATS = ("files", "tar", "bin", "parquet", "arrow")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_made_and_decoded_back(vqtok, here, format):
    pictures(here / "photos" / "sub", 5)
    made = vqtok("encode", "photos", "-o", "corpus", "--format", format)
    assert (made.exit_code, made.stdout) == (0, "corpus\n")
    assert "corpus: 5 images" in made.stderr
    assert (here / "corpus" / "index.json").exists()
    back = vqtok("decode", "corpus", "-o", "out/")
    assert back.exit_code == 0
    assert vqtok("encode", "photos", "-o", "single/").exit_code == 0
    assert vqtok("decode", "single", "-o", "expected/").exit_code == 0
    expected = tree(here / "expected")
    assert len(expected) == 5
    assert tree(here / "out") == expected
    assert back.stdout.splitlines() == [f"out/{name}" for name in expected]


def test_a_device_that_is_not_there_leaves_no_folder(vqtok, here):
    pictures(here / "photos", 1)
    result = vqtok("encode", "photos", "-o", "corpus", "--format", "tar", "--device", "nope")
    assert result.exit_code == 2
    assert "--device nope: not available" in result.stderr
    assert not (here / "corpus").exists()


def test_recordings_keep_channels_rate_and_length(vqtok, here):
    recordings(here / "clips", 4)
    assert vqtok("encode", "clips", "-o", "c", "--format", "bin", "--depth", "2").exit_code == 0
    assert vqtok("decode", "c", "-o", "out", "--format", "flac").exit_code == 0
    assert vqtok("encode", "clips", "-o", "single/", "--depth", "2").exit_code == 0
    assert vqtok("decode", "single", "-o", "expected/", "--format", "flac").exit_code == 0
    assert tree(here / "out") == tree(here / "expected")
    assert len(tree(here / "out")) == 4


def test_directory_list_and_tar_make_the_same_codes(vqtok, here):
    pictures(here / "d", 7)
    names = sorted(path.name for path in (here / "d").iterdir())
    with tarfile.open(here / "d.tar", "w") as archive:
        for name in names:
            archive.add(here / "d" / name, name)
    (here / "list.txt").write_text("".join(f"d/{name}\n" for name in names))
    for argument, folder in (("d", "a"), ("d.tar", "b"), ("@list.txt", "c")):
        assert vqtok("encode", argument, "-o", folder, "--format", "files").exit_code == 0
    assert tree(here / "a") == tree(here / "b")
    listed = {name.removeprefix("d/"): data for name, data in tree(here / "c").items()}
    codes = {n: data for n, data in tree(here / "a").items() if n.endswith(".safetensors")}
    assert len(codes) == 7
    assert codes == {n: data for n, data in listed.items() if n.endswith(".safetensors")}


def test_lists_work_without_a_corpus_and_tars_say_what_they_need(vqtok, here, picture):
    picture("d/a.png")
    picture("b.png")
    (here / "list.txt").write_text("d/a.png\nb.png\n")
    made = vqtok("encode", "@list.txt", "-o", "out/")
    assert made.stdout.splitlines() == ["out/a.safetensors", "out/b.safetensors"]
    (here / "x.tar").write_bytes(bytes(1024))
    refused = vqtok("encode", "x.tar")
    assert refused.exit_code == 1
    assert "a tar is read into a corpus only" in refused.stderr
    assert "--format tar -o DIR/" in refused.stderr


def test_failures_are_listed_the_rest_finish_and_the_code_is_1_again(vqtok, here):
    pictures(here / "d", 3)
    (here / "d" / "bad.png").write_bytes(b"none")
    command = ("encode", "d", "gone.png", "-o", "c", "--format", "tar")
    first = vqtok(*command)
    assert (first.exit_code, first.stdout) == (1, "c\n")
    assert "Error: d/bad.png: not an image that vqtok reads" in first.stderr
    assert "2 inputs failed, with reasons in c/failed.jsonl" in first.stderr
    lines = [json.loads(line) for line in (here / "c" / "failed.jsonl").read_text().splitlines()]
    assert lines == [
        {"name": "bad.png", "reason": "not an image that vqtok reads"},
        {"name": "gone.png", "reason": "cannot read: no such file or directory"},
    ]
    before = tree(here / "c")
    again = vqtok(*command)
    assert (again.exit_code, again.stdout) == (1, "c\n")
    assert "c: complete already" in again.stderr
    assert tree(here / "c") == before


def test_force_starts_over(vqtok, here):
    pictures(here / "d", 3)
    assert vqtok("encode", "d", "-o", "c", "--format", "tar").exit_code == 0
    (here / "d" / "000.png").unlink()
    other = vqtok("encode", "d", "-o", "c", "--format", "tar")
    assert other.exit_code == 2
    assert vqtok("encode", "d", "-o", "c", "--format", "tar", "-f").exit_code == 0
    assert json.loads((here / "c" / "index.json").read_text())["items"] == 2


def test_both_kinds_need_a_choice(vqtok, here):
    pictures(here / "d", 2)
    recordings(here / "d", 1)
    refused = vqtok("encode", "d", "-o", "c", "--format", "tar")
    assert refused.exit_code == 2
    assert "audio and images in one corpus: a corpus is made by one model" in refused.stderr
    assert not (here / "c").exists()
    made = vqtok("encode", "d", "-o", "c", "--format", "tar", "-m", "image-f8")
    assert made.exit_code == 1
    assert "d/000.wav: audio, expected image" in made.stderr
    assert json.loads((here / "c" / "index.json").read_text())["items"] == 2


def test_nothing_to_encode_makes_no_corpus(vqtok, here):
    refused = vqtok("encode", "gone.png", "-o", "c", "--format", "tar")
    assert refused.exit_code == 1
    assert "gone.png: cannot read: no such file or directory" in refused.stderr
    assert not (here / "c").exists()


def test_json_gives_a_line_for_each_item_and_one_for_the_corpus(vqtok, here):
    pictures(here / "d", 2)
    (here / "d" / "bad.png").write_bytes(b"none")
    made = vqtok("encode", "d", "-o", "c", "--format", "bin", "--json")
    lines = [json.loads(line) for line in made.stdout.splitlines()]
    assert lines[-1] == {
        "corpus": "c",
        "format": "bin",
        "model": "image-f8",
        "items": 2,
        "failed": 1,
        "tokens": lines[-1]["tokens"],
        "bits": 6.0 * lines[-1]["tokens"],
    }
    by_source = {line["source"]: line for line in lines[:-1]}
    assert sorted(by_source) == ["d/000.png", "d/001.png", "d/bad.png"]
    assert by_source["d/000.png"]["target"] == "c"
    assert by_source["d/bad.png"]["error"].endswith("not an image that vqtok reads")
    tokens = sum(line.get("tokens", 0) for line in by_source.values())
    assert tokens == lines[-1]["tokens"]


def test_a_dry_run_writes_nothing(vqtok, here):
    pictures(here / "d", 2)
    planned = vqtok("encode", "d", "-o", "c", "--format", "tar", "-n")
    assert planned.stdout.splitlines() == ["d/000.png -> c: 000.png", "d/001.png -> c: 001.png"]
    as_json = vqtok("encode", "d", "-o", "c", "--format", "tar", "-n", "--json")
    assert json.loads(as_json.stdout.splitlines()[0]) == {
        "source": "d/000.png",
        "target": "c",
        "name": "000.png",
        "kind": "image",
    }
    assert not (here / "c").exists()


def test_quiet_prints_nothing_and_verbose_each_file(vqtok, here):
    pictures(here / "d", 2)
    quiet = vqtok("encode", "d", "-o", "c", "--format", "tar", "-q")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    loud = vqtok("encode", "d", "-o", "e", "--format", "tar", "-v", "--no-progress")
    assert "d/001.png: 1 × " in loud.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "tar"), "a corpus is a folder"),
        (("--format", "tar", "-o", "-"), "a corpus is a folder"),
        (("--format", "tar", "-o", "c", "--skip-existing"), "a corpus goes on by itself"),
        (("--format", "tar", "-o", "c", "--engine", "dask"), "unknown engine"),
        (("--format", "tar", "-o", "c", "--depth", "2"), "has no residual stages"),
        (("--format", "tar", "-o", "c", "--background", "mauveish"), "mauveish"),
        (("--format", "zip", "-o", "c"), "arrow, bin, files, parquet, tar"),
        (("--shard-size", "5"), "only a corpus has shards"),
        (("--engine", "ray"), "only a corpus is made that way"),
    ],
)
def test_flags_that_do_not_fit_are_usage_errors(vqtok, here, arguments, words):
    pictures(here / "d", 1)
    refused = vqtok("encode", "d", *arguments)
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert sorted(path.name for path in here.iterdir()) == ["d"]


def test_the_help_tells_of_corpora(vqtok):
    text = " ".join(vqtok("encode", "--help").stdout.split())
    for words in (
        "For a corpus: files, tar, bin, parquet or arrow.",
        "@list.txt (a path on each line)",
        "The same command goes on where it was stopped; -f starts over.",
        "--shard-size N",
        "--engine NAME",
    ):
        assert words in text


def test_shards_have_the_size_that_was_asked_for(vqtok, here):
    pictures(here / "d", 5)
    assert vqtok("encode", "d", "-o", "c", "--format", "tar", "--shard-size", "2").exit_code == 0
    assert len(list((here / "c").glob("shard-*.tar"))) == 3


def test_a_tar_cannot_write_or_read_outside(vqtok, here, tmp_path):
    pictures(here / "d", 1)
    data = (here / "d" / "000.png").read_bytes()
    with tarfile.open(here / "t.tar", "w") as archive:
        for name in ("../../up.png", "/abs.png", "in/ok.png"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(here / "d" / "000.png")
        archive.addfile(link)
    made = vqtok("encode", "t.tar", "-o", "c", "--format", "files")
    assert made.exit_code == 1
    reasons = [json.loads(line) for line in (here / "c" / "failed.jsonl").read_text().splitlines()]
    assert [each["name"] for each in reasons] == ["up.png", "abs.png", "link.png"]
    assert vqtok("decode", "c", "-o", "out").exit_code == 0
    assert list(tree(here / "out")) == ["in/ok.recon.png"]
    assert sorted(path.name for path in here.iterdir()) == ["c", "d", "out", "t.tar"]


def test_decoding_refuses_what_exists_goes_on_and_overwrites(vqtok, here):
    pictures(here / "d", 3)
    assert vqtok("encode", "d", "-o", "c", "--format", "tar").exit_code == 0
    assert vqtok("decode", "c", "-o", "out").exit_code == 0
    whole = tree(here / "out")
    refused = vqtok("decode", "c", "-o", "out")
    assert refused.exit_code == 2
    assert (
        "out/000.recon.png, out/001.recon.png, out/002.recon.png: already exist" in refused.stderr
    )
    (here / "out" / "001.recon.png").unlink()
    some = vqtok("decode", "c", "-o", "out", "--skip-existing")
    assert (some.exit_code, some.stdout) == (0, "out/001.recon.png\n")
    assert "skipped 2 existing outputs" in some.stderr
    assert vqtok("decode", "c", "-o", "out", "-f").exit_code == 0
    assert tree(here / "out") == whole
    planned = vqtok("decode", "c", "-o", "other", "-n")
    assert planned.stdout.splitlines()[0] == "c/000.png -> other/000.recon.png"
    assert not (here / "other").exists()


def test_items_that_differ_in_their_suffix_keep_it(vqtok, here, picture):
    picture("d/a.png")
    picture("d/a.bmp")
    picture("d/b.png")
    assert vqtok("encode", "d", "-o", "c", "--format", "bin").exit_code == 0
    assert vqtok("decode", "c", "-o", "out").exit_code == 0
    assert list(tree(here / "out")) == ["a.bmp.recon.png", "a.png.recon.png", "b.recon.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "decoded into a directory"),
        (("-o", "-"), "decoded into a directory"),
        (("-o", "c"), "is the corpus itself"),
        (("-o", "out", "--format", "wav"), "the corpus holds image"),
        (("-o", "out", "--format", "gif"), "cannot be written"),
        (("d/000.png", "-o", "out"), "decoded by itself"),
    ],
)
def test_decoding_a_corpus_with_flags_that_do_not_fit(vqtok, here, arguments, words):
    pictures(here / "d", 1)
    assert vqtok("encode", "d", "-o", "c", "--format", "bin").exit_code == 0
    before = tree(here / "c")
    refused = vqtok("decode", "c", *arguments)
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert tree(here / "c") == before and not (here / "out").exists()


def test_an_unfinished_corpus_says_so(vqtok, here, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    pictures(here / "d", 3)
    with monkeypatch.context() as patch:
        patch.setattr(CorpusWriter, "finish", stop)
        assert vqtok("encode", "d", "-o", "c", "--format", "tar").exit_code == 130
    refused = vqtok("decode", "c", "-o", "out")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: c: ") and "unfinished" in refused.stderr
    told = vqtok("info", "c")
    assert told.exit_code == 0
    assert "unfinished corpus of image, format tar" in told.stdout
    assert "3 of 3 done, 0 of them failed" in told.stdout
    facts = json.loads(vqtok("info", "c", "--json").stdout)
    assert (facts["kind"], facts["done"], facts["count"]) == ("unfinished corpus", 3, 3)
    assert facts["command"].split()[0] == "vqtok"
    assert vqtok("encode", "d", "-o", "c", "--format", "tar").exit_code == 0
    assert vqtok("info", "c").exit_code == 0


def test_info_summarises_and_plots(vqtok, here):
    recordings(here / "d", 3)
    (here / "d" / "bad.wav").write_bytes(b"none")
    assert vqtok("encode", "d", "-o", "c", "--format", "bin").exit_code == 1
    facts = json.loads(vqtok("info", "c", "--json").stdout)
    assert (facts["kind"], facts["items"], facts["failed"]) == ("corpus", 3, 1)
    assert (facts["model"], facts["format"], len(facts["codebooks"])) == ("audio-24k", "bin", 3)
    assert facts["tokens"] == sum(stage["tokens"] for stage in facts["codebooks"])
    assert 0 < facts["entropy_bits"] <= facts["bits"] == 4.0 * facts["tokens"]
    rates = facts["bits"] / facts["duration_s"] / 1000
    assert facts["kbit_per_s"] == pytest.approx(rates, rel=1e-3)
    text = vqtok("info", "c", "--plot", "use.png")
    assert "3 in 1 shard, 1 failed" in text.stdout
    assert "bad.wav: " in text.stdout and "codes 3:" in text.stdout and "kbit/s" in text.stdout
    with Image.open(here / "use.png") as drawn:
        assert np.asarray(drawn).std() > 0


def run(*arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vqtok", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=pipe, stderr=pipe)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tar", "bin"])
def test_killed_at_any_moment_and_run_again_it_is_the_same_folder(vqtok, here, format):
    pictures(here / "d", 300)
    (here / "d" / "005-bad.png").write_bytes(b"none")
    command = ("encode", "d", "--format", format, "--shard-size", "40", "--threads", "1", "-q")
    assert vqtok(*command, "-o", "whole").exit_code == 1
    chance, advanced, kills = random.Random(7), 0, 0
    for attempt in range(6):
        before = recorded(here / "again")
        process = run(*command, "-o", "again", cwd=here)
        if attempt:  # the first one is killed wherever it is, the others in the middle of work
            wait_for_more(here / "again", before, process)
        time.sleep(chance.uniform(0.0, 0.15))
        process.kill()
        process.communicate(timeout=LIMIT_S)
        kills += process.returncode == -signal.SIGKILL
        advanced += recorded(here / "again") != before
    assert kills >= 3 and advanced >= 2
    last = run(*command, "-o", "again", cwd=here)
    last.communicate(timeout=LIMIT_S)
    assert last.returncode == 1
    assert tree(here / "again") == tree(here / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_leaves_a_corpus_that_goes_on(vqtok, here, number, code):
    pictures(here / "d", 600)
    command = ("encode", "d", "--format", "tar", "-o", "c", "--threads", "1")
    process = run(*command, cwd=here)
    wait_for_more(here / "c", {}, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert not (here / "c" / "index.json").exists()
    rest = vqtok(*command)
    assert rest.exit_code == 0
    assert "of 600 done before, going on" in rest.stderr
    assert vqtok("encode", "d", "--format", "tar", "-o", "w").exit_code == 0
    assert tree(here / "c") == tree(here / "w")


def recorded(folder: Path) -> dict[str, int]:
    """Sizes of the spools and shards: they grow with every result."""
    sizes = {}
    for path in (*folder.glob(".vqtok/**/*"), *folder.glob("shard-*"), *folder.glob("tokens.*")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.suffix != ".json":
                sizes[str(path)] = path.stat().st_size
    return sizes


def wait_for_more(folder: Path, before: dict[str, int], process: subprocess.Popen[bytes]) -> None:
    """Return once results are recorded that were not there before."""
    start = sum(before.values())
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        now = recorded(folder)
        if sum(now.values()) > start + 1000:
            return
        time.sleep(0.005)


def webdataset(path: Path, names: list[str], *, start: int = 0) -> None:
    """A tar of pictures with a caption, a class and JSON each; the last has none."""
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(names, start):
            whole = io.BytesIO()
            pixels = np.full((9, 11, 3), 7 * number, np.uint8)
            Image.fromarray(pixels).save(whole, "PNG")
            files = {f"{name}.png": whole.getvalue()}
            if name != names[-1]:
                files |= {f"{name}.txt": f"caption {name} é".encode(), f"{name}.cls": b"7"}
                files |= {f"{name}.json": b'{"n": 1}\n'}
            for member, data in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def test_captions_of_a_webdataset_are_carried_without_being_asked(vqtok, here):
    webdataset(here / "in.tar", ["x/a", "x/b", "y/c"])
    made = vqtok("encode", "in.tar", "-o", "c", "--format", "tar")
    assert made.exit_code == 0
    assert "2 cls, 2 json, 2 txt" in made.stderr
    with tarfile.open(here / "c" / "shard-00000.tar") as archive:
        names = archive.getnames()
        caption = archive.extractfile("x/b.txt")
        assert caption is not None and caption.read() == "caption x/b é".encode()
    assert "x/a.meta.json" in names and "y/c.txt" not in names
    index = json.loads((here / "c" / "index.json").read_text())
    assert index["carried"] == {"cls": 2, "json": 2, "txt": 2}
    assert "2 cls, 2 json, 2 txt" in vqtok("info", "c").stdout
    off = vqtok("encode", "in.tar", "-o", "off", "--format", "tar", "--carry", "none")
    assert off.exit_code == 0 and "txt" not in off.stderr
    with tarfile.open(here / "off" / "shard-00000.tar") as archive:
        assert len(archive.getnames()) == 6


def test_tokens_alone_say_what_they_leave_out(vqtok, here):
    webdataset(here / "in.tar", ["a", "b"])
    made = vqtok("encode", "in.tar", "-o", "c", "--format", "bin")
    assert made.exit_code == 0
    assert "not carried: 1 .cls, 1 .json, 1 .txt beside the items: format bin holds" in made.stderr
    refused = vqtok("encode", "in.tar", "-o", "d", "--format", "bin", "--carry", "txt")
    assert refused.exit_code == 2 and "format bin holds codes alone, no txt" in refused.stderr
    assert not (here / "d").exists()


def test_captions_in_folders_are_told_of_and_carried_when_asked(vqtok, here, picture):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        picture(f"d/{name}")
    (here / "d/cat/1.txt").write_text("a cat")
    told = vqtok("encode", "d", "-o", "c", "--format", "tar")
    assert "not carried: 1 .txt beside the items (--carry txt takes them along)" in told.stderr
    made = vqtok("encode", "d", "-o", "p", "--format", "parquet", "--carry", "txt")
    assert made.exit_code == 0 and "left out" not in made.stderr
    table = pyarrow.parquet.read_table(here / "p" / "shard-00000.parquet")
    assert table["txt"].to_pylist() == ["a cat", None, None]
    assert table["label"].to_pylist() == ["cat", "cat", "dog"]
    assert vqtok("encode", "d", "-o", "t", "--format", "files", "--carry", "txt").exit_code == 0
    assert (here / "t/cat/1.txt").read_text() == "a cat"
    wrong = vqtok("encode", "d", "-o", "w", "--format", "files", "--carry", "text")
    assert wrong.exit_code == 2 and "known: txt, json, cls, or none" in wrong.stderr


def test_a_caption_that_cannot_be_read_fails_its_item_alone(vqtok, here, picture):
    picture("d/a.png")
    picture("d/b.png")
    (here / "d/a.txt").mkdir()
    (here / "d/b.txt").write_text("b")
    made = vqtok("encode", "d", "-o", "c", "--format", "tar", "--carry", "txt")
    assert made.exit_code == 1
    assert "d/a.txt: " in made.stderr
    index = json.loads((here / "c" / "index.json").read_text())
    assert (index["items"], index["failed"], index["carried"]) == (1, 1, {"txt": 1})


@pytest.mark.parametrize("format", FORMATS)
def test_append_adds_new_items_and_only_those(vqtok, here, format):
    pictures(here / "d", 3)
    command = ("encode", "d", "-o", "c", "--format", format, "--shard-size", "2", "--append")
    refused = vqtok(*command)
    assert refused.exit_code == 2 and "no corpus to append to" in refused.stderr
    assert vqtok(*command[:-1]).exit_code == 0
    before = tree(here / "c")
    pictures(here / "d", 5)
    plain = vqtok(*command[:-1])
    assert plain.exit_code == 2
    assert "number of items 3, now 5" in plain.stderr and "--append" in plain.stderr
    planned = vqtok(*command, "-n")
    assert planned.stdout.splitlines() == ["d/003.png -> c: 003.png", "d/004.png -> c: 004.png"]
    added = vqtok(*command, "--json")
    assert added.exit_code == 0
    assert "c: 2 new, 3 there already" in added.stderr
    assert len(added.stdout.splitlines()) == 3
    assert vqtok("decode", "c", "-o", "out").exit_code == 0
    assert len(tree(here / "out")) == 5
    shards = [name for name in before if name.startswith("shard-")]
    after = tree(here / "c")
    assert all(after[name] == before[name] for name in shards)
    again = vqtok(*command)
    assert again.exit_code == 0 and "c: nothing new, 5 there already" in again.stderr
    assert tree(here / "c") == after


def test_a_changed_setting_is_told_with_both_values(vqtok, here):
    pictures(here / "d", 2)
    assert vqtok("encode", "d", "-o", "c", "--format", "tar", "--shard-size", "30").exit_code == 0
    for more in ((), ("--append",)):
        refused = vqtok("encode", "d", "-o", "c", "--format", "tar", *more)
        assert refused.exit_code == 2
        assert "shard size 30, now 1000" in refused.stderr
    other = vqtok("encode", "d", "-o", "c", "--format", "bin", "--background", "black")
    assert "format tar, now bin" in other.stderr and "background white, now black" in other.stderr


def test_a_name_of_a_tar_gives_one_tar(vqtok, here):
    pictures(here / "d", 5)
    (here / "d" / "bad.png").write_bytes(b"none")
    assert vqtok("encode", "d", "-o", "c", "--format", "tar").exit_code == 1
    made = vqtok("encode", "d", "-o", "x.tar", "--format", "tar")
    assert (made.exit_code, made.stdout) == (1, "x.tar\n")
    assert "Error: d/bad.png: not an image that vqtok reads" in made.stderr
    assert sorted(path.name for path in here.iterdir()) == ["c", "d", "x.tar"]
    assert (here / "x.tar").read_bytes() == (here / "c" / "shard-00000.tar").read_bytes()
    assert vqtok("decode", "x.tar", "-o", "out").exit_code == 0
    assert vqtok("decode", "c", "-o", "expected").exit_code == 0
    assert tree(here / "out") == tree(here / "expected")
    one, folder = (json.loads(vqtok("info", each, "--json").stdout) for each in ("x.tar", "c"))
    assert one["codebooks"] == folder["codebooks"] and one["items"] == 5
    again = vqtok("encode", "d", "-o", "x.tar", "--format", "tar")
    assert again.exit_code == 2 and "x.tar: already exists" in again.stderr
    assert vqtok("encode", "d", "-o", "x.tar", "--format", "tar", "-f").exit_code == 1
    for flag in (("--append",), ("--shard-size", "3")):
        refused = vqtok("encode", "d", "-o", "y.tar", "--format", "tar", *flag)
        assert refused.exit_code == 2 and "one tar" in refused.stderr


def test_one_tar_goes_on_where_it_was_stopped(vqtok, here, monkeypatch):
    pictures(here / "d", 4)
    command = ("encode", "d", "--format", "tar", "-o")
    assert vqtok(*command, "whole.tar").exit_code == 0

    def stop(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CorpusWriter, "finish", stop)
        assert vqtok(*command, "x.tar").exit_code == 130
    assert not (here / "x.tar").exists() and (here / "x.tar.part").is_dir()
    with monkeypatch.context() as patch:
        patch.setattr("vqtok.corpus.folder.discard", stop)
        assert vqtok(*command, "x.tar").exit_code == 130
    assert (here / "x.tar").read_bytes() == (here / "whole.tar").read_bytes()
    ended = vqtok(*command, "x.tar")
    assert ended.exit_code == 0 and "complete already" in ended.stderr
    assert not (here / "x.tar.part").exists()


def test_equal_stems_keep_their_suffixes_in_every_format(vqtok, here, picture):
    picture("d/a.png")
    picture("d/a.jpg")
    assert vqtok("encode", "d", "-o", "out/").exit_code == 0
    assert sorted(tree(here / "out")) == ["a.jpg.safetensors", "a.png.safetensors"]
    assert vqtok("decode", "out", "-o", "back/").exit_code == 0
    assert vqtok("encode", "d", "-o", "x.tar", "--format", "tar").exit_code == 0
    with tarfile.open(here / "x.tar") as archive:
        assert archive.getnames()[::2] == ["a_jpg.npy", "a_png.npy"]
