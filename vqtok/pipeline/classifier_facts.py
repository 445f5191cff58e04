"""Facts of a classifier, as JSON data and as rows for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.pipeline.model_facts import ModelFacts

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.pipeline.facts import Rows


@dataclass(frozen=True)
class ClassifierFacts:
    """The directory of a classifier."""

    subject: str
    info: ModelInfo

    @property
    def rate_text(self) -> str:
        """What stands where a tokenizer has its rate."""
        return f"classifier, {len(self.info.classes)} classes"

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        info = self.info
        return {
            "subject": self.subject,
            "kind": "classifier",
            "name": info.name,
            "path": str(info.path),
            "fingerprint": info.fingerprint,
            "modality": info.spec.modality,
            "type": info.config.get("type"),
            "classes": list(info.classes),
            "parameters": info.parameters,
            "size_bytes": info.size_bytes,
            "metrics": dict(ModelFacts(self.subject, info).metrics),
            "config": info.config,
        }

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        info = self.info
        whole = dict(ModelFacts(self.subject, info).rows())
        kept = [(key, whole[key]) for key in ("trained", "held out") if key in whole]
        return [
            ("kind", f"classifier of {info.spec.modality}s"),
            *((key, whole[key]) for key in ("path", "fingerprint", "made of", "size")),
            ("classes", ", ".join(info.classes)),
            *kept,
        ]
