"""Codes that depend on the signal and the model alone: tiles at fixed positions, and near ties."""
