"""Coders: models at work behind a border of numpy arrays, one file for each library."""
