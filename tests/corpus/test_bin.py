"""Format "bin" as the loaders of nanoGPT and Megatron see it."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import strategies as some
from tests.corpus.samples import Corpus, corpora, item, small
from tests.examples import examples
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.corpus import disk
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError


def slow_sequences(codes: Codes) -> list[list[int]]:
    """The documented layout, code by code."""
    bos = sum(
        level.codebook_size * ((level.depth or 1) if "q" in level.axes else 1)
        for level in codes.spec.levels
    )
    found = []
    for channel in range(len(codes)):
        sequence, start = [bos], 0
        for level, array in zip(codes.spec.levels, codes.levels, strict=True):
            if "q" in level.axes:
                stages = array[channel].shape[level.axes.index("q")]
                planes = np.moveaxis(array[channel], level.axes.index("q"), 0)
                planes = planes.reshape(stages, -1)
                for position in range(planes.shape[1]):
                    for stage in range(stages):
                        code = int(planes[stage, position])
                        sequence.append(start + stage * level.codebook_size + code)
                start += (level.depth or 1) * level.codebook_size
            else:
                sequence += [start + int(code) for code in array[channel].reshape(-1)]
                start += level.codebook_size
        found.append(sequence)
    return found


def parse_index(path: Path) -> tuple[type, list[int], list[int], list[int]]:
    """Megatron's index, read with nothing but its description: dtype, lengths, pointers, ends."""
    data = path.read_bytes()
    assert data[:9] == b"MMIDIDX\0\0"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    assert version == 1
    at = 34
    lengths = struct.unpack_from(f"<{sequences}i", data, at)
    pointers = struct.unpack_from(f"<{sequences}q", data, at + 4 * sequences)
    ends = struct.unpack_from(f"<{documents}q", data, at + 12 * sequences)
    assert len(data) == at + 12 * sequences + 8 * documents
    return {8: np.uint16, 4: np.int32}[code], list(lengths), list(pointers), list(ends)


@examples(20, many=100)
@given(corpus=corpora())
def test_every_document_is_an_item_and_every_sequence_a_channel(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus
):
    folder = tmp_path_factory.mktemp("bin")
    corpus.write(folder, "bin")
    dtype, lengths, pointers, ends = parse_index(folder / "tokens.idx")
    size = np.dtype(dtype).itemsize
    good = [result[0] for result in corpus.results if not isinstance(result, str)]
    assert ends[0] == 0
    assert len(ends) == len(good) + 1
    tokens = np.memmap(folder / "tokens.bin", dtype, mode="r") if good else np.zeros(0)
    assert len(tokens) == sum(lengths)
    for number, codes in enumerate(good):
        found = [
            tokens[pointers[n] // size : pointers[n] // size + lengths[n]].tolist()
            for n in range(ends[number], ends[number + 1])
        ]
        assert found == slow_sequences(codes)


def test_the_stages_of_a_frame_lie_side_by_side(tmp_path: Path):
    spec = CodeSpec("audio", (LevelSpec("codes", ("q", "t"), 10, (4,), 2),), 8000.0)
    codes = Codes(spec, (np.array([[[1, 2, 3], [4, 5, 6]]]),), (12,))
    Corpus(spec, ["a"], [(codes, Header(spec, (12,)))]).write(tmp_path, "bin")
    tokens = np.memmap(tmp_path / "tokens.bin", np.uint16, mode="r")
    assert tokens.tolist() == [20, 1, 14, 2, 15, 3, 16]


def test_levels_follow_each_other_coarse_to_fine(tmp_path: Path):
    codes, header = some.hierarchy()
    info = Corpus(codes.spec, ["a"], [(codes, header)]).write(tmp_path, "bin")
    tokens = np.memmap(tmp_path / "tokens.bin", np.uint16, mode="r")
    top, bottom = (array.reshape(-1) for array in codes.levels)
    expected = [812, *top.tolist(), *(512 + bottom).tolist()]
    assert tokens.tolist() == expected
    assert info.layout == {"bos": 812, "dtype": "uint16", "vocabulary": 813}


@pytest.mark.parametrize(
    ("size", "dtype"), [(65535, np.uint16), (65536, np.int32), (1 << 20, np.int32)]
)
def test_tokens_are_as_small_as_the_vocabulary_allows(tmp_path: Path, size: int, dtype: type):
    spec = CodeSpec("image", (LevelSpec("codes", ("h", "w"), size, (8, 8)),))
    codes = Codes(spec, (np.array([[[0, size - 1]]]),), (8, 16))
    info = Corpus(spec, ["a"], [(codes, Header(spec, (8, 16)))]).write(tmp_path, "bin")
    assert np.memmap(tmp_path / "tokens.bin", dtype, mode="r").tolist() == [size, 0, size - 1]
    assert parse_index(tmp_path / "tokens.idx")[0] is dtype
    assert info.layout is not None
    assert info.layout["dtype"] == np.dtype(dtype).name


def test_the_index_spans_all_shards(tmp_path: Path):
    corpus = small("audio", count=11)
    corpus.write(tmp_path, "bin")
    _, lengths, pointers, ends = parse_index(tmp_path / "tokens.idx")
    good = [result[0] for result in corpus.results if not isinstance(result, str)]
    assert lengths == [len(each) for codes in good for each in slow_sequences(codes)]
    assert pointers == [2 * sum(lengths[:n]) for n in range(len(lengths))]
    assert ends == [sum(len(codes) for codes in good[:n]) for n in range(len(good) + 1)]


@given(item=some.items(), data=st.data())
def test_any_codes_become_tokens_and_codes_again(item: tuple[Codes, Header], data: st.DataObject):
    codes, _ = item
    vocabulary = Vocabulary(codes.spec)
    sequences = vocabulary.sequences(codes)
    shapes = [array.shape[1:] for array in codes.levels]
    back = vocabulary.codes(sequences, shapes, spec=codes.spec, extent=codes.extent)
    for found, expected in zip(back.levels, codes.levels, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_items_hold_what_the_corpus_does_not_say_already(tmp_path: Path):
    corpus = replace(small(), names=["a.png"], results=[item(small().spec, 1)])
    corpus.write(tmp_path, "bin")
    text = (tmp_path / "items.jsonl").read_text()
    assert "codebook_size" not in text
    assert "shapes" in text
    assert next(iter(CorpusReader(tmp_path))).header == corpus.results[0][1]


def test_an_output_hashes_what_it_writes(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with disk.Output(path, start=4) as out:
        out.write(b"abc")
        out.write(memoryview(b"x" * (2 << 20)))
        out.sync()
    assert path.read_bytes() == b"0123abc" + b"x" * (2 << 20)
    assert out.size == 3 + (2 << 20)
    assert out.written == disk.measure(tmp_path, "a", start=4, size=out.size)
    out.written.check(tmp_path)
    with pytest.raises(CodesError, match="truncated"):
        replace(out.written, start=5).check(tmp_path)
    with pytest.raises(CodesError, match="another checksum"):
        replace(out.written, start=3).check(tmp_path)
