"""What a run says while it goes on: events for whoever watches, lines for ``log.jsonl``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vqtok.config import to_line


@dataclass(frozen=True)
class Started:
    """The run is set up; training begins."""

    modality: str
    files: int
    held_out: int
    parameters: int
    device: str
    precision: str
    first_step: int
    steps: int


@dataclass(frozen=True)
class Progress:
    """The state after a step.

    Attributes:
        step: Steps done.
        losses: Term → weighted value at this step; "quantizer" is the quantizer's own.
        use: Share of the codebook used in the recent steps, 0 … 1.
        perplexity: exp(entropy) of the recent codes, per codebook.
        items_per_s: Speed over the recent steps.
        left_s: Estimated seconds to the end.
        skipped: Steps skipped because the loss or a gradient was not finite.
    """

    step: int
    losses: dict[str, float]
    use: float
    perplexity: float
    learning_rate: float
    items_per_s: float
    left_s: float
    skipped: int


@dataclass(frozen=True)
class Evaluated:
    """Measured on the held-out split, then saved.

    Attributes:
        metrics: "psnr_db" for images, "mel_distance" for audio, and the codebook's "use" and
            "perplexity".
    """

    step: int
    elapsed_s: float
    metrics: dict[str, float]
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The last event: the directory holds a whole model.

    Attributes:
        reason: "steps", "minutes" or "stopped".
    """

    output: Path
    step: int
    elapsed_s: float
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


Event = Started | Progress | Evaluated | Finished


class Journal:
    """Appends to ``log.jsonl``; a resumed run first drops the lines after its first step."""

    def __init__(self, path: Path, *, first_step: int) -> None:
        self.path = path
        kept = [line for line in _lines(path) if line["step"] <= first_step]
        self.evaluations = [line for line in kept if line["event"] == "evaluated"]
        path.write_text("".join(_line(each) for each in kept if first_step), encoding="utf-8")
        if not first_step:
            self.evaluations = []

    def write(self, event: Progress | Evaluated) -> None:
        """Add one event as one line, on disk at once."""
        record = {"event": type(event).__name__.lower(), **asdict(event)}
        if isinstance(event, Evaluated):
            self.evaluations.append(record)
        # Opened anew each time: saving a model may put another directory in this one's place.
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(record))


def _line(record: dict[str, Any]) -> str:
    return to_line(record) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    out = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # the line that a kill cut off
            break
        if not _is_event(line):
            break
        out.append(line)
    return out


def _is_event(line: object) -> bool:
    """Whether this is a record as ``Journal.write`` leaves it, as far as it is read again."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    if not isinstance(line.get("event"), str):
        return False
    return line["event"] != "evaluated" or isinstance(line.get("metrics"), dict)
