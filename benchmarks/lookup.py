"""Nearest-entry search: vqtok against torch.cdist, vector-quantize-pytorch and faiss.

    python benchmarks/lookup.py --quick
    python benchmarks/lookup.py --json lookup.json
    python benchmarks/lookup.py --media photos/ --n 16384

Rows and entries are Gaussian, or with ``--media`` the latents of pictures and the codebook of the
shipped model for them, which lie closer together for their size.
Each cell (threads, K, d, N) runs in a process of its own, methods interleaved round by round until
``--seconds`` are spent, after one round of warm-up. What takes longer than an eighth of that runs
once. The table shows medians and the number of rounds. Memory is measured in one more process per
method: the high-water mark of resident memory during the first call, over what was resident before,
packing or indexing of the codebook included.

Methods whose N x K matrix would not fit run in blocks of rows and are marked "*". The fastest is
taken over all methods but "vqtok fresh", which packs the codebook anew in every call, as a training
step does. "wrong" counts sampled rows whose entry is farther than the nearest in float64 by more
than 1e-6 of the distance, "other" those with any other entry than the float64 oracle's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

METHODS = ("vqtok", "vqtok fresh", "cdist", "vq-pytorch", "faiss")
MATRIX = 1 << 28
"""Floats of a peer's N x K matrix above which it runs in blocks of rows: 1 GiB."""
BARS = {(8192, 8): 8.0, (8192, 64): 5.0, (8192, 256): 2.5}
"""How many times faster than cdist vqtok is meant to be at (K, d)."""


def main() -> int:
    """Parse, run the cells, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[16384, 65536], help="rows")
    parser.add_argument("--k", type=int, nargs="+", default=[512, 8192, 65536], help="entries")
    parser.add_argument("--d", type=int, nargs="+", default=[8, 64, 256], help="dimensions")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--media", type=Path, help="pictures whose latents are searched")
    parser.add_argument("--seconds", type=float, default=20.0, help="per cell, at least one round")
    parser.add_argument("--quick", action="store_true", help="N 16384, K to 8192, one thread")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory processes")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        task = json.loads(args.worker)
        print(json.dumps(_memory(task) if "memory" in task else _time(task)))
        return 0
    if args.quick:
        args.n, args.k, args.threads, args.seconds = [16384], [512, 8192], [1], 5.0
    if args.media:
        args.k, args.d = [8192], [16]  # image-f8's
    cells = [
        _cell(args, threads=threads, k=k, d=d, n=n)
        for threads in args.threads
        for k in args.k
        for d in args.d
        for n in args.n
    ]
    if args.json:
        args.json.write_text(json.dumps(cells, indent=1, sort_keys=True) + "\n")
    return _verdict(cells)


def _cell(args: argparse.Namespace, **cell: int) -> dict[str, Any]:
    """Measure one cell in fresh processes and print its rows."""
    task = {**cell, "methods": args.methods, "seconds": args.seconds, "media": None}
    if args.media:
        task["media"] = str(args.media)
    result = _spawn(task)
    for name in args.methods:
        skip = args.no_memory or name not in result["methods"]
        memory = None if skip else _spawn({**task, "memory": name})["mib"]
        result["methods"].get(name, {})["mib"] = memory
    print("\nthreads {threads}  K {k}  d {d}  N {n}".format(**cell), f" rounds {result['rounds']}")
    print(f"{'':14}{'ms':>10}{'vs cdist':>10}{'vs fastest':>12}{'MiB':>8}{'wrong':>7}{'other':>7}")
    medians = {name: each["ms"] for name, each in result["methods"].items()}
    fastest = min((ms for name, ms in medians.items() if name != "vqtok fresh"), default=None)
    for name, each in result["methods"].items():
        each["vs_cdist"] = medians["cdist"] / each["ms"] if "cdist" in medians else None
        each["vs_fastest"] = each["ms"] / fastest if fastest else None
        label = name + ("*" if each["blocks"] > 1 else "")
        print(
            f"{label:14}{each['ms']:10.2f}{_text(each['vs_cdist'], 9)}x"
            f"{_text(each['vs_fastest'], 11)}x{_text(each['mib'], 8, 0)}"
            f"{each['wrong']:7d}{each['other']:7d}",
            flush=True,
        )
    return result


def _text(value: float | None, width: int, digits: int = 2) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _spawn(task: dict[str, Any]) -> Any:
    """Run a task in a fresh process with its thread count set for every library."""
    threads = str(task["threads"])
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = os.environ | dict.fromkeys(names, threads) | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "ignore", __file__, "--worker", json.dumps(task)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _data(task: dict[str, Any]) -> tuple[Any, Any]:
    """Rows (N, d) and codebook (K, d)."""
    import torch

    torch.set_num_threads(task["threads"])
    torch.set_grad_enabled(False)
    if task["media"]:
        return _latents(Path(task["media"]), task["n"])
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(task["n"], task["d"], generator=generator)
    return z, torch.randn(task["k"], task["d"], generator=generator)


def _latents(media: Path, count: int) -> tuple[Any, Any]:
    """(N, d) latents of the pictures, from the first again if they run out, and the codebook."""
    import torch

    import vqtok
    from vqtok.media import image, plan
    from vqtok.quantizers._rows import to_rows

    model: Any = vqtok.load("image-f8")
    found = []
    for item in plan.inputs_of([str(media)], ("image",)).items:
        pixels = torch.from_numpy(image.read(item.path)[0])[None]
        height, width = (side // model.stride * model.stride for side in pixels.shape[2:])
        z = model.encoder(pixels[..., :height, :width])
        found.append(model.quantizer.project_in(to_rows(z)))
        if sum(map(len, found)) >= count:
            break
    rows = torch.cat(found)
    return rows.repeat(-(-count // len(rows)), 1)[:count], model.quantizer.codebook.packed().entries


def _method(name: str, codebook: Any, threads: int) -> tuple[Callable[[Any], Any], int]:
    """Prepare a method: a function from rows to codes, and the most rows it may get at once."""
    import torch

    size, dim = codebook.shape
    rows = MATRIX // size
    if name == "cdist":
        return lambda z: torch.cdist(z, codebook).argmin(dim=1), rows
    if name == "vq-pytorch":
        from vector_quantize_pytorch import VectorQuantize

        layer = VectorQuantize(dim=dim, codebook_size=size).eval()
        layer._codebook.embed.copy_(codebook[None])
        return lambda z: layer(z[None])[1][0], rows // 2  # it makes more than one such matrix
    if name == "faiss":
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlatL2(dim)
        index.add(codebook.numpy())
        return lambda z: torch.from_numpy(index.search(z.numpy(), 1)[1][:, 0]), sys.maxsize
    from vqtok.quantizers.search.nearest import Packed, nearest

    if name == "vqtok":
        packed = Packed(codebook)
        return lambda z: nearest(z, packed), sys.maxsize
    return lambda z: nearest(z, codebook), sys.maxsize


def _run(call: Callable[[Any], Any], z: Any, rows: int) -> Any:
    import torch

    return call(z) if len(z) <= rows else torch.cat([call(block) for block in z.split(rows)])


def _time(task: dict[str, Any]) -> dict[str, Any]:
    """Interleaved rounds over all methods of one cell, then the comparison with float64."""
    z, codebook = _data(task)
    methods, out, codes = {}, {}, {}
    for name in task["methods"]:
        try:
            methods[name] = _method(name, codebook, task["threads"])
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
    times: dict[str, list[float]] = {name: [] for name in methods}
    for call, _ in methods.values():
        call(z[:64])
    deadline, rounds, running = 0.0, 0, list(methods)
    while running and (rounds < 2 or time.perf_counter() < deadline) and rounds < 50:
        for name in running:
            call, rows = methods[name]
            time.sleep(0.02)  # lets the threads of the method before go to sleep
            start = time.perf_counter()
            codes[name] = _run(call, z, rows)
            times[name].append((time.perf_counter() - start) * 1e3)
        if rounds == 0:  # the warm-up of what is quick, and all that there is of what is slow
            running = [name for name in methods if times[name][0] < task["seconds"] * 1e3 / 8]
            for name in running:
                times[name].clear()
            deadline = time.perf_counter() + task["seconds"]
        rounds += 1
    for name, (_, rows) in methods.items():
        wrong, other = _compare(z, codebook, codes[name])
        blocks = -(-len(z) // rows)
        spread = {"ms": statistics.median(times[name]), "all_ms": times[name], "blocks": blocks}
        out[name] = {**spread, "wrong": wrong, "other": other}
    return {
        **{key: task[key] for key in ("threads", "k", "d", "n")},
        "rounds": max(1, rounds - 1),
        "methods": out,
    }


def _compare(z: Any, codebook: Any, codes: Any) -> tuple[int, int]:
    """Rows, of 512 sampled ones, with a clearly farther and with any other entry than float64's."""
    import torch

    some = torch.linspace(0, len(z) - 1, min(len(z), 512)).long()
    wrong = other = 0
    for rows in some.split(64):
        near, far = z[rows].double(), codebook.double()
        scores = far.square().sum(dim=1) - 2 * near @ far.T
        found = (near - far[codes[rows]]).square().sum(dim=1)
        best = scores.argmin(dim=1)
        least = (near - far[best]).square().sum(dim=1)
        wrong += int((found > least * (1 + 1e-6)).sum())
        other += int((best != codes[rows]).sum())
    return wrong, other


def _memory(task: dict[str, Any]) -> dict[str, float]:
    """MiB that one method adds to the process at its peak, preparation included."""
    z, codebook = _data(task)
    threads = task["threads"]
    call, _ = _method(task["memory"], codebook[:8].clone(), threads)
    call(z[:8])  # loads libraries and starts threads
    if task["memory"] == "vq-pytorch":  # the layer's codebook is not extra: it is the input
        prepared = _method(task["memory"], codebook, threads)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to now
    before = _status("VmRSS")
    if task["memory"] != "vq-pytorch":
        prepared = _method(task["memory"], codebook, threads)
    call, rows = prepared
    _run(call, z, rows)
    return {"mib": (_status("VmHWM") - before) / 1024}


def _status(field: str) -> int:
    """A line of /proc/self/status in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise LookupError(field)


def _verdict(cells: list[dict[str, Any]]) -> int:
    """Print which bars are missed; 1 if any is."""
    missed = []
    for cell in cells:
        ours = cell["methods"].get("vqtok")
        if not ours:
            continue
        where = "threads {threads}, K {k}, d {d}, N {n}".format(**cell)
        bar = BARS.get((cell["k"], cell["d"]), 0.0)
        if ours["vs_cdist"] is not None and ours["vs_cdist"] < bar:
            missed.append(f"{where}: {ours['vs_cdist']:.2f}x cdist, bar {bar:g}x")
        if ours["vs_fastest"] > 2.5:
            missed.append(f"{where}: {ours['vs_fastest']:.2f}x the fastest, bar 2.5x")
        if ours["mib"] is not None and ours["mib"] > 64:
            missed.append(f"{where}: {ours['mib']:.0f} MiB, bar 64")
        if ours["wrong"] or ours["other"]:
            missed.append(f"{where}: {ours['other']} of 512 codes differ from float64's")
    print("\nbars missed:" if missed else "\nall bars met", *missed, sep="\n  ")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
