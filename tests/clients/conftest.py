from __future__ import annotations

from web.conftest import engine, house, judge, live

__all__ = ["engine", "house", "judge", "live"]
