"""What a composed stream is, from its index and its vocabulary, and what merges are. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqtok.compose.merges import MergesFile
from vqtok.compose.reader import StreamInfo, read_index
from vqtok.compose.vocabulary import Vocabulary
from vqtok.pipeline.facts import Rows
from vqtok.pipeline.merges import saving_of_learned, savings


@dataclass(frozen=True)
class StreamFacts:
    """A composed stream.

    Attributes:
        subject: Its folder.
        info: What its index says.
        vocabulary: Of its ids.
    """

    subject: str
    info: StreamInfo
    vocabulary: Vocabulary

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        info, vocabulary = self.info, self.vocabulary
        return {
            "subject": self.subject,
            "kind": "stream",
            "format": info.format,
            **asdict(info.totals),
            "merged": [asdict(each) for each in savings(info.totals, vocabulary)],
            "splits": dict(info.splits),
            "size_bytes": sum(each.bytes for each in info.files),
            "vocabulary": {
                "size": vocabulary.size,
                "dtype": vocabulary.dtype,
                "text": sum(span.size for span in vocabulary.text),
                "special": len(vocabulary.special),
                "tokenizers": [
                    {
                        "model": each.model,
                        "fingerprint": each.spec.fingerprint,
                        "offset": min(own.offset for own in each.ranges),
                        "size": sum(own.size for own in each.ranges),
                    }
                    for each in vocabulary.tokenizers
                ],
            },
        }

    def rows(self) -> Rows:
        """Return what people want to know first, first."""
        info, vocabulary, totals = self.info, self.vocabulary, self.info.totals
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(totals.kinds.items()))
        rows = [
            ("kind", f"stream of token ids, format {info.format}"),
            ("documents", f"{totals.documents}, the longest of {totals.longest} tokens"),
            ("tokens", f"{totals.tokens}: {kinds}" if kinds else f"{totals.tokens}"),
        ]
        if len(info.splits) > 1:
            parts = ", ".join(f"{count} {name}" for name, count in info.splits.items())
            rows.append(("splits", parts))
        if totals.missing:
            rows.append(("missing", f"{totals.missing} items without text: missing.jsonl"))
        if totals.failed:
            rows.append(("failed", f"{totals.failed} items: failed.jsonl"))
        rows.append(("vocabulary", f"{vocabulary.size} ids, {vocabulary.dtype}"))
        if vocabulary.text:
            rows.append(("text", f"{sum(span.size for span in vocabulary.text)} ids"))
        rows += [
            (
                each.model or each.spec.modality,
                f"{sum(own.size for own in each.ranges)} ids from "
                f"{min(own.offset for own in each.ranges)} ({each.spec.fingerprint})",
            )
            for each in vocabulary.tokenizers
        ]
        rows += [("merges", str(each)) for each in savings(totals, vocabulary)]
        rows.append(("files", f"{sum(each.bytes for each in info.files)} bytes"))
        return rows


def stream_facts(folder: Path) -> StreamFacts:
    """Describe a complete stream.

    Raises:
        CodesError: unfinished or damaged.
        ConfigError: a damaged vocabulary.
    """
    return StreamFacts(str(folder), read_index(folder), Vocabulary.read(folder))


@dataclass(frozen=True)
class MergesFacts:
    """Merges of codes.

    Attributes:
        subject: Their folder.
        merges: What it holds.
    """

    subject: str
    merges: MergesFile

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        saved = [asdict(each) for each in saving_of_learned(self.merges)]
        return {"subject": self.subject, "kind": "merges", "tokenizers": saved}

    def rows(self) -> Rows:
        """Return what people want to know first, first."""
        rows = [("kind", "merges of codes, for vqtok compose --merges")]
        return rows + [("learned from", str(each)) for each in saving_of_learned(self.merges)]


def merges_facts(folder: Path) -> MergesFacts:
    """Describe merges that were learned.

    Raises:
        ConfigError: damaged.
    """
    return MergesFacts(str(folder), MergesFile.read(folder))
