"""Every method of ``quantizers/`` in one network on CIFAR-10, at 9 bits per code.

    python benchmarks/quantizers.py --data cifar10/train --test cifar10/test --out runs
    python benchmarks/quantizers.py … --only vq-ema,plain --seeds 0

Each row is a run of ``vqtok train`` with the command that is printed, or of ``plain_loop.py``: the
same network around vector-quantize-pytorch. It ends up in ``--out``; what is there already is not
run again, and a run that was killed goes on. The table is made of all rows in ``--out``, so that it
can be filled part by part. The network, 10 000 steps of 32 images, 512 codes of dimension 64 by
moving averages and Adam at 3e-4 are those of Sonnet's notebook (google-deepmind/sonnet,
examples/vqvae_example.ipynb), whose figures on the whole CIFAR-10 are an NMSE of 0.056 and a
perplexity of 320 to 330.

Measured on all test images, in evaluation: no sampling, float32. NMSE is the mean squared error of
all pixels, not rounded, over the variance of the training pixels; PSNR is of all pixels, rounded to
uint8. "use" and "perplexity" are those of the codes of all test images, "per batch" is the mean
over batches of 32, 2048 codes each, which is how Sonnet counts. bits/pixel is log2 K over the
pixels of a code, "entropy" log2 of the perplexity; for the VAE both are its KL divergence. "loss"
is the quantizer's, part by part, each with its weight; "KL" is without weight, in nats per code.
"active" counts dimensions whose (mean) latent varies by more than 0.01 over positions and images
(arXiv:1509.00519, section 5.2): of a VAE, the others have collapsed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scoring import centres, images_of, reconstruct, scores, variance

ROOT = Path(__file__).resolve().parents[1]
TYPE = "model.quantizer.type=quantizers/"
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ae": ("no quantizer (AE)", (f"{TYPE}identity",)),
    "vae": ("Gaussian (VAE)", (f"{TYPE}gaussian",)),
    "vae-few": ("Gaussian (VAE), KL x50", (f"{TYPE}gaussian", "model.quantizer.kl=0.005")),
    "gumbel": ("Gumbel-softmax (dVAE)", (f"{TYPE}gumbel", "model.quantizer.codebook_size=512")),
    "vq": ("VQ, codebook loss", ("model.quantizer.ema=false",)),
    "vq-ema": ("VQ, moving averages", ()),
    "simvq": ("SimVQ", (f"{TYPE}simvq", "model.quantizer.codebook_size=512")),
    "fsq": ("FSQ (8, 8, 8)", (f"{TYPE}fsq", "model.quantizer.levels=[8,8,8]")),
    "lfq": ("LFQ, 9 bits", (f"{TYPE}lfq", "model.quantizer.bits=9")),
    "bsq": ("BSQ, 9 bits", (f"{TYPE}bsq", "model.quantizer.bits=9")),
    "plain": ("plain loop, vector-quantize-pytorch", ()),
}
"""Name → (title, changes of the preset ``vqvae-2017``)."""

ACTIVE = 0.01
"""Least variance of an active unit (arXiv:1509.00519, section 5.2)."""

BARS = {"nmse": 0.056, "batch_perplexity": 320.0}
"""Of vq-ema, on held-out images."""

COLUMNS = {
    "bits_per_pixel": ("bits/pixel", 3),
    "entropy_bpp": ("entropy", 3),
    "nmse": ("NMSE", 4),
    "psnr_db": ("PSNR dB", 2),
    "use": ("use", 3),
    "perplexity": ("perplexity", 1),
    "batch_perplexity": ("per batch", 1),
    "kl_nats": ("KL", 2),
    "active": ("active", 0),
}


def main() -> int:
    """Parse, run what is missing, print the table and write it; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 training images")
    parser.add_argument("--test", type=Path, required=True, help="CIFAR-10 test images")
    parser.add_argument("--out", type=Path, default=Path("/tmp/vqtok-quantizers"))
    parser.add_argument("--only", default=",".join(METHODS), help="methods, by commas")
    parser.add_argument("--seeds", default="0", help="by commas")
    parser.add_argument("--steps", type=int, help="a shorter run than the preset's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--table", type=Path, help="write the table there, as Markdown")
    chosen = parser.parse_args()
    names = chosen.only.split(",")
    if unknown := [name for name in names if name not in METHODS]:
        parser.error(f"--only: {unknown[0]} is not among {', '.join(METHODS)}")
    torch.set_num_threads(chosen.threads)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for seed in map(int, chosen.seeds.split(",")):
        for name in names:
            row(name, seed, chosen)
    table = render(chosen.out)
    print(f"\n{table}")
    if chosen.table is not None:
        chosen.table.write_text(table, encoding="utf-8")
    return verdict(rows_of(chosen.out))


def row(name: str, seed: int, chosen: argparse.Namespace) -> None:
    """Train and measure one row, unless it is there."""
    result = chosen.out / f"{name}-{seed}.json"
    if result.exists():
        return
    model = chosen.out / f"{name}-{seed}"
    command = plain_command(seed, chosen) if name == "plain" else train_command(name, seed, chosen)
    print(f"\n$ {shlex.join(command)}", flush=True)
    if name == "plain":
        raw = result.with_suffix(".part")
        launch([sys.executable, str(ROOT / command[1]), *command[2:], "--json", str(raw)])
        found = json.loads(raw.read_text())
        found |= rates(found, size=512)
        raw.unlink()
    else:
        again = ["--resume"] if (model / "resume.safetensors").exists() else []
        launch([sys.executable, "-m", *command, "--quiet", *again])
        found = measure(model, chosen)
    found |= {"method": name, "seed": seed, "command": shown(command, chosen)}
    temporary = result.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    temporary.replace(result)
    print(f"{name}-{seed}: NMSE {found['nmse']:.4f}, {found['minutes']:.1f} minutes", flush=True)


def train_command(name: str, seed: int, chosen: argparse.Namespace) -> list[str]:
    """What a user types for a row."""
    edits = [text for edit in METHODS[name][1] for text in ("--set", edit)]
    steps = ["--steps", str(chosen.steps)] if chosen.steps else []
    return [
        *("vqtok", "train", "--data", str(chosen.data), "-o", str(chosen.out / f"{name}-{seed}")),
        *("--preset", "vqvae-2017", "--seed", str(seed), "--threads", str(chosen.threads)),
        *steps,
        *edits,
    ]


def plain_command(seed: int, chosen: argparse.Namespace) -> list[str]:
    """The same for the plain loop."""
    steps = ["--steps", str(chosen.steps)] if chosen.steps else []
    return [
        *("python", "benchmarks/plain_loop.py", "--data", str(chosen.data)),
        *("--test", str(chosen.test), "--seed", str(seed), "--threads", str(chosen.threads)),
        *steps,
    ]


def shown(command: Sequence[str], chosen: argparse.Namespace) -> str:
    """A command as the table has it: with the ends of paths alone."""
    short = {str(path): "/".join(path.parts[-2:]) for path in (chosen.data, chosen.test)}
    runs = f"{chosen.out}/"
    return shlex.join(short.get(part, part.replace(runs, "runs/")) for part in command)


def launch(command: Sequence[str]) -> None:
    """Run a command with this checkout's package; end if it fails."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}: {shlex.join(command)}")


def measure(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything about a trained model, on the test images."""
    facts = json.loads((folder / "training.json").read_text())
    window = int(facts["recipe"]["train"]["window"])
    pixels = centres(images_of(chosen.test), window)
    made = reconstruct(folder, pixels)
    size = made.model.quantizer.codebook_size
    spread = variance(centres(images_of(chosen.data), window))
    found: dict[str, Any] = scores(
        made.decoded, pixels, made.codes, size=size, spread=spread
    )._asdict()
    found["loss"] = made.terms
    found["active"] = int((made.latents.double().var(dim=(0, 2, 3)) > ACTIVE).sum())
    weight = getattr(made.model.quantizer.config, "kl", 0.0)
    found["kl_nats"] = made.terms["kl"] / weight if weight else None
    found |= rates(found, size=size)
    found |= {"steps": facts["step"], "minutes": facts["elapsed_s"] / 60}
    found["precision"] = facts["precision"]
    return found


def rates(found: dict[str, Any], *, size: int) -> dict[str, Any]:
    """Bits per pixel, nominal and by entropy, at 16 pixels per code."""
    if size:
        entropy = math.log2(max(1.0, found["perplexity"]))
        return {"bits_per_pixel": math.log2(size) / 16, "entropy_bpp": entropy / 16}
    nats = found["kl_nats"]
    rate = None if nats is None else nats / math.log(2) / 16
    empty = dict.fromkeys(("use", "perplexity", "batch_perplexity"))
    return {"bits_per_pixel": rate, "entropy_bpp": rate, **empty}


def rows_of(out: Path) -> list[dict[str, Any]]:
    """All finished rows, in the order of ``METHODS``, then of seeds."""
    names = list(METHODS)
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*-*.json"))]
    return sorted(rows, key=lambda each: (names.index(each["method"]), each["seed"]))


def render(out: Path) -> str:
    """The table, its explanation and its commands, as Markdown."""
    rows = rows_of(out)
    explanation = (__doc__ or "").split("\n\n", 2)[2].strip()
    head = ["method", "seed", *(title for title, _ in COLUMNS.values()), "loss"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for each in rows:
        loss = ", ".join(f"{key} {value:.2g}" for key, value in each.get("loss", {}).items())
        cells = [METHODS[each["method"]][0], str(each["seed"])]
        cells += [cell(each.get(key), digits) for key, (_, digits) in COLUMNS.items()]
        lines.append("| " + " | ".join([*cells, loss or "–"]) + " |")
    commands = [each["command"] for each in rows]
    title = "# Quantizers in one network on CIFAR-10\n\nMade by `benchmarks/quantizers.py`.\n"
    parts = [title, explanation, "", *lines, "", "## Commands", "", "```", *commands, "```"]
    return "\n".join(parts) + "\n"


def cell(value: float | None, digits: int) -> str:
    """A number, or a dash where a method has none."""
    return "–" if value is None else f"{value:.{digits}f}"


def verdict(rows: Sequence[dict[str, Any]]) -> int:
    """Print how vq-ema stands to its bars and to the plain loop; 1 if it misses any."""
    ours = [each for each in rows if each["method"] == "vq-ema"]
    peers = [each for each in rows if each["method"] == "plain"]
    missed = []
    if not ours:
        print("\nno row of vq-ema, which the bars are for")
        return 0
    for each in ours:
        where = f"vq-ema, seed {each['seed']}"
        if each["nmse"] > BARS["nmse"]:
            missed.append(f"{where}: NMSE {each['nmse']:.4f}, bar {BARS['nmse']}")
        if each["batch_perplexity"] < BARS["batch_perplexity"]:
            missed.append(f"{where}: perplexity {each['batch_perplexity']:.0f} per batch, bar 320")
    if peers:
        mean, other = (statistics.fmean(e["nmse"] for e in group) for group in (ours, peers))
        print(f"\nNMSE of vq-ema {mean:.4f}, of the plain loop {other:.4f}")
        if mean > other:
            missed.append(f"vq-ema: NMSE {mean:.4f}, the plain loop has {other:.4f}")
    print("\nbars missed:" if missed else "\nall bars met", *missed, sep="\n  ")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
