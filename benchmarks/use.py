"""Is the codebook used? Short runs of ``vqtok train`` with 8192 codes on crops of images.

    python benchmarks/use.py --data photos/train --test photos/test --out runs

Each row is a run with the command that is printed, and one of ``vqtok eval``. Rows end up in
``--out``; what is there already is not run again, and a run that was killed goes on. The network is
that of the preset ``image-f8`` made narrow, so that a run takes minutes on one CPU thread.

"training" is the share of all codes that occurred in a window of training steps at the end of the
run (100 steps of 32 crops: 205 thousand codes), "test" that over all test images, which are coded
whole and once. Of ``rvq`` both are those of the first of four stages. A share can only reach what
the number of codes allows: one that draws evenly from 8192 codes n times misses exp(-n / 8192).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METHODS: dict[str, tuple[str, ...]] = {
    "vq": ("codebook_size=8192",),
    "simvq": ("codebook_size=8192",),
    "fsq": ("levels=[8,8,5,5,5]",),
    "rvq": ("codebook_size=8192", "depth=4"),
}
"""Name → fields of its quantizer."""

NETWORK = ("widths=[32,64]", "encoder_blocks=[1,1]", "decoder_blocks=[1,1]")
BAR = 0.95
