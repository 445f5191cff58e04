"""Gives every token its id: builds the vocabulary of a layout, tokenizers of codes and of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vqtok.codes.spec import CodeSpec
from vqtok.compose import order
from vqtok.compose.layout import Layout
from vqtok.compose.merges import MergesFile, check_order
from vqtok.compose.ranges import CodeRange, Span, TokenizerRanges
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import MOST, Vocabulary
from vqtok.errors import ConfigError, UsageError


@dataclass(frozen=True)
class Source:
    """Names a tokenizer whose codes need ids."""

    model: str
    spec: CodeSpec


def build(
    layout: Layout,
    sources: Sequence[Source],
    text: TextTokenizer | None,
    merges: MergesFile | None = None,
) -> Vocabulary:
    """Give every token its id.

    Args:
        layout: Says what there is, in which order.
        sources: The tokenizers of all codes; of one spec there is one.
        text: Tokenizer of text, or None.
        merges: Of codes; their ids come last, so that all others are the same without them.

    Raises:
        ConfigError: a layout that the codes cannot have, merges of another one, or names in the
            text tokenizer that are not the codes'.
        UsageError: two corpora whose codes are of one model but differ, or too many ids.
    """
    sources = _each_once(sources)
    modalities = frozenset(each.spec.modality for each in sources)
    names = layout.all_specials(modalities)
    for source in sources:
        order.check(source.spec, layout.block(source.spec.modality))
    next_id, text_size = 0, 0 if text is None else text.size
    special: dict[str, int] = {}
    reserved = Span(0, 0)
    tokenizers: list[TokenizerRanges] = []
    for section in layout.vocabulary:
        if section == "text":
            text_start, next_id = next_id, next_id + text_size
            if text_start and text_size:
                raise ConfigError("layout.vocabulary", "text begins with id 0: it must come first")
        elif section == "reserved":
            reserved, next_id = Span(next_id, layout.reserved), next_id + layout.reserved
        elif section == "special":
            for name in names:
                known = None if text is None else text.id_of(name)
                special[name] = next_id if known is None else known
                next_id += known is None
        else:
            for source in sources:
                own, next_id = _ranges(source, layout, text, next_id)
                tokenizers.append(own)
    if merges is not None:
        tokenizers, next_id = _merged(tokenizers, merges, layout, next_id)
    if next_id > MOST:
        raise UsageError(f"{next_id} ids are more than int32 holds")
    taken = [(each, 1) for each in special.values() if each < text_size]
    taken += [
        (each.offset, each.size)
        for own in tokenizers
        for each in own.ranges
        if each.offset < text_size
    ]
    made = Vocabulary(
        layout,
        tuple(_without(text_size, taken)),
        text_size,
        "" if text is None else text.sha256,
        reserved,
        special,
        tuple(tokenizers),
        next_id,
        "" if merges is None else merges.sha256,
    )
    try:
        made.check()
    except ValueError as error:
        raise ConfigError("layout", str(error)) from error
    return made


def refuse_others(merges: MergesFile, sources: Sequence[Source], subject: object) -> None:
    """Refuse merges of a tokenizer that is not among these.

    Raises:
        UsageError: naming it.
    """
    for each in merges.tokenizers:
        if all(each.spec != own.spec for own in sources):
            name = f"{each.model or each.spec.modality} ({each.spec.fingerprint})"
            here = dict.fromkeys(f"{own.model} ({own.spec.fingerprint})" for own in sources)
            raise UsageError(
                subject,
                f"merges of {name}, and the corpora are of {', '.join(here) or 'none'}",
                hint="vqtok train --data CORPUS/ --preset bpe -o MERGES/ learns those of a corpus",
            )


def name_of(
    own: TokenizerRanges,
    which: CodeRange,
    code: int,
    *,
    names: str,
    text_size: int,
    number: int = 0,
) -> str:
    """Return the token of a code, as an extended tokenizer has it.

    Args:
        own: Ranges of the tokenizer.
        which: The range.
        code: Of it.
        names: Of the layout.
        text_size: Ids of the text tokenizer.
        number: Of the tokenizer among all.

    Raises:
        ConfigError: names with an unknown field.
    """
    ident = which.offset + code
    modality = own.spec.modality
    if not names:
        level = "" if which.level in ("", "codes") else f" {which.level}"
        stage = "" if which.stage is None else f" q{which.stage}"
        slot = "" if which.slot is None else f" s{which.slot}"
        return f"<|{modality}{number or ''}{level}{stage}{slot} {code}|>"
    letters = "".join(chr(ord("A") + int(digit)) for digit in str(code))
    fields = {
        "code": code,
        "level": which.level,
        "stage": which.stage,
        "slot": which.slot,
        "index": ident - own.ranges[0].offset,
        "id": ident,
        "after_text": ident - text_size,
        "letters": letters,
    }
    try:
        return names.format(**fields)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        known = ", ".join(fields)
        raise ConfigError(
            f"layout of {modality}.names", f"not a template: {error}", hint=f"fields: {known}"
        ) from error


def _ranges(
    source: Source, layout: Layout, text: TextTokenizer | None, next_id: int
) -> tuple[TokenizerRanges, int]:
    """Place the ranges of a tokenizer: where the text tokenizer has its tokens, else behind."""
    block = layout.block(source.spec.modality)
    slots = order.slots_of(source.spec, block)
    starts = np.cumsum([next_id, *(slot.size for slot in slots)])
    placed = tuple(
        CodeRange(slot.level, slot.stage, slot.slot, slot.size, int(start))
        for slot, start in zip(slots, starts[:-1], strict=True)
    )
    own = TokenizerRanges(source.model, source.spec, placed)
    if text is None or not block.names or "{id}" in block.names or "after_text" in block.names:
        return own, int(starts[-1])
    found = [_known(own, each, block.names, text) for each in placed]
    if all(each is None for each in found):
        return own, int(starts[-1])
    moved = []
    for each, start in zip(placed, found, strict=True):
        if start is None:
            name = name_of(own, each, 0, names=block.names, text_size=text.size)
            raise ConfigError("layout.names", f"the text tokenizer has some codes, but no {name!r}")
        moved.append(CodeRange(each.level, each.stage, each.slot, each.size, start))
    return TokenizerRanges(source.model, source.spec, tuple(moved)), next_id


def _merged(
    tokenizers: Sequence[TokenizerRanges], merges: MergesFile, layout: Layout, next_id: int
) -> tuple[list[TokenizerRanges], int]:
    """Give ids to merges, tokenizer after tokenizer."""
    found = []
    for own in tokenizers:
        learned = next((each for each in merges.tokenizers if each.spec == own.spec), None)
        if learned is not None:
            check_order(learned, layout.block(own.spec.modality))
            own, next_id = (
                replace(own, merged=Span(next_id, len(learned))),
                next_id + len(learned),
            )
        found.append(own)
    return found, next_id


def _known(own: TokenizerRanges, which: CodeRange, names: str, text: TextTokenizer) -> int | None:
    """Return the id of code 0 in the text tokenizer, if it has all codes one after the other."""
    first = text.id_of(name_of(own, which, 0, names=names, text_size=text.size))
    if first is None:
        return None
    for code in range(1, which.size):
        name = name_of(own, which, code, names=names, text_size=text.size)
        found = text.id_of(name)
        if found != first + code:
            what = "is missing from" if found is None else f"has id {found} in"
            raise ConfigError(
                "layout.names", f"{name!r} {what} the text tokenizer, {first + code} expected"
            )
    return first


def _each_once(sources: Sequence[Source]) -> list[Source]:
    found: dict[CodeSpec, Source] = {}
    for source in sources:
        found.setdefault(source.spec, source)
    prints = [each.spec.fingerprint for each in found.values() if each.spec.fingerprint]
    for each in found.values():
        if prints.count(each.spec.fingerprint) > 1:
            raise UsageError(
                each.model or each.spec.fingerprint,
                "corpora of one model whose codes have different depths",
                hint='set "stages" in the layout, or encode them alike',
            )
    return list(found.values())


def _without(size: int, taken: Iterable[tuple[int, int]]) -> Iterator[Span]:
    begin = 0
    for offset, count in sorted(taken):
        if offset > begin:
            yield Span(begin, offset - begin)
        begin = max(begin, offset + count)
    if begin < size:
        yield Span(begin, size - begin)
