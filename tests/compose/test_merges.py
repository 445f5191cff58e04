"""Merges of codes: learned as byte-pair encoding is, and undone exactly."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compose import streams, words
from tests.compose.streams import assert_holds, corpus, expected, write
from tests.compose.test_layouts import IMAGES, PAIRS, SOUNDS, TEXT
from tests.compose.test_layouts import SPECS as EVERY
from tests.compose.test_parsing import EXTENTS, assert_codes
from tests.corpus.samples import contents
from tests.programs import environment
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.compose import building, extending, merging
from vqtok.compose import layout as layouts
from vqtok.compose.block import Blocks, flat_of
from vqtok.compose.building import Source
from vqtok.compose.layout import BlockLayout, Layout
from vqtok.compose.learning import MergeRecipe, learn_merges
from vqtok.compose.merges import COUNTED, FILE, Merges, MergesFile, order_of, undoing_of
from vqtok.compose.merging import Alphabet, mergers_of
from vqtok.compose.outputs import OUTPUTS
from vqtok.compose.parsing import Parser, Wrong
from vqtok.compose.reader import StreamReader
from vqtok.compose.stream import Choices
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import Vocabulary
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import ConfigError, UsageError, VqtokError
from vqtok.pipeline.compose import Request

fresh = itertools.count()

SPECS = {"image": words.grid(4), "audio": words.rvq(4, 3)}
"""Of few codes, so that pairs come again."""


def few(spec: CodeSpec, extent: tuple[int, ...], *, seed: int, channels: int = 1) -> Codes:
    """Codes of which each codebook has three, so that pairs come again."""
    codes = words.codes_of(spec, extent, seed=seed, channels=channels)
    return replace(codes, levels=tuple(level % 3 for level in codes.levels))


def learned(layout: Layout, spec: CodeSpec, count: int = 40) -> MergesFile:
    """Merges of three items."""
    made = building.build(layout, [Source("m", spec)], TEXT)
    own, blocks = made.tokenizers[0], made.blocks(0, TEXT)
    alphabet = Alphabet(own)
    texts = []
    for seed in range(3):
        codes = few(spec, EXTENTS[spec.modality], seed=seed)
        block = blocks.of(codes.shapes)
        texts += alphabet.texts(block.ids(flat_of(codes)), block.size > 0)
    found = merging.learn(texts, alphabet.characters, count=count, min_count=1, longest=5)
    order = order_of(layout.block(spec.modality))
    counted = dict.fromkeys(COUNTED, 0)
    return MergesFile.of([Merges("m", spec, order, len(alphabet.characters), found, counted)], {})


def made_of(layout: Layout, spec: CodeSpec, merges: MergesFile) -> tuple[Vocabulary, Blocks]:
    made = building.build(layout, [Source("m", spec)], TEXT, merges)
    return made, made.blocks(0, TEXT, mergers_of(made.tokenizers, merges))


def undoing(made: Vocabulary, merges: MergesFile, folder: Path):
    (folder / FILE).write_bytes(merges.data)
    return undoing_of(made.tokenizers, made.merges_sha256, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merges")


@pytest.mark.parametrize(("name", "number"), PAIRS)
def test_merged_codes_come_back_in_every_layout(name: str, number: int, folder: Path):
    spec = EVERY[name]
    block = (IMAGES if spec.modality == "image" else SOUNDS)[number]
    layout = Layout(**{spec.modality: block})
    merges = learned(layout, spec)
    made, blocks = made_of(layout, spec, merges)
    plain = building.build(layout, [Source("m", spec)], TEXT)
    undo = undoing(made, merges, folder)
    assert made.size == plain.size + len(merges.tokenizers[0])
    assert Vocabulary.from_json(json.loads(made.text_of())) == made
    for seed in (0, 7):
        codes = few(spec, EXTENTS[spec.modality], seed=seed, channels=3)
        own = blocks.of(codes.shapes)
        straight = plain.blocks(0, TEXT).of(codes.shapes).ids(flat_of(codes)).reshape(-1)
        (tokens,) = blocks.tokens(own, flat_of(codes), 3)
        ids, places = undo(tokens.ids)
        np.testing.assert_array_equal(ids, straight)
        assert places.tolist() == sorted(places.tolist())
        assert tokens.merged is not None
        others = 3 * int((own.size == 0).sum())
        assert tokens.merged.codes == len(straight) - others
        assert tokens.merged.tokens == len(tokens.ids) - others <= tokens.merged.codes
        # A merged id stands for at least two codes, and for nothing else.
        for place in np.flatnonzero(tokens.ids >= plain.size).tolist():
            held = ids[places == place]
            assert 2 <= len(held) <= 5 and (plain.kinds(held) == 0).all()
    pair = [few(spec, EXTENTS[spec.modality], seed=seed) for seed in (1, 8)]
    said = np.array(TEXT.encode("so"), np.int64)
    pieces = [said]
    for codes in pair:
        (tokens,) = blocks.tokens(blocks.of(codes.shapes), flat_of(codes), 1)
        pieces += [tokens.ids, said]
    parser = Parser(made, TEXT, undo=undo, size=(64, 64))
    parts = list(parser.parts(np.concatenate(pieces)))
    assert len(parts) == 5
    for codes, part in zip(pair, parts[1::2], strict=True):
        assert_codes(part, codes if block.stages is None else codes.truncate(block.stages))


def naive(ids: list[int], merges: Merges) -> list[int]:
    """Byte-pair encoding as it is described: the earliest merge that fits, until none does."""
    rank = {tuple(pair): number for number, pair in enumerate(merges.pairs.tolist())}
    while pairs := [pair for pair in itertools.pairwise(ids) if pair in rank]:
        best = min(pairs, key=lambda pair: rank[pair])
        found, place = [], 0
        while place < len(ids):
            if tuple(ids[place : place + 2]) == best:
                found.append(merges.symbols + rank[best])
                place += 2
            else:
                found.append(ids[place])
                place += 1
        ids = found
    return ids


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=40), min_size=3, max_size=6))
def test_codes_are_merged_as_byte_pair_encoding_says(rows: list[list[int]]):
    characters = "".join(chr(0x100 + n) for n in range(4))
    texts = ["".join(characters[n] for n in row) for row in rows]
    pairs = merging.learn(texts, characters, count=12, min_count=1, longest=8)
    spec = words.rvq(4, 1)
    layout = Layout(audio=BlockLayout(begin="<a>", end="</a>"))
    order = order_of(layout.audio)
    found = MergesFile.of([Merges("m", spec, order, 4, pairs, {})], {})
    own = building.build(layout, [Source("m", spec)], None, found).tokenizers[0]
    (merger,) = mergers_of([own], found)
    assert merger is not None and own.merged is not None and own.merged.offset == 6
    for row in rows:
        (ids,) = merger(np.array([row]) + own.ranges[0].offset, np.ones(len(row), bool))
        # Two special tokens come first, then the codes, then the merges: symbols and two.
        assert (ids - 2).tolist() == naive(row, found.tokenizers[0])


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=30), min_size=2, max_size=6))
def test_each_merge_is_the_most_frequent_pair_of_its_time(rows: list[list[int]]):
    characters = "".join(chr(0x100 + n) for n in range(3))
    texts = ["".join(characters[n] for n in row) for row in rows]
    pairs = merging.learn(texts, characters, count=6, min_count=2, longest=1000)
    words_now = [list(row) for row in rows]
    for number, pair in enumerate(pairs.tolist()):
        seen = Counter(p for row in words_now for p in itertools.pairwise(row))
        assert seen[tuple(pair)] >= 2
        assert seen[tuple(pair)] == max(seen.values())
        one = Merges("m", words.rvq(3, 1), {}, 3 + number, np.array([pair]), {})
        words_now = [naive(row, one) for row in words_now]


def test_no_merge_is_longer_than_wanted_and_none_crosses_a_mark():
    characters = "".join(chr(0x100 + n) for n in range(2))
    text = characters[0] * 300 + " " + characters[1] * 300
    pairs = merging.learn([text] * 3, characters, count=50, min_count=1, longest=6)
    made = Merges("m", words.rvq(2, 1), {}, 2, pairs, {})
    for expansion in made.expansions():
        assert len(expansion) <= 6 and len(set(expansion)) == 1


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora, captions, a tokenizer of text, and merges of both corpora."""
    folder = streams.lay(tmp_path_factory.mktemp("streams"), SPECS)
    readers = [CorpusReader(folder / kind) for kind in SPECS]
    found = learn_merges(readers, MergeRecipe(count=300))
    (folder / "merges").mkdir()
    (folder / "merges" / FILE).write_bytes(MergesFile.of(found, {}).data)
    return folder


def both(place: Path, **options: object) -> Request:
    chosen = {"text": str(place / "captions.jsonl"), "tokenizer": place / "tokenizer.json"}
    chosen["merges"] = place / "merges"
    return Request((place / "image", place / "audio"), **{**chosen, **options})  # type: ignore[arg-type]


ALL = {**expected(SPECS["image"]), **expected(SPECS["audio"])}


@pytest.mark.parametrize("format", sorted(OUTPUTS))
@pytest.mark.parametrize("pack", [None, 50])
def test_every_code_and_text_of_a_merged_stream_comes_back(
    place: Path, format: str, pack: int | None
):
    folder, straight = place / str(next(fresh)), place / str(next(fresh))
    totals, prepared = write(folder, both(place), Choices(format, pack, 3, 0.3))
    plain, before = write(straight, both(place, merges=None))
    assert_holds(folder, ALL, texts=True)
    assert totals.tokens < plain.tokens and totals.documents == plain.documents
    saved = sum(own["codes"] - own["tokens"] for own in totals.merged.values())
    assert totals.tokens == plain.tokens - saved and set(totals.merged) == {"0", "1"}
    assert totals.merged["1"]["samples"] == sum(
        header.extent[0] for _, header in expected(SPECS["audio"]).values()
    )
    ids = np.concatenate([each.ids for each in StreamReader(folder).documents()])
    assert ids.max() < prepared.vocabulary.size
    # All ids but those of merges are what they are without them.
    own, other = prepared.vocabulary, before.vocabulary
    assert [each.ranges for each in own.tokenizers] == [each.ranges for each in other.tokenizers]
    assert own.special == other.special and own.text == other.text


def test_interleaved_documents_are_merged_too(place: Path, tmp_path: Path):
    cat = streams.names_of(SPECS["image"], 2)[1]
    (tmp_path / "d.jsonl").write_text(json.dumps({"document": ["a", {"image": cat}, "b"]}))
    request = both(place, text=None, documents=tmp_path / "d.jsonl")
    totals, _ = write(tmp_path / "out", request)
    assert totals.merged["0"]["tokens"] < totals.merged["0"]["codes"]
    parts = list(StreamReader(tmp_path / "out").parts())
    assert len(parts) == 3
    assert_codes(parts[1], streams.item_of(SPECS["image"], 1)[0])


def test_the_extended_tokenizer_has_the_merges_with_the_ids_of_the_stream(place: Path):
    from tokenizers import Tokenizer

    folder = place / str(next(fresh))
    write(folder, both(place, extend=True))
    reader = StreamReader(folder)
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert own.get_vocab_size() == reader.vocabulary.size
    merged = reader.vocabulary.tokenizers[1].merged
    assert merged is not None
    assert own.id_to_token(merged.offset + 2) == "<|audio merge 2|>"
    assert own.token_to_id("<|audio merge 2|>") == merged.offset + 2
    assert extending.is_of(TextTokenizer.read(folder), reader.vocabulary)
    for document in reader.documents():
        names = [own.id_to_token(ident) for ident in document.ids.tolist()]
        assert [own.token_to_id(name) for name in names] == document.ids.tolist()


def sampled(place: Path) -> tuple[Vocabulary, Parser, np.ndarray]:
    folder = place / str(next(fresh))
    write(folder, both(place))
    reader = StreamReader(folder)
    undo = undoing_of(reader.vocabulary.tokenizers, reader.vocabulary.merges_sha256, folder)
    ids = list(reader.documents())[1].ids  # two rows and more
    return reader.vocabulary, Parser(reader.vocabulary, reader.text, undo=undo), ids


def test_a_merge_that_breaks_a_block_is_an_error_with_its_position(place: Path):
    made, parser, ids = sampled(place)
    own = made.tokenizers[0].merged
    assert own is not None
    merged = np.flatnonzero((ids >= own.offset) & (ids < own.offset + own.size))
    begin = int(np.flatnonzero(ids == made.special["<|image|>"])[0])
    assert not [part for part in parser.parts(ids) if isinstance(part, Wrong)]
    for place_of in merged[[0, -1]].tolist():
        short = np.delete(ids, place_of)
        (wrong,) = (part for part in parser.parts(short, 4) if isinstance(part, Wrong))
        assert (wrong.document, wrong.position) == (4, begin)
        assert "tokens found" in wrong.reason
    # The end of a row after a merge that is one code too long, or in its place.
    row_end = made.special["<|row end|>"]
    place_of = int(merged[0])
    swapped = ids.copy()
    end = place_of + int(np.flatnonzero(ids[place_of:] == row_end)[0])
    swapped[[place_of, end]] = ids[[end, place_of]]
    (wrong,) = (part for part in parser.parts(swapped) if isinstance(part, Wrong))
    assert wrong.position == begin
    assert f"position {place_of - begin} of its block: id {row_end} found" in wrong.reason


def test_ids_beyond_the_merges_and_merges_of_other_blocks_are_errors(place: Path):
    made, parser, ids = sampled(place)
    beyond = np.append(ids, made.size)
    (wrong,) = parser.parts(beyond, 1)
    assert isinstance(wrong, Wrong) and wrong.position == len(ids)
    assert f"id {made.size} is not below {made.size}" in wrong.reason
    sound = made.tokenizers[1].merged
    assert sound is not None
    begin = int(np.flatnonzero(ids == made.special["<|image|>"])[0])
    foreign = np.insert(ids, begin + 4, sound.offset)
    wrongs = [part for part in parser.parts(foreign) if isinstance(part, Wrong)]
    assert [wrong.position for wrong in wrongs][:2] == [begin, begin + 4]


def test_damaged_merges_and_those_of_another_vocabulary_are_refused(place: Path, tmp_path: Path):
    folder = place / str(next(fresh))
    write(folder, both(place))
    whole = json.loads((folder / FILE).read_bytes())
    for damage in (
        {**whole, "vqtok_merges": 2},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "pairs": [[0, 1 << 20]]}]},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "pairs": [[0, -1]]}]},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "pairs": [[0, True]]}]},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "pairs": []}]},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "pairs": [[0, 0], [0, 0]]}]},
        {
            **whole,  # each twice as long as the one before: 2**60 codes
            "tokenizers": [
                {
                    **whole["tokenizers"][0],
                    "pairs": [[0, 0], *([50 + n, 50 + n] for n in range(60))],
                }
            ],
        },
        {key: value for key, value in whole.items() if key != "tokenizers"},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "learned": {"items": 1}}]},
        [],
    ):
        (tmp_path / FILE).write_text(json.dumps(damage))
        with pytest.raises(ConfigError, match="not merges of vqtok"):
            MergesFile.read(tmp_path)
    (tmp_path / FILE).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not merges of vqtok: not JSON"):
        MergesFile.read(tmp_path)
    vocabulary = Vocabulary.read(folder)
    (folder / FILE).write_text(json.dumps(whole))
    with pytest.raises(ConfigError, match="not the merges of the vocabulary"):
        undoing_of(vocabulary.tokenizers, vocabulary.merges_sha256, folder)
    (folder / FILE).unlink()
    with pytest.raises(VqtokError, match=FILE):
        StreamReader(folder)


def test_merges_of_another_tokenizer_or_layout_are_refused(place: Path, tmp_path: Path):
    corpus(tmp_path / "other", words.grid(51))
    with pytest.raises(UsageError, match="and the corpora are of"):
        write(tmp_path / "o", Request((tmp_path / "other",), merges=place / "merges"))
    with pytest.raises(UsageError, match=r"merges of a-model \(.*, and the corpora are of a-model"):
        write(tmp_path / "o", Request((place / "image",), merges=place / "merges"))
    (tmp_path / "l.json").write_text(json.dumps({"audio": {"order": "stages"}}))
    request = both(place, text=None, tokenizer=None, layout=str(tmp_path / "l.json"))
    with pytest.raises(ConfigError, match="'stages', and 'levels' in the layout of the merges"):
        write(tmp_path / "o", request)
    write(tmp_path / "same", both(place))
    with pytest.raises(UsageError, match="composed otherwise: "):
        write(tmp_path / "same", both(place, merges=None))


def test_learning_is_the_same_whatever_the_threads(place: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "from vqtok.compose.learning import MergeRecipe, learn_merges\n"
        "from vqtok.compose.merges import MergesFile\n"
        "from vqtok.corpus.reader import CorpusReader\n"
        "readers = [CorpusReader(Path(each)) for each in sys.argv[1:]]\n"
        "sys.stdout.buffer.write(MergesFile.of(learn_merges(readers, MergeRecipe(count=300)), {})"
        ".data)\n"
    )
    command = [sys.executable, "-c", program, *(str(place / kind) for kind in SPECS)]
    for threads, seed in (("1", "0"), ("3", "1")):
        own = {**environment(), "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=own, stdout=subprocess.PIPE, check=True)
        assert done.stdout == (place / "merges" / FILE).read_bytes()


def test_a_budget_of_codes_takes_items_evenly(place: Path):
    reader = CorpusReader(place / "image")
    (every,) = learn_merges([reader], MergeRecipe(min_count=1))
    (some,) = learn_merges([reader], MergeRecipe(min_count=1, codes=reader.info.tokens // 2))
    assert every.learned["items"] == 6 and some.learned["items"] == 3
    assert some.learned["codes"] < every.learned["codes"]


def test_parts_of_a_merged_stream_are_the_whole(place: Path):
    whole = place / str(next(fresh))
    write(whole, both(place))
    tokens = b""
    for part in range(3):
        folder = place / str(next(fresh))
        write(folder, both(place), Choices(shard=(part, 3)))
        tokens += (folder / "tokens.bin").read_bytes()
    assert tokens == (whole / "tokens.bin").read_bytes()
    again = place / str(next(fresh))
    write(again, both(place))
    assert contents(again) == contents(whole)


def test_presets_of_layouts_that_need_text_can_be_learned_for(tmp_path: Path):
    corpus(tmp_path / "image", SPECS["image"])
    (found,) = learn_merges([CorpusReader(tmp_path / "image")], MergeRecipe("emu3", min_count=1))
    assert found.order == order_of(layouts.read("emu3").image) and len(found)
