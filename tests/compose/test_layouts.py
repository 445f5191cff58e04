"""Codes → ids → codes, for all shipped tokenizers and layouts, and layouts as data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compose import words
from vqtok import config
from vqtok.codes.spec import CodeSpec
from vqtok.compose import building, order
from vqtok.compose import layout as layouts
from vqtok.compose.block import flat_of
from vqtok.compose.building import Source
from vqtok.compose.layout import BlockLayout, Layout
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import Vocabulary
from vqtok.errors import CodesError, ConfigError, VqtokError

TEXT = TextTokenizer(words.letters_json(), "tokenizer.json")

IMAGES = [
    BlockLayout(),
    BlockLayout(begin="<i>", end="</i>"),
    BlockLayout(order="stages", ranges="shared"),
    BlockLayout(begin="<i>", size="tokens", row_end="<r>", codes_end="<c>", end="</i>"),
    BlockLayout(begin="<i>", size="text", codes="<c>", end="</i>"),
]
SOUNDS = [
    BlockLayout(),
    BlockLayout(begin="<a>", order="stages", end="</a>"),
    BlockLayout(order="frames", ranges="slot"),
    BlockLayout(order="interleaved"),
    BlockLayout(order="interleaved", ranges="slot", begin="<a>"),
    BlockLayout(stages=2),
    BlockLayout(stages=1, ranges="shared"),
    BlockLayout(order="delay", delays=(0, 1, 1, 2, 3, 5, 1, 1), pad="<p>"),
    BlockLayout(order="delay", delays=(2, 0), stages=2, pad="<p>", ranges="slot"),
]
SPECS = {
    **{name: words.shipped(name) for name in words.SHIPPED},
    "snac": words.snac(64),
    "mimi": words.rvq(64),
    "var": words.scales(),
    "titok": words.latent(),
}


def made_of(spec: CodeSpec, block: BlockLayout) -> Vocabulary:
    parts = {spec.modality: block}
    return building.build(Layout(**parts), [Source("a-model", spec)], TEXT)


def pairs() -> Iterator[tuple[str, int]]:
    """Every spec with each layout that it can have."""
    for name, spec in SPECS.items():
        for number, block in enumerate(IMAGES if spec.modality == "image" else SOUNDS):
            try:
                made_of(spec, block)
            except ConfigError:
                continue
            yield name, number


PAIRS = list(pairs())


def test_each_layout_fits_a_tokenizer_and_each_tokenizer_has_layouts():
    assert {name for name, _ in PAIRS} == set(SPECS)
    sounds = {number for name, number in PAIRS if SPECS[name].modality == "audio"}
    images = {number for name, number in PAIRS if SPECS[name].modality == "image"}
    assert (sounds, images) == (set(range(len(SOUNDS))), set(range(len(IMAGES))))


@pytest.mark.parametrize(("name", "number"), PAIRS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_codes_come_back_from_their_ids(name: str, number: int, data: st.DataObject):
    spec = SPECS[name]
    block = (IMAGES if spec.modality == "image" else SOUNDS)[number]
    sides = st.integers(1, 40) if spec.modality == "image" else st.integers(1, 9000)
    count = 2 if spec.modality == "image" else 1
    extent = tuple(data.draw(sides) for _ in range(count)) if name != "var" else (64, 64)
    codes = words.codes_of(spec, extent, seed=data.draw(st.integers(0, 1 << 20)), channels=3)
    made = made_of(spec, block)

    blocks = made.blocks(0, TEXT)
    own = blocks.of(codes.shapes)
    ids = own.ids(flat_of(codes))

    assert ids.min() >= 0 and ids.max() < made.size
    assert ids.shape == (3, len(own))
    expected = codes if block.stages is None else codes.truncate(block.stages)
    for level, found in zip(expected.levels, own.levels(ids), strict=True):
        np.testing.assert_array_equal(level, found)
    inner = (made.kinds(ids[0]) == 0).sum()
    assert inner == sum(np.prod(shape) for shape in expected.shapes)


@pytest.mark.parametrize(("name", "number"), PAIRS)
def test_ranges_are_disjoint_and_cover_what_they_say(name: str, number: int):
    spec = SPECS[name]
    block = (IMAGES if spec.modality == "image" else SOUNDS)[number]
    made = made_of(spec, block)
    owners = np.zeros(made.size, int)
    for span, _ in made.spans():
        owners[span.offset : span.offset + span.size] += 1
    assert (owners == 1).all()
    assert Vocabulary.from_json(json.loads(made.text_of())) == made


def test_several_tokenizers_share_one_vocabulary_and_equal_ones_their_ranges():
    specs = [SPECS["image-f8"], SPECS["audio-24k"], SPECS["image-f8"], SPECS["image-vqvae2"]]
    made = building.build(Layout(reserved=7), [Source("m", each) for each in specs], TEXT)
    assert [each.spec for each in made.tokenizers] == [specs[0], specs[1], specs[3]]
    owners = np.zeros(made.size, int)
    for span, _ in made.spans():
        owners[span.offset : span.offset + span.size] += 1
    assert (owners == 1).all()
    assert made.size == 256 + 7 + 8192 + 8 * 1024 + 2 * 512
    assert made.find(specs[3]) == 2


def test_a_wrong_id_is_refused_with_its_position():
    spec = words.grid(10)
    made = made_of(spec, IMAGES[3])
    codes = words.codes_of(spec, (16, 24))
    own = made.blocks(0).of(codes.shapes)
    ids = own.ids(flat_of(codes))
    for position, value in itertools.product(range(ids.shape[1]), (made.size, 0)):
        wrong = ids.copy()
        wrong[0, position] = value
        with pytest.raises(CodesError, match=f"position {position} of its block: id {value} found"):
            own.flat(wrong)


@pytest.mark.parametrize("name", layouts.presets())
def test_presets_are_read_and_written_back(name: str):
    made = layouts.read(name)
    assert config.parse(config.dump(made), Layout) == made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"imge": {}}, r"layout\.imge: unknown key"),
        ({"image": {"begin": 3}}, r"layout\.image\.begin: expected a string, found 3"),
        ({"image": {"order": "rows"}}, r"layout\.image\.order: expected one of levels"),
        ({"image": {"size": "text"}}, r"layout\.image: size \"text\" needs begin and codes"),
        ({"audio": {"order": "delay"}}, r"layout\.audio: delays belong to order"),
        ({"audio": {"order": "delay", "delays": [1, 2], "pad": "p"}}, r"delays of which one is 0"),
        ({"audio": {"ranges": "slot"}}, r"ranges \"slot\" need frames, and order 'levels'"),
        ({"audio": {"size": "tokens", "begin": "a"}}, r"audio has no size, rows or grid"),
        ({"image": {"order": "frames"}}, r"image: order 'frames' is for sound"),
        ({"image": {"row_end": "x", "end": "x"}}, r"row_end and pad must differ"),
        ({"image": {"grid": [2]}}, r"grid must be height and width"),
        ({"vocabulary": ["text", "codes"]}, r"vocabulary must name text, reserved"),
        ({"special": ["a", "a"]}, r"special tokens must have names, each once"),
    ],
)
def test_mistakes_in_layouts_are_named(tmp_path: Path, data: dict[str, object], message: str):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=message):
        layouts.read(str(path))


def test_an_unknown_layout_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError) as found:
        layouts.read("emu4")
    assert "emu3" in str(found.value.hint)


@pytest.mark.parametrize(
    ("spec", "block", "message"),
    [
        (words.rvq(), BlockLayout(stages=9), "9 wanted, the codes have 8"),
        (words.rvq(), BlockLayout(order="delay", delays=(0, 1), pad="p"), "2 delays for 8 stages"),
        (words.snac(), BlockLayout(order="delay", delays=(0,), pad="p"), "needs one level"),
        (words.grid(4), BlockLayout(stages=1), "no residual stages"),
        (words.latent(), BlockLayout(row_end="r"), "need levels with rows"),
    ],
)
def test_layouts_that_codes_cannot_have_are_refused(
    spec: CodeSpec, block: BlockLayout, message: str
):
    with pytest.raises(ConfigError, match=message):
        made_of(spec, block)


def test_a_size_beyond_the_tokens_of_sizes_is_refused():
    spec = words.grid(4)
    block = BlockLayout(begin="<i>", size="tokens")
    made = building.build(Layout(image=block, sizes=3), [Source("", spec)], None)
    made.blocks(0).of(((3, 3),))
    with pytest.raises(CodesError, match="4×3 is larger"):
        made.blocks(0).of(((4, 3),))


def test_damaged_vocabularies_are_refused():
    made = made_of(words.rvq(16), BlockLayout(begin="<a>"))
    whole = made.to_json()
    ranges = whole["tokenizers"][0]["ranges"]
    damages = [
        {**whole, "size": 3},
        {**whole, "special": {}},
        {**whole, "special": {"<a>": 0}},
        {**whole, "vqtok_vocabulary": 2},
        {**whole, "tokenizers": [{**whole["tokenizers"][0], "ranges": ranges[1:]}]},
        {key: value for key, value in whole.items() if key != "text"},
    ]
    for damage in damages:
        with pytest.raises(VqtokError):
            Vocabulary.from_json(json.loads(json.dumps(damage)))


def test_levels_that_do_not_interleave_are_refused():
    made = made_of(words.snac(16), BlockLayout(order="interleaved"))
    with pytest.raises(CodesError, match="levels of 2, 4, 7 steps do not interleave"):
        made.blocks(0).of(((2,), (4,), (7,)))


@pytest.mark.parametrize("number", range(len(SOUNDS)))
@pytest.mark.parametrize("name", ["audio-24k", "snac", "mimi", "speech-speaker"])
def test_the_number_of_codes_tells_the_shapes(name: str, number: int):
    if (name, number) not in PAIRS:
        pytest.skip("not a layout of these codes")
    block = SOUNDS[number]
    spec = order.kept(SPECS[name], block)
    for length in (1, 5000, 50_000):
        shapes = spec.shapes((length,))
        count = len(order.sequence(spec, block, shapes).codes)
        assert order.shapes_of(spec, block, count) == shapes
    with pytest.raises(ValueError, match="not whole frames"):
        order.shapes_of(spec, replace(block), 0)
