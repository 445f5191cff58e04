"""A corpus of codes: many items of one model in one folder, written so that it can be resumed.

A format is a file of ``corpus/formats``. ``index.json`` is written last: its presence means
complete. Until then the folder ``.vqtok`` holds the state. Every result is appended to the spool of
its shard; when all items of a shard, and all shards before it, have results, the shard is composed
from its spool in item order, committed by a line in a log, and its spool deleted. So a process may
be killed at any moment, no result that was recorded is computed again, and the finished folder is
the same, byte for byte, whatever order results arrived in and however often the work was cut short.
"""
