"""How a corpus of codes lies on disk; ``vqtok.codes.shards`` is the way in."""
