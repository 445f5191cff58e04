"""``vqtok eval``: the command, one file for each kind of model, and what they print."""
