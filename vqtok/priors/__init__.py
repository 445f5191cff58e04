"""Distributions over codes: one file, one model. A ``CodeSpec`` is all they know of a tokenizer."""
