"""Is the codebook used? Short runs of ``vqtok train`` with 8192 codes on crops of images.

    python benchmarks/use.py --data photos/train --test photos/test --out runs

Each row is a run with the command that is printed, and one of ``vqtok eval``. Rows end up in
``--out``; what is there already is not run again, and a run that was killed goes on. The network is
that of the preset ``image-f8`` made narrow, so that a run takes minutes on one CPU thread.

"training" is the share of all codes that occurred in a window of training steps at the end of the
run (100 steps of 32 crops: 205 thousand codes), "test" that over all test images, each coded whole
and once. Of ``rvq`` both are those of the first of four stages.

The row "hostile" has no bar: ``vq`` with 16384 entries on 200 images at ten times the learning
rate. It must come through with finite numbers, or say why not; what the run said is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
METHODS: dict[str, tuple[str, ...]] = {
    "vq": ("codebook_size=8192",),
    "simvq": ("codebook_size=8192",),
    "fsq": ("levels=[8,8,5,5,5]",),
    "rvq": ("codebook_size=8192", "depth=4"),
    "hostile": ("codebook_size=16384",),
}
"""Name → fields of its quantizer."""
HOSTILE = ("train.learning_rate=0.01",)
"""Of the row "hostile": ten times the preset's rate, twice the entries, and ``FEW`` images."""
FEW = 200
NETWORK = ("widths=[32,64]", "encoder_blocks=[1,1]", "decoder_blocks=[1,1]")
SCHEDULE = ("train.warmup=50", "train.learning_rate=0.002")
BAR = 0.95


def main() -> int:
    """Parse, run what is missing, print the table and write it; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="images to train on")
    parser.add_argument("--test", type=Path, required=True, help="other images, to measure on")
    parser.add_argument("--out", type=Path, default=Path("/tmp/vqtok-use"))
    parser.add_argument("--only", default=",".join(METHODS), help="methods, by commas")
    for flag, default in (("--steps", 800), ("--seed", 0), ("--threads", 1)):
        parser.add_argument(flag, type=int, default=default)
    parser.add_argument("--json", type=Path, help="write all rows there")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.only.split(",") if name not in METHODS]:
        parser.error(f"--only: {unknown[0]} is not among {', '.join(METHODS)}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.only.split(","):
        row(name, chosen)
    stored = [chosen.out / f"{name}.json" for name in METHODS]
    rows = [json.loads(path.read_text()) for path in stored if path.exists()]
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    print(f"\n{render(rows)}")
    for each in rows:
        print(*(f"{each['method']}: {text}" for text in each.get("said", ())), sep="\n", end="")
    judged = [each for each in rows if each["method"] != "hostile"]
    missed = [each["method"] for each in judged if each["training_use"] < BAR]
    print(f"\nbelow {BAR:.0%} in training: {', '.join(missed) or 'none'}")
    return bool(missed)


def row(name: str, chosen: argparse.Namespace) -> None:
    """Train and measure one row, unless it is there."""
    result = chosen.out / f"{name}.json"
    if result.exists():
        return
    model = chosen.out / name
    train = train_command(name, model, chosen)
    measure = ["vqtok", "eval", str(chosen.test), "-m", str(model), "--metrics", "psnr", "--json"]
    measure += ["--threads", str(chosen.threads)]
    print(f"\n$ {shlex.join(train)}", flush=True)
    again = ["--resume"] if (model / "resume.safetensors").exists() else []
    launch([*train, "--quiet", *again])
    print(f"$ {shlex.join(measure)}", flush=True)
    summary = json.loads(launch(measure).splitlines()[-1])
    found = {"method": name, "train": shlex.join(train), "eval": shlex.join(measure)}
    found |= training(model) | tested(summary)
    temporary = result.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    temporary.replace(result)


def train_command(name: str, model: Path, chosen: argparse.Namespace) -> list[str]:
    """What a user types for a row."""
    fields = [f"model.{each}" for each in NETWORK]
    fields += [f"model.quantizer.{each}" for each in METHODS[name]]
    data, method, schedule = str(chosen.data), name, SCHEDULE
    if name == "hostile":
        data, method, schedule = f"@{few(chosen)}", "vq", (*SCHEDULE, *HOSTILE)
    return [
        *("vqtok", "train", "--data", data, "-o", str(model), "--preset", "image-f8"),
        *("--quantizer", method, "--steps", str(chosen.steps), "--batch", "32"),
        *("--seed", str(chosen.seed), "--threads", str(chosen.threads)),
        *(text for field in (*fields, *schedule) for text in ("--set", field)),
    ]


def few(chosen: argparse.Namespace) -> Path:
    """A list of the first ``FEW`` images."""
    path: Path = chosen.out / "few.txt"
    files = (each for each in sorted(chosen.data.resolve().rglob("*")) if each.suffix != ".csv")
    names = [str(each) for each in files if each.is_file()][:FEW]
    path.write_text("".join(f"{each}\n" for each in names))
    return path


def launch(command: Sequence[str]) -> str:
    """Run a command with this checkout's package; its output. End if it fails."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    full = [sys.executable, "-m", *command]
    done = subprocess.run(full, env=env, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}: {shlex.join(command)}")
    return done.stdout


def training(model: Path) -> dict[str, Any]:
    """Use and perplexity in the run's last whole window of steps."""
    with safe_open(model / "resume.safetensors", framework="numpy") as state:
        counts = state.get_tensor("health.before_0")[0]  # (Q, K): the first stage's
    share = counts[counts > 0] / counts.sum()
    log = map(json.loads, (model / "log.jsonl").read_text().splitlines())
    return {
        "training_use": len(share) / len(counts),
        "training_perplexity": float(np.exp(-(share * np.log(share)).sum())),
        "steps": json.loads((model / "training.json").read_text())["step"],
        "skipped": json.loads((model / "training.json").read_text())["skipped"],
        "said": [f"step {each['step']}: {each['text']}" for each in log if "text" in each],
    }


def tested(summary: dict[str, Any]) -> dict[str, Any]:
    """The same from the summary of ``vqtok eval``."""
    first = summary["levels"]["codes"]
    first = first.get("stages", [first])[0]
    return {
        "test_use": first["share"],
        "test_perplexity": first["perplexity"],
        "test_codes": first["tokens"],
        "psnr_db": summary["psnr_db"]["mean"],
    }


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = ["| method | steps | training | perplexity | test | perplexity | codes | PSNR dB |"]
    lines += ["|---" * 8 + "|"]
    for each in rows:
        cells = [each["method"], str(each["steps"])]
        for where in ("training", "test"):
            cells += [f"{each[f'{where}_use']:.1%}", f"{each[f'{where}_perplexity']:.0f}"]
        cells += [str(each["test_codes"]), f"{each['psnr_db']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
