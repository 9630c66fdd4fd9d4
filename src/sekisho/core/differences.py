"""Differences between two versions of a document, as places and values: what was added, taken out or changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_NAMES = ("ref", "name")
"""Keys that name a table in a list of tables."""


class Difference(NamedTuple):
    """One place where two documents differ; `before` is None for what was added, `after` for what was taken out."""

    place: str
    before: Any
    after: Any

    def told(self) -> str:
        """In one line."""
        if self.before is None:
            return f"+ {self.place} = {self.after!r}"
        if self.after is None:
            return f"- {self.place} = {self.before!r}"
        return f"~ {self.place}: {self.before!r} → {self.after!r}"


def differences(before: Any, after: Any) -> list[Difference]:
    """Compare JSON values, leaf by leaf, in the order of the places' names.

    Tables in a list are matched by their `ref` or `name`, so that one put in front does not change all behind it; other lists are one value.
    """
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    return [
        Difference(p, old.get(p), new.get(p))
        for p in sorted(old.keys() | new.keys())
        if old.get(p) != new.get(p)
    ]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{place}.{key}" if place else str(key))
    elif names := _named(value):
        for name, table in zip(names, value, strict=True):
            yield from _leaves(table, f"{place}[{name}]")
    else:
        yield place, value


def _named(value: Any) -> list[str]:
    """Names of the tables of a list; empty when it is no such list, or two have one name."""
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(v, Mapping) for v in value)
    ):
        return []
    names = [next((_text(v[k]) for k in _NAMES if k in v), "") for v in value]
    return names if all(names) and len(set(names)) == len(names) else []


def _text(name: Any) -> str:
    return str(name.get("ja", "")) if isinstance(name, Mapping) else str(name)
