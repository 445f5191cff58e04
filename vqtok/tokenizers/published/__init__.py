"""Networks that other people published: one file, one architecture."""
