"""Ids alone, as a model samples them: blocks are found, checked, and come back as codes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.compose import words
from tests.compose.test_layouts import IMAGES, PAIRS, SOUNDS, SPECS, TEXT
from vqtok.compose import building
from vqtok.compose import layout as layouts
from vqtok.compose.block import flat_of
from vqtok.compose.building import Source
from vqtok.compose.layout import BlockLayout, Layout
from vqtok.compose.parsing import Parser, Wrong
from vqtok.compose.reader import Block, Text
from vqtok.compose.vocabulary import Vocabulary

EXTENTS = {"image": (64, 64), "audio": (9000,)}


def stream(made: Vocabulary, *pieces: object) -> np.ndarray:
    """Ids of texts and codes, one after the other."""
    found = []
    for piece in pieces:
        if isinstance(piece, str):
            found.append(np.array(TEXT.encode(piece), np.int64))
        else:
            blocks = made.blocks(made.find(piece.spec), TEXT)  # type: ignore[attr-defined]
            own = blocks.of(piece.shapes)  # type: ignore[attr-defined]
            found.append(own.ids(flat_of(piece)).reshape(-1))  # type: ignore[arg-type]
    return np.concatenate(found)


def assert_codes(found: object, expected) -> None:
    assert isinstance(found, Block), found
    assert len(found.codes.levels) == len(expected.levels)
    for own, level in zip(found.codes.levels, expected.levels, strict=True):
        np.testing.assert_array_equal(own, level)


@pytest.mark.parametrize(("name", "number"), PAIRS)
def test_blocks_between_texts_are_found_in_every_layout(name: str, number: int):
    spec = SPECS[name]
    block = (IMAGES if spec.modality == "image" else SOUNDS)[number]
    made = building.build(Layout(**{spec.modality: block}), [Source("m", spec)], TEXT)
    codes = [words.codes_of(spec, EXTENTS[spec.modality], seed=seed) for seed in (1, 2)]
    ids = stream(made, "a cat", codes[0], " and ", codes[1])

    parts = list(Parser(made, TEXT, size=(64, 64)).parts(ids))

    kept = [each if block.stages is None else each.truncate(block.stages) for each in codes]
    assert [part.text for part in parts if isinstance(part, Text)] == ["a cat", " and "]
    assert len(parts) == 4
    assert_codes(parts[1], kept[0])
    assert_codes(parts[3], kept[1])


def rows() -> tuple[Vocabulary, np.ndarray]:
    spec = words.grid(10)
    made = building.build(layouts.read("rows"), [Source("m", spec)], TEXT)
    return made, stream(made, words.codes_of(spec, (16, 24), seed=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[:-1], "10 tokens found, 11 expected|11 tokens found, 12 expected"),
        (lambda ids: np.delete(ids, 4), "tokens found, 12 expected|found"),
        (lambda ids: np.insert(ids, 4, ids[4]), "13 tokens found, 12 expected"),
        (lambda ids: np.delete(ids, 1), "size is missing|tokens found"),
        (lambda ids: ids[:3], "no codes in it"),
        (lambda ids: np.append(ids[:4], 10**6), "is not below"),
    ],
)
def test_malformed_blocks_are_errors_with_their_position(change, message: str):
    made, ids = rows()
    before = TEXT.encode("so")
    found = list(Parser(made, TEXT).parts(np.array([*before, *change(ids)]), 5))
    wrong = [part for part in found if isinstance(part, Wrong)]
    assert wrong and wrong[0].document == 5
    assert wrong[0].position in (len(before), len(before) + 4)
    assert re.search(message, wrong[0].reason), wrong[0].reason
    assert not [part for part in found if isinstance(part, Block)]


def test_two_ids_that_changed_places_are_an_error():
    spec = words.rvq(16, 4)
    made = building.build(layouts.read("rows"), [Source("m", spec)], TEXT)
    ids = stream(made, words.codes_of(spec, (9000,)))
    ids[[3, 4]] = ids[[4, 3]]
    (wrong,) = Parser(made, TEXT).parts(ids)
    assert isinstance(wrong, Wrong) and "position 3 of its block" in wrong.reason


@pytest.mark.parametrize("cut", [3, 5, 7])
def test_lenient_fills_a_short_picture_and_says_so(cut: int):
    made, ids = rows()
    told: list[Wrong] = []
    parser = Parser(made, TEXT, lenient=True, on_change=told.append)
    (block,) = parser.parts(ids[:cut] if cut != 3 else ids[: cut + 1])
    assert isinstance(block, Block)
    assert [each.position for each in told] == [0]
    (whole,) = Parser(made, TEXT).parts(ids)
    assert isinstance(whole, Block)
    flat, expected = block.codes.levels[0].reshape(-1), whole.codes.levels[0].reshape(-1)
    codes = int((made.kinds(ids[: max(cut, 4)]) == 0).sum())
    assert flat.tolist() == [*expected[:codes].tolist(), *[0] * (len(flat) - codes)]


def test_lenient_cuts_a_recording_to_whole_frames():
    spec = words.snac(16)
    made = building.build(layouts.read("orpheus"), [Source("m", spec)], TEXT)
    codes = words.codes_of(spec, (9000,))
    ids = stream(made, codes)
    (wrong,) = Parser(made, TEXT).parts(ids[:-3])
    assert isinstance(wrong, Wrong) and "not whole frames of 7" in wrong.reason
    assert wrong.hint is not None and wrong.hint.startswith("--lenient")
    (block,) = Parser(made, TEXT, lenient=True).parts(ids[:-3])
    assert isinstance(block, Block)
    for level, whole in zip(block.codes.levels, codes.levels, strict=True):
        np.testing.assert_array_equal(level, whole[:, : level.shape[1]])
    assert block.codes.levels[0].shape[1] == codes.levels[0].shape[1] - 1


def test_a_picture_that_nothing_sizes_is_refused():
    spec = words.grid(10)
    made = building.build(Layout(image=BlockLayout(begin="<i>")), [Source("m", spec)], None)
    ids = stream(made, words.codes_of(spec, (16, 24)))
    (wrong,) = Parser(made).parts(ids)
    assert isinstance(wrong, Wrong) and wrong.reason == "nothing says its height and width"
    assert wrong.hint == "--size HxW"
    (wrong,) = Parser(made, lenient=True).parts(ids)
    assert isinstance(wrong, Wrong) and wrong.hint == "--size HxW"
    assert isinstance(next(Parser(made, size=(16, 24)).parts(ids)), Block)
    (wrong,) = Parser(made, size=(16, 16)).parts(ids)
    assert isinstance(wrong, Wrong)
