"""The formats of a corpus, and the names of the files that it owns."""

from __future__ import annotations

FORMATS = ("files", "tar", "bin", "parquet", "arrow")
"""What ``--format`` takes."""

INDEX = "index.json"
FAILED = "failed.jsonl"
ITEMS = "items.jsonl"
HISTOGRAM = "histogram.npy"
TOKENS = "tokens.bin"
OFFSETS = "tokens.idx"
STATE = ".vqtok"
"""Folder of an unfinished corpus' spools and log; gone when it is complete."""

JOB = "job.json"
"""In the state: the identity of an unfinished corpus."""

SIDE = (INDEX, FAILED, ITEMS, HISTOGRAM, TOKENS, OFFSETS)
"""Files that a corpus of some format may have beside its shards."""


def shard_name(format: str, number: int) -> str:
    """File name of a shard of the formats that have a file for each: ``shard-00000.tar``."""
    return f"shard-{number:05d}.{format}"


def paths(format: str, shard: int) -> list[str]:
    """Files that hold a shard, in the order of its extents."""
    known = {"files": [ITEMS], "bin": [TOKENS, ITEMS]}
    return known.get(format) or [shard_name(format, shard)]


def sides(format: str) -> list[str]:
    """Files that a corpus of this format may have beside its shards; the index comes first."""
    own = {"files": [ITEMS], "bin": [ITEMS, TOKENS, OFFSETS]}
    return [INDEX, FAILED, HISTOGRAM, *own.get(format, [])]
