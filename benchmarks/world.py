"""What reading other programs' checkpoints costs: load, encode and decode against their own code.

    python benchmarks/world.py
    python benchmarks/world.py encodec-24k mimi --seconds 20 --rounds 5 --json world.json

Full sizes, random weights, written by the package itself into a directory. Both sides load that
directory, encode the same signal with all codebooks and decode the codes, in turn, round by round,
so that a busy moment hits both; the first round warms up and is not counted. "converted" loads the
directory that ``vqtok convert`` makes. Medians; exit status 1 if loading, encoding and decoding
together take longer than the bar allows. Codes must be equal, or the comparison means nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.checkpoints import directory

BAR = 1.1
"""Times that upstream's own code may take."""


@dataclass(frozen=True)
class Family:
    """One published model at full size.

    Attributes:
        rate: Hz of its audio.
        make: A model of the package, with fresh weights.
        load: (directory) → the same, from disk.
        encode: (model, (1, 1, L)) → codes (1, Q, T).
        decode: (model, codes) → samples.
    """

    rate: int
    make: Callable[[], Any]
    load: Callable[[Path], Any]
    encode: Callable[[Any, Tensor], Tensor]
    decode: Callable[[Any, Tensor], Tensor]


def encodec_24k() -> Family:
    """EnCodec 24 kHz of transformers."""
    from transformers import EncodecConfig, EncodecModel

    return Family(
        24000,
        lambda: EncodecModel(EncodecConfig()),
        EncodecModel.from_pretrained,
        lambda model, x: model.encode(x, bandwidth=24.0).audio_codes[0],
        lambda model, codes: model.decode(codes[None], [None])[0],
    )


def dac_44k() -> Family:
    """DAC 44 kHz of transformers."""
    from transformers import DacConfig, DacModel

    def encode(model: Any, x: Tensor) -> Tensor:
        codes: Tensor = model.encode(F.pad(x, (0, -x.shape[-1] % 512))).audio_codes
        return codes

    return Family(
        44100,
        lambda: DacModel(DacConfig(downsampling_ratios=[2, 4, 8, 8], sampling_rate=44100)),
        DacModel.from_pretrained,
        encode,
        lambda model, codes: model.decode(audio_codes=codes).audio_values,
    )


def mimi() -> Family:
    """Mimi of transformers."""
    from transformers import MimiConfig, MimiModel

    return Family(
        24000,
        lambda: MimiModel(MimiConfig()),
        MimiModel.from_pretrained,
        lambda model, x: model.encode(x).audio_codes,
        lambda model, codes: model.decode(codes).audio_values,
    )


FAMILIES = {"encodec-24k": encodec_24k, "dac-44k": dac_44k, "mimi": mimi}


def main() -> int:
    """Parse, measure each family, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    unknown = sorted(set(args.families) - set(FAMILIES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(FAMILIES)}")
    results: dict[str, dict[str, list[float]]] = {}
    print(f"{'family':<12} {'step':<15} {'upstream s':>10} {'vqtok s':>8} {'ratio':>6}")
    good = True
    for name in args.families or FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(FAMILIES[name](), Path(folder), args.seconds, args.rounds)
        good &= report(name, results[name])
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    print(f"bar {BAR}: {'met' if good else 'MISSED'}")
    return 0 if good else 1


def measure(family: Family, folder: Path, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each step of both, by "step/side"."""
    torch.manual_seed(0)
    model = family.make().eval()
    for name, buffer in model.named_buffers():
        if name.endswith(("embed", "embed_sum")):
            buffer.normal_(0, 0.1)
    model.save_pretrained(folder / "published")
    del model
    directory.save(folder / "converted", directory.load(folder / "published"))
    x = torch.randn(1, 1, round(seconds * family.rate)) * 0.1
    found: dict[str, list[float]] = {}
    for count in range(rounds + 1):
        times = one_round(family, folder, x)
        for step, value in times.items():
            if count:
                found.setdefault(step, []).append(value)
    return found


@torch.inference_mode()
def one_round(family: Family, folder: Path, x: Tensor) -> dict[str, float]:
    """Everything once, each step of one side right after that of the other."""
    times: dict[str, float] = {}

    def timed(step: str, run: Callable[[], Any]) -> Any:
        gc.collect()
        begun = time.perf_counter()
        result = run()
        times[step] = time.perf_counter() - begun
        return result

    theirs = timed("load/upstream", lambda: family.load(folder / "published").eval())
    ours: Any = timed("load/vqtok", lambda: directory.load(folder / "published"))
    timed("load/converted", lambda: directory.load(folder / "converted"))
    codes = timed("encode/upstream", lambda: family.encode(theirs, x))
    found = timed("encode/vqtok", lambda: ours.encode(x))
    if not torch.equal(found.levels[0], codes):
        raise SystemExit("codes differ: nothing to compare")
    timed("decode/upstream", lambda: family.decode(theirs, codes))
    timed("decode/vqtok", lambda: ours.decode(found))
    return times


def report(name: str, found: dict[str, list[float]]) -> bool:
    """Print one family; True if it is within the bar."""
    median = {step: statistics.median(values) for step, values in found.items()}
    for side in ("upstream", "vqtok", "converted"):
        coder = "upstream" if side == "upstream" else "vqtok"
        steps = (f"load/{side}", f"encode/{coder}", f"decode/{coder}")
        median[f"all/{side}"] = sum(median[step] for step in steps)
    good = True
    for step, side in (
        ("load", "vqtok"),
        ("load", "converted"),
        ("encode", "vqtok"),
        ("decode", "vqtok"),
        ("all", "vqtok"),
        ("all", "converted"),
    ):
        theirs, ours = median[f"{step}/upstream"], median[f"{step}/{side}"]
        shown = step if side == "vqtok" else f"{step}, converted"
        print(f"{name:<12} {shown:<15} {theirs:10.3f} {ours:8.3f} {ours / theirs:6.2f}", flush=True)
        good &= step != "all" or ours <= BAR * theirs
    return good


if __name__ == "__main__":
    sys.exit(main())
