"""Composes items of 256 codes with captions of 20 tokens: items a second, and peak memory.

``python benchmarks/compose.py --items 1000000`` makes a corpus and captions in a temporary folder,
composes them in a process of its own on one core, and does the same with 10 000 items, whose peak
memory is to compare with. CPU time is what counts where other programs run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vqtok.checkpoints import directory
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.corpus.writer import CorpusWriter

FEW = 10_000
WORDS = 5000
SIDE, TOKENS = 16, 20


def make(folder: Path, items: int) -> list[Path]:
    """Make corpora of ``FEW`` items each, captions of all and a tokenizer of text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    info = directory.describe("image-f8")
    spec = info.spec.with_fingerprint(info.fingerprint)
    random = np.random.default_rng(0)
    extent = (SIDE * 8, SIDE * 8)
    each = min(items, FEW)
    names = [name(0, number) for number in range(each)]
    first = folder / "corpus-000"
    with CorpusWriter(
        first, format="bin", names=names, spec=spec, job={"model": "image-f8"}
    ) as writer:
        for number in range(each):
            codes = random.integers(0, 8192, (1, SIDE, SIDE))
            header = Header(spec, extent, "image-f8", 1, Source(f"{number}.png"), "0.2.0")
            writer.add(number, Codes(spec, (codes,), extent).numpy(), header)
        writer.finish()
    corpora = [first]
    for number in range(1, items // each):
        corpora.append(renamed(first, folder / f"corpus-{number:03d}", number))
    with (folder / "captions.jsonl").open("w") as out:
        for number in range(items):
            words = random.integers(0, WORDS, TOKENS).tolist()
            text = " ".join(f"w{word}" for word in words)
            out.write(f'{{"key": "{name(*divmod(number, each))}", "text": "{text}"}}\n')
    vocabulary = {f"w{word}": word for word in range(WORDS)} | {"<unk>": WORDS}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return corpora


def name(corpus: int, number: int) -> str:
    """Return the name of an item; all are of one length."""
    return f"{corpus:03d}/{number:07d}.png"


def renamed(source: Path, target: Path, corpus: int) -> Path:
    """Copy a corpus whose items are called otherwise: to encode a million takes hours."""
    target.mkdir()
    for file in ("tokens.bin", "tokens.idx", "histogram.npy"):
        os.link(source / file, target / file)
    old, new = name(0, 0)[:4].encode(), name(corpus, 0)[:4].encode()
    data = (source / "items.jsonl").read_bytes().replace(b'"name":"' + old, b'"name":"' + new)
    (target / "items.jsonl").write_bytes(data)
    index = json.loads((source / "index.json").read_text())
    for shard in index["shards"]:
        for each in shard["extents"]:
            if each["path"] == "items.jsonl":
                own = data[each["start"] : each["start"] + each["bytes"]]
                each["sha256"] = hashlib.sha256(own).hexdigest()
    (target / "index.json").write_text(json.dumps(index))
    return target


def composed(folder: Path, corpora: list[Path], arguments: list[str]) -> dict[str, float]:
    """Compose in a process on one core; seconds, CPU seconds, peak memory in MB."""
    program = (
        "import resource, sys, time; from vqtok.cli.app import app\n"
        "begun = time.perf_counter()\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)\n"
    )
    command = [sys.executable, "-c", program, "compose", *map(str, corpora), "-q"]
    command += ["--text", str(folder / "captions.jsonl")]
    command += ["--tokenizer", str(folder / "tokenizer.json"), *arguments]
    core = min(os.sched_getaffinity(0))
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    seconds, cpu, memory = map(float, done.stdout.split()[-3:])
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": memory}


def main() -> None:
    """Make, compose, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=FEW * 10, help=f"a multiple of {FEW}")
    parser.add_argument("--options", default="", help="of vqtok compose, such as '--pack 4096'")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows = []
    for items in sorted({FEW, chosen.items}):
        with tempfile.TemporaryDirectory(prefix="vqtok-") as place:
            folder, begun = Path(place), time.perf_counter()
            corpora = make(folder, items)
            print(f"{items} items made in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
            out = ["-o", str(folder / "out"), *chosen.options.split()]
            found = composed(folder, corpora, out)
            rows.append({"items": items, **found})
    print("| items | items/s | items per CPU second | peak memory |\n| --- | --- | --- | --- |")
    for row in rows:
        rates = row["items"] / row["seconds"], row["items"] / row["cpu_s"]
        print(f"| {row['items']} | {rates[0]:.0f} | {rates[1]:.0f} | {row['peak_mb']:.0f} MB |")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
