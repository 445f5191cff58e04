"""A finished corpus takes new items, and only those; what it held stays byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.samples import Corpus, carrying, contents, item, small
from tests.corpus.test_interruption import Killed, attempt, killed_at
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError, UsageError

formats = pytest.mark.parametrize("format", FORMATS)


def first(format: str = "tar") -> Corpus:
    """Four items, the last of which fails, in two shards."""
    whole = both(format)
    return replace(
        whole, names=whole.names[:4], results=whole.results[:4], carried=whole.carried[:4]
    )


def both(format: str = "tar") -> Corpus:
    """Those and four more, one of which fails."""
    return small() if format == "bin" else carrying(format)


def append(corpus: Corpus, folder: Path, format: str) -> set[int]:
    """Add what is new; the numbers that were encoded."""
    done = set()
    with corpus.open(folder, format, append=True) as writer:
        assert list(writer.names) == list(corpus.names)
        for number in writer.pending():
            corpus.put(writer, number)
            done.add(number)
        writer.finish()
    return done


@formats
def test_new_items_are_added_and_only_those(tmp_path: Path, format: str):
    first(format).write(tmp_path, format)
    before = contents(tmp_path)
    assert append(both(format), tmp_path, format) == {4, 5, 6, 7}
    both(format).assert_read_back(tmp_path)
    after = contents(tmp_path)
    assert CorpusReader(tmp_path).info.identity.parts == (4, 4)
    for name, data in before.items():
        if name not in ("index.json", "histogram.npy", "tokens.idx"):  # sums over all
            assert (after[name] or b"")[: len(data or b"")] == (data or b"")
            assert name in ("items.jsonl", "tokens.bin", "failed.jsonl") or after[name] == data
    with both(format).open(tmp_path, format, append=True) as writer:
        assert writer.complete and list(writer.pending()) == []
        writer.finish()
    assert contents(tmp_path) == after


@formats
def test_counts_are_those_of_a_corpus_made_at_once(tmp_path: Path, format: str):
    whole = both(format).write(tmp_path / "once", format)
    first(format).write(tmp_path / "grown", format)
    append(both(format), tmp_path / "grown", format)
    grown = CorpusReader(tmp_path / "grown")
    for name in ("items", "failed", "tokens", "bits", "pixels", "codebooks", "carried", "layout"):
        assert getattr(grown.info, name) == getattr(whole, name)
    once = CorpusReader(tmp_path / "once")
    assert (grown.histogram() == once.histogram()).all()
    assert list(grown.failures()) == list(once.failures())
    # Even where nothing cuts the tokens into shards, the whole is the same.
    for name in ("tokens.bin", "tokens.idx", "items.jsonl", "failed.jsonl"):
        one, other = tmp_path / "once" / name, tmp_path / "grown" / name
        assert not one.exists() or one.read_bytes() == other.read_bytes()


def killed_appending(corpus: Corpus, folder: Path, format: str, step: int) -> tuple[bool, int]:
    with killed_at(step) as taken:
        try:
            with corpus.open(folder, format, append=True) as writer:
                for number in reversed(list(writer.pending())):
                    corpus.put(writer, number)
                writer.finish()
        except Killed:
            return False, taken[0]
    return True, taken[0]


@formats
@settings(max_examples=8)
@given(steps=st.lists(st.integers(0, 140), min_size=1, max_size=5))
def test_killed_again_and_again_it_grows_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, format: str, steps: list[int]
):
    folder = tmp_path_factory.mktemp("grown")
    for name in ("once", "often"):
        first(format).write(folder / name, format)
    append(both(format), folder / "once", format)
    for step in steps:
        killed_appending(both(format), folder / "often", format, step)
    append(both(format), folder / "often", format)
    assert contents(folder / "once") == contents(folder / "often")


@pytest.mark.slow
@formats
def test_killed_at_any_step_it_holds_the_old_the_new_or_says_that_it_is_unfinished(
    tmp_path: Path, format: str
):
    first(format).write(tmp_path / "once", format)
    append(both(format), tmp_path / "once", format)
    expected = contents(tmp_path / "once")
    for step in range(10**6):
        folder = tmp_path / str(step)
        first(format).write(folder, format)
        finished, _ = killed_appending(both(format), folder, format, step)
        try:
            old = CorpusReader(folder).info.items == 3
        except CodesError as error:
            assert "unfinished" in str(error)
        else:
            (first if old else both)(format).assert_read_back(folder)
            CorpusReader(folder).histogram()
        append(both(format), folder, format)
        assert contents(folder) == expected, step
        if finished:
            return


@formats
def test_it_grows_again_and_again(tmp_path: Path, format: str):
    whole = both(format)
    for count in (3, 4, 6, 8):
        part = replace(
            whole,
            names=whole.names[:count],
            results=whole.results[:count],
            carried=whole.carried[:count],
        )
        if count == 3:
            part.write(tmp_path, format)
        else:
            append(part, tmp_path, format)
    assert CorpusReader(tmp_path).info.identity.parts == (3, 1, 2, 2)
    whole.assert_read_back(tmp_path)


@formats
def test_other_settings_are_told_with_both_values(tmp_path: Path, format: str):
    first(format).write(tmp_path, format)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="shard size 3, now 1000"):
        append(replace(both(format), shard_items=1000), tmp_path, format)
    with pytest.raises(UsageError, match="job a, now b"):
        append(replace(both(format), job="b"), tmp_path, format)
    assert contents(tmp_path) == before


@formats
def test_there_must_be_a_finished_corpus(tmp_path: Path, format: str):
    with pytest.raises(UsageError, match="no corpus to append to"):
        append(both(format), tmp_path / "none", format)
    assert not (tmp_path / "none").exists()
    attempt(first(format), tmp_path / "half", format, 45)
    with pytest.raises(UsageError, match="unfinished") as told:
        append(both(format), tmp_path / "half", format)
    assert "without --append" in str(told.value.hint)


def test_what_came_meanwhile_waits_for_the_next_run(tmp_path: Path):
    first().write(tmp_path, "tar")
    some = replace(
        both(), names=both().names[:6], results=both().results[:6], carried=both().carried[:6]
    )
    with some.open(tmp_path, "tar", append=True) as writer:
        some.put(writer, 5)
    assert (tmp_path / ".vqtok" / "job.json").exists()
    with both().open(tmp_path, "tar", append=True) as writer:
        assert (len(writer.names), writer.begun, writer.later) == (6, 4, 2)
        for number in writer.pending():
            both().put(writer, number)
        writer.finish()
    assert append(both(), tmp_path, "tar") == {6, 7}
    both().assert_read_back(tmp_path)
    with pytest.raises(UsageError, match="another job"):
        both().open(tmp_path, "tar")


@formats
def test_equal_stems_that_come_later_leave_the_earlier_as_they_are(tmp_path: Path, format: str):
    spec = small().spec
    old = Corpus(spec, ["a.png"], [item(spec, 1)])
    new = Corpus(spec, ["a.png", "a.jpg", "a.bmp"], [item(spec, n) for n in (1, 2, 3)])
    old.write(tmp_path, format)
    before = contents(tmp_path)
    append(new, tmp_path, format)
    new.assert_read_back(tmp_path)
    if format == "files":
        assert contents(tmp_path)["a.safetensors"] == before["a.safetensors"]
        assert (tmp_path / "a.jpg.safetensors").exists()


@formats
def test_an_earlier_corpus_that_grows_is_newer_than_earlier_readers(tmp_path: Path, format: str):
    import json

    first("bin").write(tmp_path, format)
    assert json.loads((tmp_path / "index.json").read_text())["corpus"] == 1
    append(both("bin"), tmp_path, format)
    assert json.loads((tmp_path / "index.json").read_text())["corpus"] == 2


@formats
def test_starting_over_while_it_grows_leaves_nothing(tmp_path: Path, format: str):
    new = small("audio", job="new", count=3)
    new.write(tmp_path / "expected", "tar")
    first(format).write(tmp_path / "c", format)
    killed_appending(both(format), tmp_path / "c", format, 100)
    new.write(tmp_path / "c", "tar", restart=True)
    left = {k: v for k, v in contents(tmp_path / "c").items() if v is not None}
    assert left == contents(tmp_path / "expected")
