"""What is written into a corpus comes back, in every format, whatever order it arrived in."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus import samples
from tests.corpus.samples import Corpus, contents, corpora, item, small, truncated
from tests.examples import examples
from tests.programs import run
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.index import is_corpus
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.writer import CorpusWriter
from vqtok.errors import CodesError, UsageError

formats = pytest.mark.parametrize("format", FORMATS)
fresh = itertools.count()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@formats
@examples(15, many=40)
@given(corpus=corpora(), data=st.data())
def test_any_corpus_comes_back_and_its_bytes_do_not_depend_on_arrival(
    place: Path, format: str, corpus: Corpus, data: st.DataObject
):
    one, two = place / str(next(fresh)), place / str(next(fresh))
    corpus.write(one, format)
    corpus.write(two, format, order=data.draw(st.permutations(range(len(corpus.names)))))
    corpus.assert_read_back(one)
    assert contents(one) == contents(two)


@formats
def test_an_empty_corpus_is_a_corpus(tmp_path: Path, format: str):
    corpus = replace(small(), names=[], results=[])
    info = corpus.write(tmp_path, format)
    assert (info.items, info.tokens, info.bits) == (0, 0, 0)
    assert list(CorpusReader(tmp_path)) == []


@formats
def test_a_corpus_of_failures_alone_lists_them(tmp_path: Path, format: str):
    corpus = replace(small(), results=["no"] * 8)
    assert corpus.write(tmp_path, format).failed == 8
    corpus.assert_read_back(tmp_path)
    lines = (tmp_path / "failed.jsonl").read_text().splitlines()
    assert lines[0] == '{"name":"dogs/old/0.png","reason":"no"}'


@formats
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_the_index_counts_what_was_written(tmp_path: Path, format: str, kind: str):
    corpus = small(kind)
    info = corpus.write(tmp_path, format)
    good = [result for result in corpus.results if not isinstance(result, str)]
    assert info == CorpusReader(tmp_path).info
    assert (info.items, info.failed) == (6, 2)
    assert info.tokens == sum(codes.tokens for codes, _ in good)
    bits = sum(
        level.bits_per_code * array.size
        for codes, _ in good
        for level, array in zip(codes.spec.levels, codes.levels, strict=True)
    )
    assert info.bits == pytest.approx(bits, rel=1e-12)
    samples_ = sum(int(np.prod(codes.extent)) for codes, _ in good)
    if kind == "image":
        assert (info.pixels, info.seconds) == (samples_, None)
    else:
        assert (info.pixels, info.seconds) == (None, samples_ / 24000)
    assert info.model == "a-model"
    assert info.job == {"model": "a-model", "job": "a"}
    assert [(shard.first, shard.count) for shard in info.shards] == [(0, 3), (3, 3), (6, 2)]
    assert [shard.failed for shard in info.shards] == [0, 1, 1]


@formats
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_the_histogram_counts_every_code_of_every_stage(tmp_path: Path, format: str, kind: str):
    corpus = small(kind)
    info = corpus.write(tmp_path, format)
    counts = CorpusReader(tmp_path).histogram()
    seen = 0
    for book in info.codebooks:
        index = [level.name for level in corpus.spec.levels].index(book.level)
        expected = np.zeros(book.size, np.int64)
        for result in corpus.results:
            if isinstance(result, str):
                continue
            array = result[0].levels[index]
            if book.stage is not None:
                array = array[:, book.stage : book.stage + 1]
            np.add.at(expected, array.reshape(-1), 1)
        np.testing.assert_array_equal(counts[book.offset : book.offset + book.size], expected)
        assert (book.codes, book.used) == (expected.sum(), np.count_nonzero(expected))
        seen += book.size
    assert seen == len(counts)


@formats
def test_a_vocabulary_too_large_to_count_has_no_histogram(tmp_path: Path, format: str):
    corpus = small()
    levels = tuple(replace(level, codebook_size=1 << 22) for level in corpus.spec.levels)
    spec = replace(corpus.spec, levels=levels)
    corpus = Corpus(spec, ["a", "b"], [item(spec, 1), item(spec, 2)])
    assert corpus.write(tmp_path, format).codebooks == ()
    corpus.assert_read_back(tmp_path)
    with pytest.raises(CodesError, match=r"no histogram\.npy"):
        CorpusReader(tmp_path).histogram()


@formats
def test_codes_of_fewer_stages_need_a_spec_of_those_alone(tmp_path: Path, format: str):
    spec = samples.SPECS["audio"]
    corpus = Corpus(truncated(spec, 2), ["a", "b"], [item(spec, n, depth=2) for n in (1, 2)])
    info = corpus.write(tmp_path, format)
    corpus.assert_read_back(tmp_path)
    assert [book.stage for book in info.codebooks] == [0, 1]


def test_more_stages_than_the_corpus_has_are_refused(tmp_path: Path):
    spec = samples.SPECS["audio"]
    corpus = Corpus(truncated(spec, 2), ["a"], [item(spec, 1, depth=3)])
    with pytest.raises(CodesError, match="more stages than the corpus' 2"):
        corpus.write(tmp_path, "bin")


def test_codes_that_do_not_belong_are_refused_and_nothing_is_recorded(tmp_path: Path):
    corpus = small()
    codes, header = item(corpus.spec, 0)
    other = item(samples.SPECS["audio"], 0)
    with corpus.open(tmp_path, "tar") as writer:
        with pytest.raises(CodesError, match="another model"):
            writer.add(0, *other)
        with pytest.raises(CodesError, match="differ"):
            writer.add(0, codes, replace(header, extent=(1, 1)))
        high = replace(codes, levels=(codes.levels[0] + 99, *codes.levels[1:]))
        with pytest.raises(CodesError, match="at or above codebook size"):
            writer.add(0, high, header)
        assert list(writer.pending()) == list(range(8))


def test_the_first_result_of_an_item_stands(tmp_path: Path):
    corpus = small()
    with corpus.open(tmp_path / "a", "tar") as writer:
        for number in range(8):
            corpus.put(writer, number)
            writer.fail(number, "too late")
        writer.finish()
    corpus.write(tmp_path / "b", "tar")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_item_without_a_result_keeps_a_corpus_unfinished(tmp_path: Path):
    corpus = small()
    with corpus.open(tmp_path, "tar") as writer:
        for number in range(7):
            corpus.put(writer, number)
        with pytest.raises(CodesError, match="1 items have no result yet"):
            writer.finish()
    assert is_corpus(tmp_path)
    with pytest.raises(CodesError, match="unfinished corpus"):
        CorpusReader(tmp_path)


def test_only_a_folder_with_a_corpus_is_one(tmp_path: Path):
    assert not is_corpus(tmp_path)
    assert not is_corpus(tmp_path / "missing")
    (tmp_path / "index.json").write_text('{"name": "something else"}')
    assert not is_corpus(tmp_path)
    small().write(tmp_path / "a", "files")
    assert is_corpus(tmp_path / "a")
    with pytest.raises(CodesError, match="not a corpus"):
        CorpusReader(tmp_path / "a" / "cats")


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_tables_without_pyarrow_are_one_line_and_a_hint(tmp_path: Path, format: str, monkeypatch):
    small().write(tmp_path / "a", format)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    for attempt in (
        lambda: small().open(tmp_path / "b", format),
        lambda: CorpusReader(tmp_path / "a"),
    ):
        with pytest.raises(UsageError, match="need pyarrow") as told:
            attempt()
        assert told.value.hint == "pip install 'vqtok[arrow]'"
    assert not (tmp_path / "b").exists()


def test_formats_and_sizes_that_cannot_be_are_usage_errors(tmp_path: Path):
    spec = samples.SPECS["image"]
    huge = replace(spec, levels=(replace(spec.levels[0], codebook_size=1 << 31),))
    for options, message in (
        ({"format": "zip"}, "unknown corpus format 'zip'"),
        ({"shard_items": 0}, "0 items in a shard"),
        ({"job": {"x": object()}}, "job: not JSON"),
        ({"format": "bin", "spec": huge}, "do not fit into the tokens"),
    ):
        whole = {"format": "tar", "names": ["a"], "spec": spec, "job": {}, **options}
        with pytest.raises(UsageError, match=message):
            CorpusWriter(tmp_path / "a", **whole)
    assert not (tmp_path / "a").exists()


def test_writing_and_reading_need_neither_torch_nor_pyarrow(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.corpus.samples import small\n"
        "for format in ('files', 'tar', 'bin'):\n"
        "    small().write(Path(sys.argv[1]) / format, format)\n"
        "    small().assert_read_back(Path(sys.argv[1]) / format)\n"
        "sys.exit(str({'torch', 'pyarrow'} & set(sys.modules)) if "
        "{'torch', 'pyarrow'} & set(sys.modules) else 0)"
    )
    done = run(program, str(tmp_path))
    assert done.returncode == 0, done.stderr
