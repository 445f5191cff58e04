"""A corpus of codes: many items of one model in one folder, written so that it can be resumed.

Formats: ``files`` is a tree of ``.safetensors``; ``tar`` are WebDataset shards; ``bin`` is one flat
token file that nanoGPT and Megatron loaders map into memory (``corpus/vocabulary.py``);
``parquet`` and ``arrow`` are tables. ``index.json`` is written last: its presence means complete.

Until then the folder ``.vqtok`` holds the state. Every result is appended to the spool of its
shard; when all items of a shard, and all shards before it, have results, the shard is composed from
its spool in item order, committed by a line in a log, and its spool deleted. So a process may be
killed at any moment, and the finished folder is the same, byte for byte, whatever order results
arrived in and however often the work was cut short.
"""

from __future__ import annotations

from vqtok.corpus.index import is_corpus
from vqtok.corpus.info import CodebookUse, CorpusInfo, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.kinds import FORMATS
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.writer import CorpusWriter

__all__ = [
    "FORMATS",
    "CodebookUse",
    "CorpusInfo",
    "CorpusReader",
    "CorpusWriter",
    "Entry",
    "ShardInfo",
    "is_corpus",
]
