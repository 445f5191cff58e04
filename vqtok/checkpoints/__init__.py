"""Model directories: save, load, find by name, fingerprint."""
