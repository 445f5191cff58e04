"""How long priors take to draw codes, with and without memory of the steps before.

    python benchmarks/sampling.py --quick
    python benchmarks/sampling.py --json sampling.json
    python benchmarks/sampling.py --priors transformer --count 16 --cached-only

Each prior has its default size and fresh weights, and draws ``--count`` grids of ``--side`` by
``--side`` codes out of ``--size``. Both ways must give the same codes. The bar: at 1024 codes the
transformer is 5 times as fast with its cache as without.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from vqtok import config
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec

BAR = 5.0
"""Times as fast with cache as without, at ``BAR_CODES``."""

BAR_CODES = 1024

PRIORS: dict[str, dict[str, Any]] = {
    "transformer": {"type": "priors/transformer"},
    "pixelcnn": {"type": "priors/pixelcnn"},
}


def main() -> int:
    """Parse, draw, print the table; 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--side", type=int, default=32, help="codes per row and column")
    parser.add_argument("--size", type=int, default=512, help="codebook size")
    parser.add_argument("--count", type=int, default=1, help="grids drawn together")
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=["transformer"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="16 by 16 codes: seconds, no bar")
    parser.add_argument("--cached-only", action="store_true", help="leave out the slow way")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.side = 16
    torch.set_num_threads(chosen.threads)
    rows = [measure(name, chosen) for name in chosen.priors]
    print("| prior | parameters | codes | drawn | cached s | codes/s | uncached s | times |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        slow = row["uncached_s"]
        cells = (
            f"{row['prior']} | {row['parameters'] / 1e6:.1f} M | {row['codes']} | {row['count']} | "
            f"{row['cached_s']:.2f} | {row['codes_per_s']:.0f}"
        )
        rest = "– | –" if slow is None else f"{slow:.2f} | {slow / row['cached_s']:.1f}"
        print(f"| {cells} | {rest} |")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return verdict(rows)


def measure(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Draw both ways; the slow way once, as it takes minutes."""
    level = LevelSpec("codes", ("h", "w"), chosen.size, (4, 4))
    torch.manual_seed(0)
    prior = config.parse(PRIORS[name], config.Config).build(spec=CodeSpec("image", (level,)))
    prior.eval()
    extent = (4 * chosen.side, 4 * chosen.side)
    prior.sample(1, (16, 16))  # first calls set kernels up
    codes, cached_s = timed(prior, chosen.count, extent, cached=True)
    uncached_s = None
    if not chosen.cached_only:
        others, uncached_s = timed(prior, chosen.count, extent, cached=False)
        if not torch.equal(codes.levels[0], others.levels[0]):
            raise SystemExit(f"{name}: the codes differ")
    total = chosen.side**2
    return {
        "prior": name,
        "parameters": sum(each.numel() for each in prior.parameters()),
        "codes": total,
        "count": chosen.count,
        "threads": chosen.threads,
        "cached_s": cached_s,
        "codes_per_s": total * chosen.count / cached_s,
        "uncached_s": uncached_s,
    }


def timed(prior: Any, count: int, extent: tuple[int, int], *, cached: bool) -> tuple[Codes, float]:
    """Codes, and the seconds that they took."""
    start = time.perf_counter()
    codes = prior.sample(count, extent, seed=1, cached=cached)
    return codes, time.perf_counter() - start


def verdict(rows: list[dict[str, Any]]) -> int:
    """Say how the transformer stands to its bar; 1 if it misses it."""
    for row in rows:
        if row["prior"] != "transformer" or row["uncached_s"] is None:
            continue
        times = row["uncached_s"] / row["cached_s"]
        if row["codes"] < BAR_CODES:
            print(f"\n{times:.1f} times as fast; the bar is for {BAR_CODES} codes")
        elif times < BAR:
            print(f"\nbar missed: {times:.1f} times as fast, {BAR:.0f} wanted")
            return 1
        else:
            print(f"\nbar met: {times:.1f} times as fast, {BAR:.0f} wanted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
