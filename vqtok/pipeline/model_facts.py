"""Facts of models of every family, as JSON data and as rows for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.checkpoints import directory
from vqtok.codes import rates
from vqtok.errors import one_line
from vqtok.pipeline.models import PLURALS

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import Learned, ModelInfo
    from vqtok.codes.spec import CodeSpec, LevelSpec
    from vqtok.pipeline.facts import Rows


SHOWN = 24
"""Classes that are named before the rest is counted."""


@dataclass(frozen=True)
class ModelFacts:
    """A model directory: a tokenizer's, and what those of other families have in common with it."""

    subject: str
    info: ModelInfo

    @property
    def rate(self) -> float | None:
        """Nominal bits per pixel or kbit/s at full depth.

        None if it depends on the size, or there are no codes.
        """
        spec = self.info.spec
        if not spec.levels or any("n" in level.axes for level in spec.levels):
            return None
        return rates.nominal(spec)

    @property
    def rate_text(self) -> str:
        """The rate with its unit; a range where there is a depth to choose."""
        if not self.info.spec.levels:
            return "continuous"
        spec = self.info.spec
        if all("n" in level.axes for level in spec.levels):
            return f"{rates.bits_of(spec, ()):.4g} bits per {_subject(spec)}"
        if self.rate is None:
            return "depends on the size"
        unit = rates.unit(spec.modality).name
        if spec.depth is None or spec.depth == 1:
            return f"{rates.digits(self.rate)} {unit}"
        least = rates.nominal(spec, depth=1)
        return (
            f"{rates.digits(self.rate)} {unit} ({rates.digits(least)} at depth 1 of {spec.depth})"
        )

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What its training measured on the held-out split."""
        found = self.info.training.get("metrics", {})
        return found if isinstance(found, Mapping) else {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes or speakers that the decoder is conditioned on."""
        found = self.info.config.get("labels", ())
        return tuple(map(str, found)) if isinstance(found, list | tuple) else ()

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        info = self.info
        own = {
            "reads": list(info.reads),
            **info.spec.to_json(),
            "type": info.config.get("type"),
            "quantizer": _quantizer(info.config),
            "labels": list(self.labels),
            "decodes": self.info.decodes,
        }
        own["rate_hz"] = own.pop("rate")
        data = self._data("model", own)
        data |= {"family": info.foreign, "notes": list(info.notes)} if info.foreign else {}
        rate = None if self.rate is None else round(self.rate, 4)
        return data | {rates.unit(info.spec.modality).key: rate}

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        info = self.info
        made_of = [str(each) for each in (info.config.get("type"), _quantizer(info.config)) if each]
        made_of += [f"{name}: {kind}" for name, kind in _own(info.config).items()]
        rows = [
            ("kind", f"model for {PLURALS[info.spec.modality]}"),
            ("path", str(info.path)),
            *((("family", info.foreign),) if info.foreign else ()),
            ("fingerprint", info.fingerprint),
            *((("reads", f"codes of {', '.join(info.reads)} too"),) if info.reads else ()),
            ("made of", " + ".join(made_of)),
            ("size", self._size),
            *_levels(info),
            ("rate", self.rate_text),
            *((("decoder", "none: this model encodes only"),) if not info.decodes else ()),
        ]
        if info.spec.rate is not None:
            rows.append(("sampling", f"{info.spec.rate:.0f} Hz"))
        if self.labels:
            rows.append(("labels", ", ".join(map(one_line, self.labels))))
        rows += [("note", note) for note in info.notes]
        return [*rows, *self._training()]

    def _data(self, kind: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """JSON data of any family, with its own between."""
        info = self.info
        return {
            "subject": self.subject,
            "kind": kind,
            "name": info.name,
            "path": str(info.path),
            "fingerprint": info.fingerprint,
            **own,
            "parameters": info.parameters,
            "size_bytes": info.size_bytes,
            "metrics": dict(self.metrics),
            "config": info.config,
        }

    @property
    def _size(self) -> str:
        info = self.info
        return f"{info.parameters / 1e6:.2f} M parameters, {info.size_bytes / 1e6:.1f} MB"

    def _training(self) -> Rows:
        """How it was trained, and what was measured, as far as that is known."""
        rows = []
        if "step" in self.info.training:
            rows.append(("trained", _trained(self.info.training)))
        if self.metrics:
            values = ", ".join(f"{key} {_number(value)}" for key, value in self.metrics.items())
            rows.append(("held out", f"{values} ({_held_out(self.info.training)})"))
        return rows


@dataclass(frozen=True)
class PriorFacts(ModelFacts):
    """The directory of a prior."""

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
        own = {
            "tokenizer": {"name": learned.tokenizer, "fingerprint": learned.fingerprint},
            **spec,
            "extent": list(learned.extent),
            "codes": self.codes,
            "type": info.config.get("type"),
            "classes": list(info.classes),
        }
        own["rate_hz"] = own.pop("rate")
        return self._data("prior", own)

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        info, learned = self.info, self.learned
        found = directory.find(learned.fingerprint, name=learned.tokenizer)
        here = str(found.path) if found is not None else "not here: samples stay codes"
        rows = [
            ("kind", f"prior of {info.spec.modality} codes"),
            ("path", str(info.path)),
            ("fingerprint", info.fingerprint),
            ("tokenizer", f"{learned.tokenizer or 'unknown'} ({learned.fingerprint}), {here}"),
            ("made of", str(info.config.get("type"))),
            ("size", self._size),
            ("samples", f"{self._extent()}, {self.codes} codes"),
        ]
        if info.classes:
            rest = len(info.classes) - SHOWN
            more = f" and {rest} more" if rest > 0 else ""
            rows.append(("classes", ", ".join(map(one_line, info.classes[:SHOWN])) + more))
        return [*rows, *self._training()]

    def _extent(self) -> str:
        extent, rate = self.learned.extent, self.info.spec.rate
        if rate is not None and len(extent) == 1:
            return f"{extent[0] / rate:.2f} s"
        return f"{' × '.join(str(size) for size in extent)} pixels"


@dataclass(frozen=True)
class ClassifierFacts(ModelFacts):
    """The directory of a classifier."""

    @property
    def rate_text(self) -> str:
        """What stands where a tokenizer has its rate."""
        return f"classifier, {len(self.info.classes)} classes"

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        info = self.info
        own = {
            "modality": info.spec.modality,
            "type": info.config.get("type"),
            "classes": list(info.classes),
        }
        return self._data("classifier", own)

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        info = self.info
        return [
            ("kind", f"classifier of {info.spec.modality}s"),
            ("path", str(info.path)),
            ("fingerprint", info.fingerprint),
            ("made of", str(info.config.get("type"))),
            ("size", self._size),
            ("classes", ", ".join(map(one_line, info.classes))),
            *self._training(),
        ]


def facts_of(subject: str, info: ModelInfo) -> ModelFacts:
    """Facts of a model of any family."""
    if info.learned is not None:
        return PriorFacts(subject, info, info.learned)
    if info.family == "classifiers":
        return ClassifierFacts(subject, info)
    return ModelFacts(subject, info)


def _held_out(training: Mapping[str, Any]) -> str:
    """Say which files figures are of that training measured."""
    recipe = training.get("recipe")
    plan = recipe.get("train") if isinstance(recipe, Mapping) else None
    most = plan.get("holdout_items") if isinstance(plan, Mapping) else None
    count = training.get("held_out_files")
    if not isinstance(count, int) or not isinstance(most, int):
        return "by its training, on a part of its own data"
    some = f"{most} of the {count}" if most < count else f"the {count}"
    return f"by its training, on {some} held out of its own data"


def _levels(info: ModelInfo) -> Rows:
    if info.spec.levels:
        return [(level.name, _level(level, info.spec)) for level in info.spec.levels]
    size = info.config.get("latent")
    numbers = f": {size} numbers per position" if isinstance(size, int) else ""
    return [("codes", f"none, the latents are continuous{numbers}")]


def _level(level: LevelSpec, spec: CodeSpec) -> str:
    if "n" in level.axes:
        return f"{level.codebook_size} entries, {level.depth} codes per {_subject(spec)}"
    unit = "samples" if level.axes[-1] == "t" and len(level.stride) == 1 else "pixels"
    stride = "×".join(str(step) for step in level.stride)
    stack = f"{level.depth} × " if "q" in level.axes else ""
    positions = "one position" if level.steps == 1 else f"{level.steps} positions"
    return f"{stack}{level.codebook_size} entries, {positions} per {stride} {unit}"


def _subject(spec: CodeSpec) -> str:
    return "recording" if spec.modality == "audio" else spec.modality


def _quantizer(config: Mapping[str, Any]) -> Any:
    found = config.get("quantizer")
    return found.get("type") if isinstance(found, Mapping) else None


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """Quantizers that levels have of their own, by level."""
    found = config.get("quantizers")
    levels = found if isinstance(found, Mapping) else {}
    return {
        name: each.get("type") for name, each in sorted(levels.items()) if isinstance(each, Mapping)
    }


def _trained(training: Mapping[str, Any]) -> str:
    parts = [f"{training['step']} steps"]
    elapsed = training.get("elapsed_s")
    if isinstance(elapsed, int | float):
        parts.append(f"{elapsed / 60:.0f} minutes")
    if "files" in training:
        parts.append(f"{training['files']} files")
    return ", ".join(parts)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
