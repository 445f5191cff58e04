"""Presets reproduce published streams: examples written by hand from their documentation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compose import words
from vqtok.compose import building
from vqtok.compose import layout as layouts
from vqtok.compose.block import flat_of
from vqtok.compose.building import Source
from vqtok.compose.text import TextTokenizer
from vqtok.corpus.vocabulary import Vocabulary as CorpusVocabulary


def names_of(tokenizer: TextTokenizer, ids: np.ndarray) -> str:
    return "".join(tokenizer._own.id_to_token(int(each)) for each in ids)


EMU3 = ["<|extra_200|>", "<|extra_201|>", "<|extra_203|>", "<|extra_204|>"]
EMU3 += ["<|image start|>", "<|image token|>", "<|image end|>"]


def test_emu3_has_size_as_text_rows_and_the_names_of_its_tokenizer():
    # Emu3's processor: BOI, height*width, IMG, each row followed by EOL, EOF, EOI.
    visual = [f"<|visual token {code:06d}|>" for code in range(12)]
    text = TextTokenizer(words.tokenizer_json(["cat"], [*EMU3, *visual]), "")
    spec = words.grid(12)
    made = building.build(layouts.read("emu3"), [Source("emu3", spec)], text)
    assert made.size == text.size  # everything was there

    ids = made.blocks(0, text).of(((2, 3),)).ids(np.array([[0, 1, 2, 9, 10, 11]]))

    assert names_of(text, ids[0]) == (
        "<|image start|>2*3<|image token|>"
        "<|visual token 000000|><|visual token 000001|><|visual token 000002|><|extra_200|>"
        "<|visual token 000009|><|visual token 000010|><|visual token 000011|><|extra_200|>"
        "<|extra_201|><|image end|>"
    )


def test_emu3_has_the_ids_that_transformers_gives():
    pytest.importorskip("transformers")
    import torch
    from transformers.models.emu3.modeling_emu3 import Emu3ImageVocabularyMapping

    visual = [f"<|visual token {code:06d}|>" for code in range(64)]
    text = TextTokenizer(words.tokenizer_json([], [*EMU3, "<image>", *visual]), "")
    mapping = Emu3ImageVocabularyMapping(dict(text._ids))
    made = building.build(layouts.read("emu3"), [Source("", words.grid(64))], text)
    codes = np.random.default_rng(0).integers(0, 64, (1, 3, 5))

    ids = made.blocks(0, text).of(((3, 5),)).ids(codes.reshape(1, -1))[0]

    own = mapping.convert_img2bpe(torch.tensor(codes[0])).reshape(-1).tolist()
    head = len(text.encode("3*5")) + 2
    assert ids[head : head + len(own)].tolist() == own


def letters(code: int) -> str:
    return "IMGIMG" + "".join("ABCDEFGHIJ"[int(digit)] for digit in str(code)) + "Z"


def test_chameleon_has_1024_codes_between_its_two_tokens():
    # Chameleon's tokenizer: <s>, <pad>, </s>, <unk>, then 8192 codes from id 4, then the rest.
    added = [letters(code) for code in range(8192)]
    data = words.tokenizer_json([], ["<s>", "<pad>", "</s>", *added, "<eoss>", "<racm3:break>"])
    text = TextTokenizer(data, "")
    made = building.build(layouts.read("chameleon"), [Source("", words.grid(8192, 16))], text)
    assert made.size == text.size
    codes = np.random.default_rng(0).integers(0, 8192, (1, 1024))

    ids = made.blocks(0).of(((32, 32),)).ids(codes)[0]

    assert len(ids) == 1026
    assert names_of(text, ids[:1]) == "<racm3:break>" and names_of(text, ids[-1:]) == "<eoss>"
    assert names_of(text, ids[1:4]) == "".join(letters(code) for code in codes[0, :3])

    pytest.importorskip("transformers")
    from transformers.models.chameleon.modeling_chameleon import ChameleonImageVocabularyMapping

    to_codes = ChameleonImageVocabularyMapping(dict(text._ids)).bpe2img
    assert [to_codes[each] for each in ids[1:-1].tolist()] == codes[0].tolist()


def test_orpheus_has_seven_codes_a_frame_each_with_its_own_ids():
    # Orpheus' train and decoder: ids from 128266, +4096 for each of the seven places; speech is
    # between 128257 and 128258. A frame is coarse, middle, fine, fine, middle, fine, fine.
    text = TextTokenizer(words.tokenizer_json([f"w{n}" for n in range(128256 - 12)]), "")
    assert text.size == 128256
    made = building.build(layouts.read("orpheus"), [Source("snac", words.snac())], text)
    coarse, middle, fine = [7, 8], [10, 11, 12, 13], [20, 21, 22, 23, 24, 25, 26, 27]

    ids = made.blocks(0).of(((2,), (4,), (8,))).ids(np.array([coarse + middle + fine]))[0]

    frames = [[7, 10, 20, 21, 11, 22, 23], [8, 12, 24, 25, 13, 26, 27]]
    expected = [128266 + 4096 * place + code for f in frames for place, code in enumerate(f)]
    assert ids.tolist() == [128257, *expected, 128258]
    assert made.size == 128266 + 7 * 4096


def test_orpheus_names_its_tokens_as_its_tokenizer_does():
    made = building.build(layouts.read("orpheus"), [Source("snac", words.snac())], None)
    own, names = made.tokenizers[0], made.layout.audio.names
    last = own.ranges[-1]
    assert building.name_of(own, own.ranges[0], 0, names=names, text_size=0) == (
        "<custom_token_10>"
    )
    assert building.name_of(own, last, 4095, names=names, text_size=0) == "<custom_token_28681>"


def test_moshi_delays_acoustic_stages_by_one_step():
    # Moshi: stage q of step s is the code of frame s - delay, with delays 0, 1, 1, 1, 1, 1, 1, 1;
    # where there is none, the initial token, which is the id after all codes.
    spec = words.rvq(2048, 8)
    made = building.build(layouts.read("moshi"), [Source("mimi", spec)], None)
    codes = np.arange(24).reshape(1, 8, 3)

    ids = made.blocks(0).of(((8, 3),)).ids(codes.reshape(1, -1))[0].reshape(-1, 8)

    initial = 8 * 2048
    rolled = np.full((4, 8), initial)
    rolled[:3, 0] = codes[0, 0]
    rolled[1:, 1:] = codes[0, 1:].T
    offsets = 2048 * np.arange(8)
    np.testing.assert_array_equal(np.where(ids == initial, ids, ids - offsets), rolled)


def test_plain_is_what_format_bin_writes():
    for spec, extent in (
        (words.grid(30), (32, 24)),
        (words.rvq(16), (9000,)),
        (words.snac(9), (1,)),
    ):
        codes = words.codes_of(spec, extent, channels=2)
        made = building.build(layouts.read("plain"), [Source("", spec)], None)
        own = CorpusVocabulary(spec)
        ids = made.blocks(0).of(codes.shapes).ids(flat_of(codes))
        np.testing.assert_array_equal(ids, own.sequences(codes))
        assert made.dtype == own.dtype
        assert made.special == {"<|bos|>": own.bos}


def test_var_has_its_scales_coarse_to_fine():
    spec = words.scales(32, (1, 2, 4))
    codes = words.codes_of(spec, (64, 64))
    made = building.build(layouts.read("plain"), [Source("", spec)], None)
    ids = made.blocks(0).of(codes.shapes).ids(flat_of(codes))[0]
    expected = [32 * n + code for n, level in enumerate(codes.levels) for code in level.reshape(-1)]
    assert ids[1:].tolist() == expected
