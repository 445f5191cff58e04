"""What a prior says of codes: the cost of each item, beside what knows only frequencies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.corpus.index import is_corpus
from vqtok.corpus.reader import Found, Unread, gather
from vqtok.errors import CodesError, UsageError, VqtokError
from vqtok.media.inputs import STDIN, expanded, inputs_of
from vqtok.media.kinds import Kind
from vqtok.metrics.likelihood import Cost, Costs
from vqtok.pipeline.labels import longest_end
from vqtok.pipeline.results import Failed

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.protocols import Prior

BATCH = 1 << 14
"""Codes at a time."""

RGB = 3

PROTOCOL = (
    "Cross-entropy of whole items, mean over all codes. The unigram entropy is that of these very "
    "codes, by level and stage; of few codes it is too low. Bits per dimension are all bits over "
    "the samples of the recordings, or three times the pixels of the pictures: the cost of the "
    "codes, not of the signal."
)

CODES: tuple[Kind, ...] = ("codes",)


@dataclass(frozen=True)
class Score:
    """One item.

    Attributes:
        name: Where it lies.
        label: The class that the prior was given; "" without.
        codes: How many are modelled.
        nats: They cost together.
        dimensions: Numbers in its signal.
    """

    name: str
    label: str
    codes: int
    nats: float
    dimensions: int

    @property
    def nats_per_code(self) -> float:
        """Mean over its codes."""
        return self.nats / self.codes

    @property
    def bits_per_code(self) -> float:
        """The same in bits."""
        return self.nats_per_code / math.log(2)

    @property
    def bits_per_dimension(self) -> float:
        """All its bits over the numbers in its signal."""
        return self.nats / math.log(2) / self.dimensions

    def to_json(self) -> dict[str, Any]:
        """Returns one JSON line."""
        data = {
            "source": self.name,
            "codes": self.codes,
            "nats_per_code": round(self.nats_per_code, 6),
            "bits_per_code": round(self.bits_per_code, 6),
            "bits_per_dimension": round(self.bits_per_dimension, 6),
        }
        return data | ({"class": self.label} if self.label else {})


@dataclass(frozen=True)
class Scored:
    """All items together.

    Attributes:
        model: NAME of the prior.
        items: How many were read.
        unlabelled: Of these, whose class the prior does not know, though it has classes.
        total: Of all codes.
        levels: Of each level by name, coarse to fine.
        bits_per_dimension: All bits over the numbers in all signals.
        codes_per_s: Speed.
    """

    model: str
    items: int
    unlabelled: int
    total: Cost
    levels: dict[str, Cost]
    bits_per_dimension: float
    codes_per_s: float
    protocol: str = field(default=PROTOCOL)

    def to_json(self) -> dict[str, Any]:
        """Returns one JSON line."""
        return {
            "model": self.model,
            "items": self.items,
            "unlabelled": self.unlabelled,
            **self.total.to_json(),
            "bits_per_dimension": round(self.bits_per_dimension, 6),
            "levels": {name: cost.to_json() for name, cost in self.levels.items()},
            "codes_per_s": round(self.codes_per_s, 1),
        }


class Scoring:
    """Scores items, and adds them up.

    Args:
        prior: In evaluation mode.
        info: Its facts.
        label: Class of all items; None: the end of each item's directory that is a class.

    Raises:
        UsageError: a class that the prior does not know.
    """

    def __init__(self, prior: Prior, info: ModelInfo, *, label: str | None = None) -> None:
        if label is not None and label not in prior.classes:
            known = ", ".join(prior.classes) or "none"
            raise UsageError(f"--label {label}", f"no class of {info.name}", hint=f"known: {known}")
        self._prior, self._info, self._label = prior, info, label
        self._costs = Costs(info.spec.levels)
        self._items = self._unlabelled = self._dimensions = 0
        self._seconds = 0.0

    def run(self, items: Iterable[Found | Unread]) -> Iterator[Score | Failed]:
        """Score items, neighbours of one size together.

        Yields:
            One result for each item, in order.
        """
        waiting: list[Found] = []
        room = 0
        for each in items:
            problem = each.error if isinstance(each, Unread) else self._problem(each)
            if isinstance(each, Unread) or problem is not None:
                yield from self._score(waiting)
                waiting = []
                yield Failed(Path(each.name), problem or CodesError(each.name))
                continue
            if waiting and (not _alike(waiting[0], each) or room <= 0):
                yield from self._score(waiting)
                waiting = []
            if not waiting:
                room = BATCH
            room -= each.codes.tokens
            waiting.append(each)
        yield from self._score(waiting)

    def scored(self) -> Scored:
        """Returns all items so far together."""
        total = self._costs.total
        bits = total.bits_per_code * total.codes
        return Scored(
            model=self._info.name,
            items=self._items,
            unlabelled=self._unlabelled,
            total=total,
            levels=self._costs.levels,
            bits_per_dimension=bits / self._dimensions if self._dimensions else 0.0,
            codes_per_s=total.codes / self._seconds if self._seconds else 0.0,
        )

    def _problem(self, found: Found) -> CodesError | None:
        """Explains why an item cannot be scored."""
        learned = self._info.learned
        try:
            name = learned.tokenizer if learned is not None else ""
            files.check_model(found.header, self._info.spec, name=name or "the prior's tokenizer")
        except CodesError as error:
            return error.about(found.name)
        return None

    def _score(self, found: Sequence[Found]) -> Iterator[Score]:
        if not found:
            return
        import torch

        begun = time.perf_counter()
        channels = [len(each.codes) for each in found]
        names = [self._class(each.label) for each in found]
        codes = Codes.stack([replace(each.codes, spec=self._info.spec) for each in found])
        condition = None
        if self._prior.classes:
            numbers = [self._prior.classes.index(name) if name else -1 for name in names]
            condition = torch.tensor(numbers).repeat_interleave(torch.tensor(channels))
        levels = tuple(torch.from_numpy(level.astype(np.int64)) for level in codes.levels)
        with torch.inference_mode():
            nats = self._prior.nll(replace(codes, levels=levels), condition=condition)
        costs = [each.float().cpu().numpy() for each in nats]
        self._costs.add(codes.levels, costs)
        self._seconds += time.perf_counter() - begun
        first = 0
        for each, count, name in zip(found, channels, names, strict=True):
            part = [cost[first : first + count] for cost in costs]
            first += count
            values = 1 if codes.spec.modality == "audio" else RGB
            score = Score(
                name=each.name,
                label=name,
                codes=sum(cost.size for cost in part),
                nats=sum(float(cost.sum(dtype=np.float64)) for cost in part),
                dimensions=count * values * math.prod(each.codes.extent),
            )
            self._items += 1
            self._unlabelled += bool(self._prior.classes) and not name
            self._dimensions += score.dimensions
            yield score

    def _class(self, label: str) -> str:
        """Finds the class of an item, the longest end of its directory that is one; "" if none."""
        if self._label is not None:
            return self._label
        return longest_end(label.split("/"), self._prior.classes)


class Places(NamedTuple):
    """Says where codes lie: corpora, files with the folder each was found under, and failures."""

    corpora: tuple[Path, ...]
    loose: tuple[tuple[Path, Path | None], ...]
    failures: tuple[tuple[str, VqtokError], ...]


def places_of(arguments: Sequence[str]) -> Places:
    """Find codes in corpora, folders, files, patterns and ``@lists``.

    Raises:
        UsageError: standard input, or a list that cannot be read.
    """
    paths = expanded(arguments)
    if STDIN in paths:
        raise UsageError("-", "codes of many items are read from files, not from stdin")
    corpora = tuple(Path(each) for each in paths if is_corpus(Path(each)))
    others = [each for each in paths if not is_corpus(Path(each))]
    if not others:
        return Places(corpora, (), ())
    found = inputs_of(others, CODES)
    loose = tuple((each.path, each.root) for each in found.items if each.path is not None)
    return Places(corpora, loose, found.failures)


def items_of(arguments: Sequence[str]) -> Iterator[Found | Unread]:
    """Read the codes that ``places_of`` finds, one item in memory at a time.

    Raises:
        UsageError: as ``places_of``.
        CodesError: a corpus that is unfinished or damaged.
    """
    found = places_of(arguments)
    for name, error in found.failures:
        yield Unread(name, CodesError(error.subject or name, error.reason, hint=error.hint))
    yield from gather(found.corpora, found.loose)


def _alike(one: Found, other: Found) -> bool:
    return one.codes.extent == other.codes.extent and one.codes.depth == other.codes.depth
