"""The model's card: the README.md beside the weights, written by the run that made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqtok.codes.spec import CodeSpec
from vqtok.training.preview import PROTOCOL


def render(name: str, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
    """Markdown of a card.

    Args:
        name: Of the model directory.
        spec: Of its codes.
        facts: ``training.json``: command, recipe, counts, metrics, curve, versions.
    """
    metrics, recipe = facts["metrics"], facts["recipe"]
    quality = "psnr_db" if spec.modality == "image" else "mel_distance"
    parts = [
        f"# {name}",
        recipe["about"],
        "## Codes",
        _codes(spec),
        "## Held-out split of the training folder",
        _table(metrics),
        f"{facts['held_out_files']} files that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them. {PROTOCOL[quality]}",
        "## Training",
        f"```\n{facts['command']}\n```",
        f"{facts['files']} files, {facts['step']} steps of {recipe['train']['batch']} windows, "
        f"{facts['elapsed_s'] / 60:.0f} minutes on {facts['device']} in {facts['precision']}, "
        f"torch {facts['versions']['torch']}, vqtok {facts['versions']['vqtok']}. "
        "The whole recipe is in `training.json`.",
        _curve(facts["curve"], quality),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _codes(spec: CodeSpec) -> str:
    if not spec.levels:
        return "None: an autoencoder, its latents are continuous."
    lines = []
    for level in spec.levels:
        stride = "x".join(str(step) for step in level.stride)
        stack = f", {level.depth} stacked" if "q" in level.axes else ""
        lines.append(
            f"- `{level.name}` ({', '.join(level.axes)}): {level.codebook_size} entries{stack}, "
            f"one position per {stride} {'pixels' if spec.modality == 'image' else 'samples'}"
        )
    rate = spec.nominal_rate()
    if spec.modality == "image":
        lines.append(f"- {rate:.3f} bits per pixel, any image size")
    else:
        lines.append(f"- {rate / 1000:.2f} kbit/s at {spec.rate:.0f} Hz mono, any length")
    return "\n".join(lines)


def _table(metrics: Mapping[str, float]) -> str:
    rows = ["| measure | value |", "| --- | --- |"]
    labels = {
        "psnr_db": ("PSNR", "{:.2f} dB"),
        "mel_distance": ("mel distance", "{:.3f}"),
        "use": ("codebook use", "{:.1%}"),
        "perplexity": ("perplexity", "{:.0f}"),
        "kl": ("KL", "{:.1f} nats per position"),
        "active_units": ("active units", "{:.0f}"),
    }
    for key, (label, form) in labels.items():
        if key in metrics:
            rows.append(f"| {label} | {form.format(metrics[key])} |")
    return "\n".join(rows)


def _curve(curve: list[dict[str, float]], quality: str) -> str:
    """A few rows of the held-out curve, evenly spaced."""
    if len(curve) < 2:
        return ""
    every = max(1, len(curve) // 8)
    chosen = curve[::every]
    if chosen[-1] is not curve[-1]:
        chosen = [*chosen, curve[-1]]
    forms = {quality: "{:.3f}", "use": "{:.1%}", "perplexity": "{:.0f}", "kl": "{:.1f}"}
    shown = ["step", *(key for key in forms if key in chosen[-1])]
    rows = [f"| {' | '.join(shown)} |", f"|{' --- |' * len(shown)}"]
    for each in chosen:
        cells = [forms.get(key, "{}").format(each[key]) for key in shown]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
