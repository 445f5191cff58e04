"""The model's card: the README.md beside the weights, written by the run that made them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqtok import atomic
from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec
from vqtok.plots.curves import draw
from vqtok.training import log
from vqtok.training.report import curve, gallery
from vqtok.training.report.preview import PROTOCOL

CURVE = "curve.svg"

LABELS = {
    "psnr_db": ("PSNR", "{:.2f} dB"),
    "mel_distance": ("mel distance", "{:.3f}"),
    "accuracy": ("accuracy", "{:.1%}"),
    "nats_per_item": ("cross-entropy", "{:.3f} nats per image"),
    "nats_per_code": ("cross-entropy", "{:.4f} nats per code"),
    "bits_per_code": ("the same", "{:.3f} bits per code"),
    "unigram_bits_per_code": ("unigram entropy", "{:.3f} bits per code"),
    "bits_per_dimension": ("the same as the first", "{:.4f} bits per dimension"),
    "kl": ("KL divergence", "{:.3g} nats per position"),
    "active_units": ("active units", "{:.0f}"),
    "use": ("codebook use", "{:.1%}"),
    "perplexity": ("perplexity", "{:.0f}"),
}
"""Metric → how the card calls and writes it; others as they are."""

LEVELS = ("use", "perplexity")
"""Metrics that models of several levels have for each: "use_top"."""

NAMED = 20
"""Labels that are named before the rest is counted."""


def compose(output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
    """Draw the curves from the run's log into ``curve.svg``; the card's Markdown.

    Args:
        output: Model directory, with ``log.jsonl`` and ``previews/``.
        spec: Of its codes.
        facts: See ``render``.
    """
    curves, pictures = gather(output, facts)
    return render(output.resolve().name, spec, facts, pictures=pictures, curves=curves)


def gather(output: Path, facts: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Draw the curves from the run's log into ``curve.svg``.

    Returns:
        Whether there is something to draw, and the previews of the best model.
    """
    shown = curve.curves(log.records(output / "log.jsonl"))
    if shown:
        with atomic.file(output / CURVE) as temporary:
            temporary.write_text(draw(shown), encoding="utf-8")
    return bool(shown), gallery.of_step(output, facts.get("best_step") or facts["step"])


def render(
    name: str,
    spec: CodeSpec,
    facts: Mapping[str, Any],
    *,
    pictures: Sequence[str] = (),
    curves: bool = False,
) -> str:
    """Markdown of a card.

    Args:
        name: Of the model directory.
        spec: Of its codes.
        facts: ``training.json``: command, recipe, counts, metrics, curve, versions; and, if they
            are known, "data" (``inventory.py``), "notes" (sentences), "unreadable" (a
            count), "skipped" and "best_step" (whose model this is).
        pictures: Previews of the model, relative to its directory.
        curves: Whether ``curve.svg`` lies there.
    """
    metrics, recipe = facts["metrics"], facts["recipe"]
    quality = next((each for each in metrics if each in PROTOCOL), "")
    return joined(
        f"# {plain(name)}",
        plain(recipe["about"]),
        _use(name, spec, facts.get("data", {}).get("labels", ())),
        "## Codes",
        codes(spec),
        "## Held-out split of the training folder",
        table(metrics),
        f"{facts['held_out_files']} files that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them. {PROTOCOL.get(quality, '')}".rstrip(),
        _examples(pictures),
        "## Data",
        described(facts),
        *training(facts, quality=quality, curves=curves),
    )


def joined(*parts: str) -> str:
    """A card of its paragraphs, without the empty ones."""
    text = "\n\n".join(part for part in parts if part) + "\n"
    # File names may be any bytes; a card is UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def training(facts: Mapping[str, Any], *, quality: str, curves: bool) -> list[str]:
    """How the model came about."""
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
    told = f" --label {shlex.quote(labels[0])}" if labels else ""
    back = "CODES.safetensors"
    return f"```\nvqtok encode FILE -m {quoted}\nvqtok decode {back} -m {quoted}{told}\n```"


def codes(spec: CodeSpec) -> str:
    """The levels, and their rate."""
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


def table(metrics: Mapping[str, float]) -> str:
    """Metrics, those that the card knows first."""
    rows = ["| measure | value |", "| --- | --- |"]
    for key in _shown(metrics):
        if metrics[key] is not None:
            label, form = _label(key)
            rows.append(f"| {label} | {form.format(metrics[key])} |")
    return "\n".join(rows)


def _shown(metrics: Iterable[str]) -> list[str]:
    """Metrics in the card's order; means over levels only where there is but one."""
    keys = list(dict.fromkeys(metrics))
    other = [key for key in keys if key not in LABELS]
    apart = {_kind(key) for key in other if _kind(key) in LEVELS}
    return [*(key for key in LABELS if key in keys and key not in apart), *other]


def _kind(key: str) -> str:
    """Of the measure "use_top": "use"."""
    return key.partition("_")[0]


def _label(key: str) -> tuple[str, str]:
    """What the card calls a metric, and how it writes it."""
    if key not in LABELS and _kind(key) in LEVELS:
        label, form = LABELS[_kind(key)]
        return f"{label}, {key.partition('_')[2]}", form
    return LABELS.get(key, (key.replace("_", " "), "{:.4g}"))


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


def described(facts: Mapping[str, Any]) -> str:
    """What was trained on."""
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
    return "\n".join([*lines, *data_notes(facts)])


def data_notes(facts: Mapping[str, Any]) -> list[str]:
    """Labels, what was left out, and what else was noted: a line each."""
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
    """A few rows of the held-out curve, evenly spaced."""
    if len(curve) < 2:
        return ""
    every = max(1, len(curve) // 8)
    chosen = curve[::every]
    if chosen[-1] is not curve[-1]:
        chosen = [*chosen, curve[-1]]
    found = _shown(key for each in chosen for key in each)
    known = [key for key in found if key in LABELS or _kind(key) in LEVELS]
    columns = [key for key in known if key == quality] + [key for key in known if key != quality]
    heads = [_label(key)[0] for key in columns]
    rows = [f"| step | {' | '.join(heads)} |", "| --- " * (len(columns) + 1) + "|"]
    for each in chosen:
        cells = [_cell(key, each.get(key)) for key in columns]
        rows.append(f"| {each['step']} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    forms = {"use": "{:.1%}", "perplexity": "{:.0f}", "active": "{:.0f}"}
    return forms.get(_kind(key), "{:.3f}").format(value)


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    escaped = "".join(f"\\{each}" if each in "\\`*_[]<>|#" else each for each in text)
    return " ".join(escaped.split())
