"""Cards of models: the README.md beside the weights, written by the run that made them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vqtok import atomic
from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec
from vqtok.metrics import registry
from vqtok.metrics.metric import Metric
from vqtok.plots.curves import draw
from vqtok.training import log
from vqtok.training.report import curve, gallery, samples
from vqtok.training.report.preview import PROTOCOL

CURVE = "curve.svg"

NAMED = 20
"""Labels that are named before the rest is counted."""


class Card(Protocol):
    """Writes the Markdown of a model's card."""

    def __call__(
        self,
        name: str,
        spec: CodeSpec,
        facts: Mapping[str, Any],
        *,
        pictures: Sequence[str] = (),
        curves: bool = False,
    ) -> str:
        """Write a card.

        Args:
            name: Of the model directory.
            spec: Of its codes.
            facts: ``training.json``: command, recipe, counts, metrics, curve, versions; and, if
                they are known, "data" (``Task.describe_data``), "notes" (sentences), "unreadable"
                (a count), "skipped" and "best_step" (whose model this is).
            pictures: Previews of the model, relative to its directory.
            curves: Whether ``curve.svg`` lies there.
        """
        ...


def compose(card: Card, output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
    """Draw the curves from the run's log into ``curve.svg``; write the card.

    Args:
        card: Of the kind of model.
        output: Model directory, with ``log.jsonl`` and ``previews/``.
        spec: Of its codes.
        facts: See ``Card``.
    """
    shown = curve.curves(log.records(output / "log.jsonl"))
    if shown:
        with atomic.file(output / CURVE) as temporary:
            temporary.write_text(draw(shown), encoding="utf-8")
    pictures = gallery.of_step(output, facts.get("best_step") or facts["step"])
    return card(output.resolve().name, spec, facts, pictures=pictures, curves=bool(shown))


def tokenizer_card(
    name: str,
    spec: CodeSpec,
    facts: Mapping[str, Any],
    *,
    pictures: Sequence[str] = (),
    curves: bool = False,
) -> str:
    """Write a tokenizer's card; see ``Card``."""
    metrics, recipe = facts["metrics"], facts["recipe"]
    quality = next((each for each in metrics if each in PROTOCOL), "")
    return _joined(
        f"# {plain(name)}",
        plain(recipe["about"]),
        _use(name, spec, facts.get("data", {}).get("labels", ())),
        "## Codes",
        _codes(spec),
        "## Held-out split of the training folder",
        _table(metrics, quality),
        f"{facts['held_out_files']} files that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them. {PROTOCOL.get(quality, '')}".rstrip(),
        _examples(pictures),
        "## Data",
        _media(facts),
        *_training(facts, quality=quality, curves=curves),
    )


def prior_card(
    name: str,
    spec: CodeSpec,
    facts: Mapping[str, Any],
    *,
    pictures: Sequence[str] = (),
    curves: bool = False,
) -> str:
    """Write a prior's card; see ``Card``."""
    data: Mapping[str, Any] = facts["data"]
    recipe, quality = facts["recipe"], "nats_per_code"
    suffix = "wav" if spec.modality == "audio" else "png"
    condition = f" --class {shlex.quote(data['labels'][0])}" if data["labels"] else ""
    return _joined(
        f"# {plain(name)}",
        plain(recipe["about"]),
        f"```\nvqtok sample -m {shlex.quote(name)} --count 1{condition} -o new.{suffix}\n```",
        "## Codes",
        _codes(spec),
        f"- of the tokenizer {plain(data['tokenizer'] or 'unknown')}, fingerprint "
        f"`{data['fingerprint'] or 'unknown'}`, without which samples stay codes",
        "## Held-out split of the training data",
        _table(facts["metrics"], quality),
        f"{facts['held_out_files']} items that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them. {samples.PROTOCOL}",
        _samples(pictures, classes=data["labels"]),
        "## Data",
        _code_items(facts),
        *_training(facts, quality=quality, curves=curves),
    )


def classifier_card(
    name: str,
    spec: CodeSpec,
    facts: Mapping[str, Any],
    *,
    pictures: Sequence[str] = (),
    curves: bool = False,
) -> str:
    """Write a classifier's card; see ``Card``."""
    recipe, quality = facts["recipe"], "accuracy"
    return _joined(
        f"# {plain(name)}",
        plain(recipe["about"]),
        f"```\nvqtok eval PHOTOS/ -m {shlex.quote(name)}\n```",
        "## Held-out split of the training folder",
        _table(facts["metrics"], quality),
        f"{facts['held_out_files']} images that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them, each whole.",
        "## Data",
        _media(facts),
        *_training(facts, quality=quality, curves=curves),
    )


def _joined(*parts: str) -> str:
    """Join paragraphs, without the empty ones."""
    text = "\n\n".join(part for part in parts if part) + "\n"
    # File names may be any bytes; a card is UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def _training(facts: Mapping[str, Any], *, quality: str, curves: bool) -> list[str]:
    """Tell how the model came about."""
    return [
        "## Training",
        f"```\n{facts['command']}\n```",
        _run(facts),
        f"![Loss and held-out metric over steps]({CURVE})" if curves else "",
        _curve(facts["curve"], quality),
    ]


def _use(name: str, spec: CodeSpec, labels: Sequence[str]) -> str:
    quoted = shlex.quote(name)
    if not spec.levels:
        return (
            "This model is continuous: it has no codes. In Python, "
            f"`vqtok.load({name!r})(x).x` reconstructs a batch."
        )
    label = f" --label {shlex.quote(labels[0])}" if labels else ""
    back = "CODES.safetensors"
    return f"```\nvqtok encode FILE -m {quoted}\nvqtok decode {back} -m {quoted}{label}\n```"


def _codes(spec: CodeSpec) -> str:
    """List the levels, and their rate."""
    if not spec.levels:
        return "None: the latents are real numbers."
    lines = []
    for level in spec.levels:
        stride = "x".join(str(step) for step in level.stride)
        stack = f", {level.depth} stacked" if "q" in level.axes else ""
        lines.append(
            f"- `{level.name}` ({', '.join(level.axes)}): {level.codebook_size} entries{stack}, "
            f"one position per {stride} {'pixels' if spec.modality == 'image' else 'samples'}"
        )
    nominal = rates.nominal(spec)
    if spec.modality == "image":
        lines.append(f"- {nominal:.3f} bits per pixel, any image size")
    else:
        lines.append(f"- {nominal:.2f} kbit/s at {spec.rate:.0f} Hz mono, any length")
    return "\n".join(lines)


def _table(metrics: Mapping[str, float], quality: str) -> str:
    rows = ["| measure | value |", "| --- | --- |"]
    for key in _ordered(metrics, quality):
        if metrics[key] is not None:
            metric = _metric(key)
            rows.append(f"| {metric.label or metric.title} | {metric.text(metrics[key])} |")
    return "\n".join(rows)


def _ordered(metrics: Iterable[str], quality: str) -> list[str]:
    """Put the metric of quality first; leave means out where each level has its own value."""
    keys = list(dict.fromkeys(metrics))
    known = [*dict.fromkeys([quality, *registry.ALL])]
    means = {key.partition("_")[0] for key in keys if key not in known}
    return [
        *(key for key in known if key in keys and key not in means),
        *(key for key in keys if key not in known),
    ]


def _metric(key: str) -> Metric:
    return registry.find(key) or Metric(key, key.replace("_", " "), form=".4g")


def _examples(pictures: Sequence[str]) -> str:
    images = [each for each in pictures if each.endswith(".png")]
    if images:
        return f"Originals above, reconstructions below:\n\n![Reconstructions]({images[0]})"
    rows = ["| original | reconstruction |", "| --- | --- |"]
    for each in pictures:
        folder, _, file = each.rpartition("/")
        clip = file.split("-", 2)[2]  # step-0001000-1-name.wav
        rows.append(f"| [{clip}]({folder}/original-{clip}) | [{file}]({each}) |")
    return "\n".join(rows) if len(rows) > 2 else ""


def _samples(pictures: Sequence[str], *, classes: Sequence[str]) -> str:
    if not pictures:
        return ""
    turn = ", one class after the other" if classes else ""
    if pictures[0].endswith(".png"):
        return f"Samples, not chosen{turn}:\n\n![Samples]({pictures[0]})"
    links = "\n".join(f"- [{each.rpartition('/')[2]}]({each})" for each in pictures)
    return f"Samples, not chosen{turn}:\n\n{links}"


def _media(facts: Mapping[str, Any]) -> str:
    """Describe the files that were trained on."""
    data: Mapping[str, Any] = facts.get("data") or {}
    what = {"image": "images", "audio": "recordings"}.get(data.get("kind", ""), "files")
    lines = [f"- {facts['files']} {what} to train on, {facts['held_out_files']} held out"]
    if "median" in data:
        small, middle, large = (
            f"{data[key][1]}x{data[key][0]}" for key in ("smallest", "median", "largest")
        )
        lines.append(f"- sizes {small} to {large} pixels, the median {middle}")
    if "hours" in data:
        about = "about " if data["probed"] < data["files"] else ""
        rates = ", ".join(str(rate) for rate in data["rates"])
        lines.append(
            f"- {about}{_hours(data['hours'])}, {data['shortest_s']:.1f} to "
            f"{data['longest_s']:.1f} s each, the median {data['median_s']:.1f} s; {rates} Hz"
        )
    return "\n".join([*lines, *_notes(facts)])


def _code_items(facts: Mapping[str, Any]) -> str:
    data: Mapping[str, Any] = facts["data"]
    extent = "x".join(str(size) for size in reversed(data["extent"]))
    unit = "samples" if len(data["extent"]) == 1 else "pixels"
    lines = [
        f"- {facts['files']} items to train on, {data['codes']} codes; "
        f"{facts['held_out_files']} items held out",
        f"- windows of {extent} {unit}, {data['window']} codes",
    ]
    if data["smaller"]:
        lines.append(f"- {data['smaller']} items smaller than that, left out")
    return "\n".join([*lines, *_notes(facts)])


def _notes(facts: Mapping[str, Any]) -> list[str]:
    """List labels, what was left out, and what else was noted: a line each."""
    data: Mapping[str, Any] = facts.get("data") or {}
    lines = []
    if data.get("labels"):
        named = ", ".join(plain(label) for label in data["labels"][:NAMED])
        rest = len(data["labels"]) - NAMED
        more = f" and {rest} more" if rest > 0 else ""
        lines.append(f"- {len(data['labels'])} labels: {named}{more}")
    if facts.get("unreadable"):
        lines.append(f"- left out: {facts['unreadable']} that cannot be read (`{log.UNREADABLE}`)")
    lines += [f"- {plain(note)}" for note in facts.get("notes", ())]
    return lines


def _run(facts: Mapping[str, Any]) -> str:
    train = facts["recipe"]["train"]
    skipped = facts.get("skipped") or 0
    text = (
        f"{facts['files']} files, {facts['step']} steps of "
        f"{train['batch'] * train.get('accumulate', 1)} windows, "
        f"{facts['elapsed_s'] / 60:.0f} minutes on {facts['device']} in {facts['precision']}, "
        f"torch {facts['versions']['torch']}, vqtok {facts['versions']['vqtok']}. "
    )
    if skipped:
        text += f"{skipped} steps were skipped, as they were not finite. "
    if facts.get("best_step"):
        why = "the last one" if facts.get("best_by") == "last" else "the best one"
        text += f"This is the model of step {facts['best_step']}, {why}. "
    return text + "The whole recipe is in `training.json`."


def _curve(curve: list[dict[str, float]], quality: str) -> str:
    """Choose a few rows of the held-out curve, evenly spaced."""
    if len(curve) < 2:
        return ""
    chosen = curve[:: max(1, len(curve) // 8)]
    if chosen[-1] is not curve[-1]:
        chosen = [*chosen, curve[-1]]
    found = _ordered((key for each in chosen for key in each if key != "step"), quality)
    columns = [metric for key in found if (metric := registry.find(key)) is not None]
    heads = [metric.label or metric.heading for metric in columns]
    rows = [f"| step | {' | '.join(heads)} |", "| --- " * (len(columns) + 1) + "|"]
    for each in chosen:
        cells = [metric.format(each.get(metric.key)) for metric in columns]
        rows.append(f"| {each['step']} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def plain(text: str) -> str:
    """Escape text, so that Markdown shows it as it is."""
    escaped = "".join(f"\\{each}" if each in "\\`*_[]<>|#" else each for each in text)
    return " ".join(escaped.split())
