"""Whole tokenizers, encoder + quantizer + decoder: one file, one architecture."""
