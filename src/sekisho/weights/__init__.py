"""Arithmetic on a model: SO(8) rotations, gates, adapters on disk, baking, and export to GGUF."""
