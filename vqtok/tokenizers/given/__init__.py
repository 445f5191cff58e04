"""What users give to models that is no tensor: arrays, pictures, names of labels; no torch."""
