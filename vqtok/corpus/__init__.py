"""How a corpus of codes lies on disk; ``vqtok.corpus.shards`` is the way in."""
