"""Extended tokenizers are read by the libraries, and their ids are those of the stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.compose import streams, words
from tests.compose.streams import SPECS, write
from vqtok.compose import building, extending
from vqtok.compose import layout as layouts
from vqtok.compose.building import Source
from vqtok.compose.layout import BlockLayout, Layout
from vqtok.compose.reader import StreamReader
from vqtok.compose.text import TextTokenizer
from vqtok.errors import ConfigError
from vqtok.pipeline.compose import Request


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = streams.lay(tmp_path_factory.mktemp("extending"))
    (folder / "layout.json").write_text(
        json.dumps({**layouts.config.dump(layouts.read("rows")), "reserved": 5})
    )
    request = Request(
        (folder / "image", folder / "audio"),
        tokenizer=folder / "tokenizer.json",
        text=str(folder / "captions.jsonl"),
        layout=str(folder / "layout.json"),
        extend=True,
    )
    write(folder / "out", request)
    return folder


def test_the_library_tokenizers_gives_the_ids_of_the_stream(place: Path):
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(place / "out/tokenizer.json"))
    reader = StreamReader(place / "out")
    assert own.get_vocab_size() == reader.vocabulary.size
    for document in reader.documents():
        tokens = [own.id_to_token(each) for each in document.ids.tolist()]
        assert (
            own.encode("".join(tokens[:1]), add_special_tokens=False).ids
            == document.ids[:1].tolist()
        )
        codes = "".join(t for t, k in zip(tokens, reader.vocabulary.kinds(document.ids)) if k != -1)  # noqa: B905
        found = own.encode(codes, add_special_tokens=False).ids
        assert found == document.ids[reader.vocabulary.kinds(document.ids) != -1].tolist()
    assert own.encode("about", add_special_tokens=False).ids == (
        Tokenizer.from_file(str(place / "tokenizer.json")).encode("about").ids
    )


def test_transformers_loads_it(place: Path):
    transformers = pytest.importorskip("transformers")
    own = transformers.PreTrainedTokenizerFast(tokenizer_file=str(place / "out/tokenizer.json"))
    vocabulary = StreamReader(place / "out").vocabulary
    assert len(own) == vocabulary.size
    names = extending.names_of(vocabulary)
    some = [*list(names)[:3], *list(names)[-3:]]
    assert own.convert_tokens_to_ids([names[each] for each in some]) == some
    (document, *_) = StreamReader(place / "out").documents()
    (part,) = (part for part in document.listed.parts if part.kind == "text")
    text = own.decode(document.ids.tolist(), skip_special_tokens=True)
    assert (
        text
        == StreamReader(place / "out").text.decode(  # type: ignore[union-attr]
            document.ids[part.start : part.start + part.tokens].tolist()
        )
    )


def test_every_id_has_one_name_in_every_preset():
    text = TextTokenizer(words.letters_json(), "")
    for name, spec in (
        ("rows", SPECS["audio"]),
        ("orpheus", words.snac(16)),
        ("plain", SPECS["image"]),
    ):
        made = building.build(layouts.read(name), [Source("m", spec)], text)
        own = TextTokenizer(extending.extended(made, text), "")
        assert own.size == made.size
        assert extending.is_of(own, made) and not extending.is_of(text, replace_sha(made))


def replace_sha(made):
    from dataclasses import replace

    return replace(made, text_sha256="0")


def test_names_that_are_not_unique_are_refused():
    text = TextTokenizer(words.letters_json(), "")
    block = BlockLayout(names="<c{code}>")
    made = building.build(Layout(audio=block), [Source("m", words.rvq(8, 2))], text)
    with pytest.raises(ConfigError, match="two ids have one name"):
        extending.extended(made, text)


def test_codes_of_an_extended_vocabulary_are_in_range(place: Path):
    reader = StreamReader(place / "out")
    ids = np.concatenate([each.ids for each in reader.documents()])
    reserved = reader.vocabulary.reserved
    assert reserved.size == 5
    assert not ((ids >= reserved.offset) & (ids < reserved.offset + 5)).any()
