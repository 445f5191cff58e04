"""Files ⇄ float arrays in [-1, 1]: pillow, soundfile, soxr."""
