"""Sekisho: a checkpoint for models inside a closed network. See README.md for the map of the house."""

from __future__ import annotations

__version__ = "0.1.0"
