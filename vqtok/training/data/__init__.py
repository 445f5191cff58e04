"""Training data: from what ``--data`` names to batches."""
