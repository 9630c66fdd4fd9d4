"""JSON schemas an answer may be asked to fulfil: those an engine keeps to, at a cost that is bounded. Everything else is refused by name.

llama.cpp drops a schema it cannot compile without a word, and the model then writes what it likes; and a count of a thousand million takes
all memory of the machine before the first token. So only constructs that are compiled are let through, and their sizes are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import InputError

_TYPES = frozenset(("object", "array", "string", "integer", "number", "boolean", "null"))
_SAID = frozenset(("title", "description", "default", "examples", "$schema", "$defs", "definitions"))
"""Keywords that constrain nothing by themselves."""
_BRANCH = "anyOf"
"""Not `oneOf`: llama.cpp compiles it only where it can tell that no two branches overlap."""
_COUNTS = {"minItems": "maxItems", "minLength": "maxLength"}
_BOUNDS = {"minimum": "maximum", "exclusiveMinimum": "exclusiveMaximum"}
_MOST_PLACES = 2_000
_MOST_REPEATED = 10_000
"""Items and letters that all counts together may ask for."""
_DEEPEST = 32
_LARGEST = 10**15
_INSTEAD = "Use type, properties, required, additionalProperties, items, enum, const, anyOf, $ref into $defs, counts and bounds."


def check_schema(schema: Mapping[str, Any], loc: tuple[str | int, ...]) -> None:
    """Let a schema through, or say where it is not one that is kept.

    Args:
        loc: place of the schema in the request.

    Raises:
        InputError: for an unknown or contradictory construct, and for one too large; naming the place.
    """
    _Check(schema, loc).place(schema, loc, 0, 1, ())


class _Check:
    """One pass over a schema, with references followed, so that what they cost is seen."""

    def __init__(self, root: Mapping[str, Any], loc: tuple[str | int, ...]) -> None:
        self._root, self._top = root, loc
        self._places = self._repeated = 0

    def place(
        self, schema: Any, loc: tuple[str | int, ...], depth: int, times: int, inside: tuple[str, ...]
    ) -> None:
        """Check one place, of which the text may hold `times` many, within the references `inside`."""
        self._places += 1
        if self._places > _MOST_PLACES or depth > _DEEPEST:
            raise InputError(
                "The schema is too large.", f"{_MOST_PLACES} places, {_DEEPEST} deep, are done.", self._top
            )
        if not isinstance(schema, Mapping):
            raise InputError("This is not a schema.", _INSTEAD, loc)
        for key, value in schema.items():
            check = _CHECKS.get(key)
            if check is None and key not in _SAID:
                raise InputError(f"`{key}` is not done in a schema here.", _INSTEAD, (*loc, str(key)))
            if check is not None and not check(value):
                raise InputError(f"`{key}` has no value that can be kept.", _INSTEAD, (*loc, key))
        self._ordered(schema, loc)
        self._inner(schema, loc, depth + 1, self._counted(schema, times), inside)

    def _ordered(self, schema: Mapping[str, Any], loc: tuple[str | int, ...]) -> None:
        for low, high in (_COUNTS | _BOUNDS).items():
            if low in schema and high in schema and schema[low] > schema[high]:
                raise InputError(f"`{low}` is above `{high}`.", "Nothing would fit.", (*loc, low))

    def _counted(self, schema: Mapping[str, Any], times: int) -> int:
        """How many of an array's items there may be; what all counts ask for is added up."""
        items = max((schema.get(k, 0) for k in ("minItems", "maxItems")), default=0)
        letters = max((schema.get(k, 0) for k in ("minLength", "maxLength")), default=0)
        self._repeated += times * (items + letters)
        if self._repeated > _MOST_REPEATED:
            raise InputError(
                "The schema asks for too many items or letters.",
                f"All counts together may ask for {_MOST_REPEATED}.",
                self._top,
            )
        return times * max(items, 1)

    def _inner(
        self,
        schema: Mapping[str, Any],
        loc: tuple[str | int, ...],
        depth: int,
        times: int,
        inside: tuple[str, ...],
    ) -> None:
        for name, inner in schema.get("properties", {}).items():
            self.place(inner, (*loc, "properties", name), depth, times, inside)
        for key in ("items", "additionalProperties"):
            if key in schema and not isinstance(schema[key], bool):
                self.place(schema[key], (*loc, key), depth, times, inside)
        for i, inner in enumerate(schema.get(_BRANCH, ())):
            self.place(inner, (*loc, _BRANCH, i), depth, times, inside)
        if "$ref" in schema:
            self._reference(schema["$ref"], (*loc, "$ref"), depth, times, inside)

    def _reference(
        self, ref: str, loc: tuple[str | int, ...], depth: int, times: int, inside: tuple[str, ...]
    ) -> None:
        if ref in inside:
            raise InputError("The schema contains itself.", "Spell out how deep it may go.", loc)
        found: Any = self._root
        for step in ref.removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        if not ref.startswith("#/") or found is None:
            raise InputError(f"{ref!r} is not in this schema.", "Refer to a name in `$defs`.", loc)
        self.place(found, loc, depth, times, (*inside, ref))


def _types(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(n, str) and n in _TYPES for n in names)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _bound(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _branches(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _enum(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _MOST_PLACES


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(n, str) for n in value)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "type": _types,
    "properties": lambda v: isinstance(v, Mapping),
    "required": _names,
    "additionalProperties": lambda v: isinstance(v, bool | Mapping),
    "items": lambda v: isinstance(v, Mapping),
    "enum": _enum,
    "const": lambda _: True,
    "$ref": lambda v: isinstance(v, str),
    _BRANCH: _branches,
    **dict.fromkeys((*_COUNTS, *_COUNTS.values()), _count),
    **dict.fromkeys((*_BOUNDS, *_BOUNDS.values()), _bound),
}
