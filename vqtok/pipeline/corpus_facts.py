"""What a corpus is, from its index and its histogram: codes are not read. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.checkpoints import directory
from vqtok.codes import rates
from vqtok.corpus.info import CodebookUse, CorpusInfo
from vqtok.corpus.names import INDEX
from vqtok.corpus.progress import Progress, progress
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.single import describe
from vqtok.errors import one_line
from vqtok.metrics.codebook import entropy_bits
from vqtok.pipeline import pictures
from vqtok.pipeline.facts import Rows
from vqtok.plots import sheet

_SHOWN = 3


@dataclass(frozen=True)
class StageFacts:
    """Says how one codebook was used.

    Attributes:
        use: Its counts.
        entropy_bits: Bits per code by its own frequencies.
        nominal_bits: log2 K.
    """

    use: CodebookUse
    entropy_bits: float
    nominal_bits: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return {
            "level": self.use.level,
            "stage": self.use.stage,
            "entries": self.use.size,
            "used": self.use.used,
            "tokens": self.use.codes,
            "entropy_bits": round(self.entropy_bits, 4),
            "nominal_bits": round(self.nominal_bits, 4),
            "perplexity": round(2.0**self.entropy_bits, 2),
        }

    def row(self) -> tuple[str, str]:
        """Return one row."""
        stage = "" if self.use.stage is None else f" {self.use.stage + 1}"
        return (
            f"{self.use.level}{stage}",
            f"{self.use.used} of {self.use.size} entries used, entropy {self.entropy_bits:.2f} of "
            f"{self.nominal_bits:.2f} bits per code, perplexity {2.0**self.entropy_bits:.0f}",
        )


@dataclass(frozen=True)
class CorpusFacts:
    """Describes a corpus.

    Attributes:
        subject: Its folder.
        info: What the index says.
        stages: Each codebook; empty if there are too many entries to count.
        failures: (name, reason) of the first few items without codes.
        found: Directory of the model that made it, None if it is not here.
        growing: How far adding items to it is; None if nobody began to.
    """

    subject: str
    info: CorpusInfo
    stages: tuple[StageFacts, ...]
    failures: tuple[tuple[str, str], ...]
    found: str | None
    growing: Progress | None = None

    @property
    def entropy(self) -> float | None:
        """Return the bits that a plain entropy coder would need for all codes."""
        if not self.stages:
            return None
        return sum(stage.entropy_bits * stage.use.codes for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        info = self.info
        data: dict[str, Any] = {
            "subject": self.subject,
            "kind": "corpus",
            "format": info.format,
            "modality": info.spec.modality,
            "model": info.model,
            "fingerprint": info.spec.fingerprint,
            "found": self.found,
            "items": info.items,
            "failed": info.failed,
            "shards": len(info.shards),
            "tokens": info.tokens,
            "bits": round(info.bits, 3),
            "entropy_bits": None if self.entropy is None else round(self.entropy, 3),
            "codebooks": [stage.to_json() for stage in self.stages],
            "layout": None if info.layout is None else dict(info.layout),
        }
        if info.pixels:
            data["pixels"] = info.pixels
        if info.identity.carry:
            data["carried"] = dict(info.carried)
        if self.growing is not None:
            data["adding"] = _to_json(self.growing)
        if info.seconds:
            data["duration_s"] = round(info.seconds, 4)
        if info.amount:
            data[rates.unit(info.spec.modality).key] = round(info.rate, 4)
        return data

    def rows(self) -> Rows:
        """Return rows for people, the most wanted first."""
        info = self.info
        fingerprint = info.spec.fingerprint
        shards = "shard" if len(info.shards) == 1 else "shards"
        rows = [
            ("kind", f"corpus of {info.spec.modality}, format {info.format}"),
            ("model", f"{info.model or 'unnamed'} ({fingerprint})"),
            ("found", self.found or "not here: put it on VQTOK_MODELS"),
            (
                "files",
                f"{info.items} in {len(info.shards)} {shards}, {info.failed} failed"
                if info.shards
                else f"{info.items} in one tar",
            ),
        ]
        rows += [("failed", f"{name}: {reason}") for name, reason in self.failures]
        if info.failed > len(self.failures):
            rows.append(("failed", f"and {info.failed - len(self.failures)} more"))
        if info.identity.carry:
            carried = ", ".join(f"{count} {kind}" for kind, count in info.carried.items())
            rows.append(("carried", carried))
        if self.growing is not None:
            rows += [("adding", _counts_text(self.growing)), ("go on", _go_on(self.growing))]
        rows += [stage.row() for stage in self.stages]
        rows += [
            ("total", f"{info.tokens} codes, {info.bits / 8:.0f} bytes nominal"),
            ("rate", self._rate()),
        ]
        if info.layout is not None:
            layout = info.layout
            rows.append(("tokens", f"{layout['dtype']}, {layout['vocabulary']} values"))
        # Names, reasons and the model's name are anybody's.
        return [(one_line(head), one_line(text)) for head, text in rows]

    def _rate(self) -> str:
        info = self.info
        if not info.amount:
            return "nothing was encoded"
        over = f"{info.seconds:.1f} s" if info.seconds else f"{info.pixels} pixels"
        return f"{rates.digits(info.rate)} {rates.unit(info.spec.modality).name} over {over}"


@dataclass(frozen=True)
class UnfinishedFacts:
    """Describes a corpus that is being written.

    Attributes:
        subject: Its folder.
        progress: How far it is.
    """

    subject: str
    progress: Progress

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        identity = self.progress.identity
        return {
            "subject": self.subject,
            "kind": "unfinished corpus",
            "format": identity.format,
            "modality": identity.spec.modality,
            "model": identity.job.get("model"),
            "fingerprint": identity.spec.fingerprint,
            **_to_json(self.progress),
        }

    def rows(self) -> Rows:
        """Return rows for people, the most wanted first."""
        identity = self.progress.identity
        kind = f"unfinished corpus of {identity.spec.modality}, format {identity.format}"
        rows = [
            ("kind", kind),
            ("model", f"{identity.job.get('model') or 'unnamed'} ({identity.spec.fingerprint})"),
            ("files", _counts_text(self.progress)),
            ("shard size", str(identity.shard_items)),
            ("go on", _go_on(self.progress)),
        ]
        return [(one_line(head), one_line(text)) for head, text in rows]


def _to_json(progress: Progress) -> dict[str, Any]:
    return {
        "done": progress.done,
        "count": progress.count,
        "failed": progress.failed,
        "command": progress.command or None,
    }


def _counts_text(progress: Progress) -> str:
    new = " new" if progress.before else ""
    return f"{progress.done} of {progress.count}{new} done, {progress.failed} of them failed"


def _go_on(progress: Progress) -> str:
    return progress.command or "run the command that makes it again"


def tar_facts(path: Path) -> CorpusFacts:
    """Read the facts of a corpus in one tar, all of whose items are read for that.

    Raises:
        CodesError: damaged.
    """
    info, histogram = describe(path)
    counts = [] if histogram.counts is None else _cut(info, histogram.counts)
    found = directory.find(info.spec.fingerprint, name=info.model)
    return CorpusFacts(
        subject=str(path),
        info=info,
        stages=_stages(info, counts),
        failures=(),
        found=None if found is None else str(found.path),
    )


def corpus_facts(folder: Path) -> CorpusFacts | UnfinishedFacts:
    """Read the facts of a corpus.

    Raises:
        CodesError: damaged.
    """
    unfinished = progress(folder)
    if unfinished is not None and not (folder / INDEX).is_file():
        return UnfinishedFacts(str(folder), unfinished)
    return _complete(folder, unfinished)


def _complete(folder: Path, growing: Progress | None) -> CorpusFacts:
    reader = CorpusReader(folder)
    info = reader.info
    counts = _counts(reader)
    failures: list[tuple[str, str]] = []
    for failure in reader.failures():
        if len(failures) == _SHOWN:
            break
        failures.append(failure)
    found = directory.find(info.spec.fingerprint, name=info.model)
    return CorpusFacts(
        subject=str(folder),
        info=info,
        stages=_stages(info, counts),
        failures=tuple(failures),
        found=None if found is None else str(found.path),
        growing=growing if growing is not None and growing.identity != info.identity else None,
    )


def corpus_picture(folder: Path) -> np.ndarray:
    """Plot how often the entries of each codebook are used, as (H, W, 3) uint8.

    Raises:
        CodesError: unfinished or damaged, or a vocabulary too large to be counted.
    """
    reader = CorpusReader(folder)
    facts = _complete(folder, None)
    reader.histogram()  # says why there is none
    panels = []
    by_level: dict[str, list[tuple[StageFacts, np.ndarray]]] = {}
    for stage, count in zip(facts.stages, _counts(reader), strict=True):
        by_level.setdefault(stage.use.level, []).append((stage, count))
    for level, pairs in by_level.items():
        bits = sum(stage.entropy_bits for stage, _ in pairs) / len(pairs)
        used = sum(stage.use.used for stage, _ in pairs)
        size = sum(stage.use.size for stage, _ in pairs)
        text = f"{level}: used {used:,} of {size:,} entries, entropy {bits:.2f} bits"
        counts = [count for _, count in pairs]
        panels.append(pictures.use_panel(counts, entries=len(counts[0]), title=text))
    title = f"{folder.name}: {facts.info.items} items, {facts.info.tokens} codes"
    return sheet.pixels(panels, title=one_line(title))


def _counts(reader: CorpusReader) -> list[np.ndarray]:
    """Return (K,) occurrences of each codebook's entries."""
    if not reader.info.codebooks:
        return []
    return _cut(reader.info, reader.histogram().astype(np.int64))


def _cut(info: CorpusInfo, whole: np.ndarray) -> list[np.ndarray]:
    return [whole[use.offset : use.offset + use.size] for use in info.codebooks]


def _stages(info: CorpusInfo, counts: list[np.ndarray]) -> tuple[StageFacts, ...]:
    return tuple(
        StageFacts(use, entropy_bits(count), float(np.log2(use.size)))
        for use, count in zip(info.codebooks, counts, strict=True)
    )
