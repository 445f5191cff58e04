"""Facts of a prior, as JSON data and as rows for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.checkpoints import directory
from vqtok.pipeline.classifier_facts import ClassifierFacts
from vqtok.pipeline.model_facts import ModelFacts

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import Learned, ModelInfo
    from vqtok.pipeline.facts import Rows

SHOWN = 24
"""Classes that are named before the rest is counted."""


@dataclass(frozen=True)
class PriorFacts:
    """The directory of a prior."""

    subject: str
    info: ModelInfo
    learned: Learned

    @property
    def rate_text(self) -> str:
        """What stands where a tokenizer has its rate."""
        return f"prior of {self.learned.tokenizer or self.learned.fingerprint}"

    @property
    def codes(self) -> int:
        """Of one sample of the usual extent."""
        depth = self.info.config.get("depth")
        stages = depth if isinstance(depth, int) else None
        return self.info.spec.tokens(self.learned.extent, depth=stages)

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        info, learned = self.info, self.learned
        spec = info.spec.to_json()
        del spec["fingerprint"]
        data = {
            "subject": self.subject,
            "kind": "prior",
            "name": info.name,
            "path": str(info.path),
            "fingerprint": info.fingerprint,
            "tokenizer": {"name": learned.tokenizer, "fingerprint": learned.fingerprint},
            **spec,
            "extent": list(learned.extent),
            "codes": self.codes,
            "type": info.config.get("type"),
            "classes": list(self.info.classes),
            "parameters": info.parameters,
            "size_bytes": info.size_bytes,
            "metrics": dict(self._facts.metrics),
            "config": info.config,
        }
        data["rate_hz"] = data.pop("rate")
        return data

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        info, learned = self.info, self.learned
        whole = {key: value for key, value in self._facts.rows() if key in ("trained", "held out")}
        found = directory.find(learned.fingerprint, name=learned.tokenizer)
        here = str(found.path) if found is not None else "not here: samples stay codes"
        rows = [
            ("kind", f"prior of {info.spec.modality} codes"),
            ("path", str(info.path)),
            ("fingerprint", info.fingerprint),
            ("tokenizer", f"{learned.tokenizer or 'unknown'} ({learned.fingerprint}), {here}"),
            ("made of", str(info.config.get("type"))),
            ("size", f"{info.parameters / 1e6:.2f} M parameters, {info.size_bytes / 1e6:.1f} MB"),
            ("samples", f"{self._extent()}, {self.codes} codes"),
        ]
        if self.info.classes:
            named = ", ".join(self.info.classes[:SHOWN])
            rest = len(self.info.classes) - SHOWN
            rows.append(("classes", named + (f" and {rest} more" if rest > 0 else "")))
        return [*rows, *whole.items()]

    def _extent(self) -> str:
        extent, rate = self.learned.extent, self.info.spec.rate
        if rate is not None and len(extent) == 1:
            return f"{extent[0] / rate:.2f} s"
        return f"{' × '.join(str(size) for size in extent)} pixels"

    @property
    def _facts(self) -> ModelFacts:
        return ModelFacts(self.subject, self.info)


AnyModel = ModelFacts | PriorFacts | ClassifierFacts


def facts_of(subject: str, info: ModelInfo) -> AnyModel:
    """Facts of a model of any kind."""
    if info.learned is not None:
        return PriorFacts(subject, info, info.learned)
    if info.family == "classifiers":
        return ClassifierFacts(subject, info)
    return ModelFacts(subject, info)
