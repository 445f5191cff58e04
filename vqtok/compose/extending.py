"""A ``tokenizer.json`` of text with the tokens of a vocabulary added, ids as in the stream."""

from __future__ import annotations

from typing import Any

from vqtok.compose.building import name_of
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import Vocabulary
from vqtok.errors import ConfigError


def extended(vocabulary: Vocabulary, text: TextTokenizer) -> bytes:
    """Return the extended tokenizer, which ``tokenizers`` and ``transformers`` load.

    Special tokens, codes and reserved ids become special tokens: decoding can skip them.

    Raises:
        ConfigError: two tokens of one name, or a tokenizer whose next id is not the vocabulary's.
    """
    from tokenizers import AddedToken, Tokenizer

    names = names_of(vocabulary)
    own: Any = Tokenizer.from_str(text.data.decode())
    added = [AddedToken(names[ident], special=True, normalized=False) for ident in sorted(names)]
    own.add_special_tokens(added)
    for ident, name in names.items():
        if (found := own.token_to_id(name)) != ident:
            raise ConfigError(
                "--extend-tokenizer",
                f"{name!r} would have id {found}, and {ident} in the stream",
                hint='other "names" in the layout',
            )
    data: str = own.to_str()
    return data.encode()


def is_of(text: TextTokenizer, vocabulary: Vocabulary) -> bool:
    """Tell whether a tokenizer is that of the vocabulary's text, or that one extended."""
    if text.sha256 == vocabulary.text_sha256:
        return True
    names = names_of(vocabulary)
    return bool(names) and all(text.id_of(name) == ident for ident, name in names.items())


def names_of(vocabulary: Vocabulary) -> dict[int, str]:
    """Return the token of every id that the text tokenizer does not have.

    Raises:
        ConfigError: two ids of one name.
    """
    first = vocabulary.text_size
    found = {ident: name for name, ident in vocabulary.special.items() if ident >= first}
    offset, size = vocabulary.reserved
    found |= {offset + number: f"<|reserved {number}|>" for number in range(size)}
    for number, own in enumerate(vocabulary.tokenizers):
        modality = own.spec.modality
        names = vocabulary.layout.block(modality).names
        same = [n for n, e in enumerate(vocabulary.tokenizers) if e.spec.modality == modality]
        for which in own.ranges:
            if which.offset < first:
                continue
            for code in range(which.size):
                found[which.offset + code] = name_of(
                    own, which, code, names=names, text_size=first, number=same.index(number)
                )
        if own.merged is not None:
            prefix = f"{modality}{same.index(number) or ''}"
            for merge in range(own.merged.size):
                found[own.merged.offset + merge] = f"<|{prefix} merge {merge}|>"
    if len(set(found.values())) < len(found):
        raise ConfigError(
            "--extend-tokenizer",
            "two ids have one name",
            hint='"names" of the layout need {level}, {stage}, {slot} or {index}',
        )
    return found
