"""Learns merges from the codes of corpora, in the order that a layout gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vqtok.codes.spec import CodeSpec
from vqtok.compose import building
from vqtok.compose import layout as layouts
from vqtok.compose.block import Block
from vqtok.compose.building import Source
from vqtok.compose.layout import BlockLayout, Layout
from vqtok.compose.merges import LONGEST, Merges, order_of
from vqtok.compose.merging import Alphabet, Merger, learn
from vqtok.compose.ranges import Span
from vqtok.compose.state import Totals
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.runs import Run
from vqtok.errors import CodesError

MOST = 1 << 20


@dataclass(frozen=True)
class MergeRecipe:
    """Configures what is learned.

    Attributes:
        layout: Of the streams to be composed: a preset or a path. What counts is the order of
            codes, their stages, which codes have ids of their own, and whether rows end.
        count: Merges of each tokenizer at most.
        min_count: A pair that is met less often is not merged.
        longest: Codes of a merged token at most.
        codes: About so many of each tokenizer are read at most, of items spread evenly.
    """

    layout: str = "rows"
    count: int = 8192
    min_count: int = 2
    longest: int = 16
    codes: int = 10_000_000

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 1 <= self.count <= MOST:
            raise ValueError(f"count is not between 1 and {MOST}")
        if self.min_count < 1 or self.codes < 1:
            raise ValueError("min_count and codes must be at least 1")
        if not 2 <= self.longest <= LONGEST:
            raise ValueError(f"longest is not between 2 and {LONGEST}")


def learn_merges(
    readers: Sequence[CorpusReader],
    recipe: MergeRecipe,
    on_items: Callable[[int], None] = lambda count: None,
    on_learn: Callable[[str], None] = lambda model: None,
) -> list[Merges]:
    """Learn the merges of each tokenizer that corpora have codes of.

    Args:
        readers: Of the corpora.
        recipe: What to learn.
        on_items: Called with the items that have been read.
        on_learn: Called with the model whose codes are learned from, once they have been read.

    Raises:
        ConfigError: a layout that the codes cannot have.
        CodesError: damaged corpora, or codes without a pair that is met often enough.
    """
    layout = _bare(layouts.read(recipe.layout))
    by_spec: dict[CodeSpec, list[CorpusReader]] = {}
    for reader in readers:
        by_spec.setdefault(reader.spec, []).append(reader)
    return [_learn(group, layout, recipe, on_items, on_learn) for group in by_spec.values()]


def _learn(
    readers: Sequence[CorpusReader],
    layout: Layout,
    recipe: MergeRecipe,
    on_items: Callable[[int], None],
    on_learn: Callable[[str], None],
) -> Merges:
    spec, model = readers[0].spec, readers[0].info.model
    vocabulary = building.build(layout, [Source(model, spec)], None)
    own, blocks = vocabulary.tokenizers[0], vocabulary.blocks(0)
    alphabet = Alphabet(own)
    every = max(1, -(-sum(reader.info.tokens for reader in readers) // recipe.codes))
    failed: set[str] = set()

    def runs(on_items: Callable[[int], None]) -> Iterator[tuple[Run, Block]]:
        """Yield the items that are learned from, and the block of their shape."""
        for reader in readers:
            for number, shard in enumerate(reader.info.shards):
                for run in reader.runs(number):
                    try:
                        some = run.some([item.number % every == 0 for item in run.items])
                        if some is not None:
                            yield some, blocks.of(run.shapes)
                    except CodesError as error:
                        failed.add(error.reason)
                on_items(shard.count)

    def texts() -> Iterator[str]:
        for run, block in runs(on_items):
            yield from alphabet.texts(block.ids(run.flat), block.size > 0)
        on_learn(model)

    pairs = learn(
        texts(),
        alphabet.characters,
        count=recipe.count,
        min_count=recipe.min_count,
        longest=recipe.longest,
    )
    if not len(pairs):
        why = f" ({'; '.join(sorted(failed))})" if failed else ""
        reason = f"no two codes follow each other {recipe.min_count} times{why}"
        raise CodesError(model or spec.modality, reason)
    order = order_of(layout.block(spec.modality))
    found = Merges(model, spec, order, len(alphabet.characters), pairs, {})
    merger = Merger(replace(own, merged=Span(vocabulary.size, len(pairs))), found)
    merging = vocabulary.blocks(0, mergers=[merger])
    totals = Totals()
    for run, block in runs(lambda count: None):
        rows = merging.tokens(block, run.flat, run.channels)
        for item, row in zip(run.items, rows, strict=True):
            totals.add_merged(0, spec.modality, item.label["extent"], row.merged)
    return replace(found, learned=totals.merged["0"])


def _bare(layout: Layout) -> Layout:
    """Return a layout without what stands around codes: it needs no text tokenizer."""

    def bare(block: BlockLayout) -> BlockLayout:
        return replace(block, begin=None, size="none", codes=None, codes_end=None, end=None,
                       grid=(), names="")  # fmt: skip

    return replace(layout, image=bare(layout.image), audio=bare(layout.audio), reserved=0)
