"""Bodies of one kind, read and written again a page at a time: whether all of them are canonical JSON, and which id and time they bear.

The entries of a kind nearly all look alike. From the first ones comes a type for msgspec (`shapes`), which then reads and writes a page of
bodies in two calls. What comes back byte for byte is canonical: the keys of the type are in order, and msgspec spells as `canonical_json`
does: strings always, whole numbers of 64 bits, floats from 0.0001 to 1e15. None larger is read; smaller ones are spelt anew by `spelling`.
A page that does not come back is looked at body by body (`spelling.read_each`), and widens the type when it is canonical all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from .shapes import LARGEST, SMALLEST, Other, Shape, Structure, has_maps, merged, shape, type_of
from .spelling import Page, as_python_spells, has_small, read_each

_MOST = 64
"""Kinds that are remembered; a forger could make up any number."""
_CHANGES = 16
"""Times that a kind's type is made: half a millisecond each."""

_forms: dict[bytes, _Form] = {}


def read(kind: bytes, bodies: Sequence[bytes]) -> Page | None:
    """Return what the bodies of that kind say; None when one is not canonical JSON of an object, or when that is not sure."""
    form = _forms.get(kind)
    page = form and form.read(bodies)
    if page:
        return page
    page = read_each(bodies)
    if page and (form.changes < _CHANGES if form else len(_forms) < _MOST):
        try:
            _forms[kind] = _learnt(form, page.values)
        except RecursionError:  # sound, and too deep for a type: the kind is read body by body
            _forms[kind] = _Form(Other(), common=False, changes=_CHANGES)
    return page


def _learnt(form: _Form | None, values: Sequence[Any]) -> _Form:
    """The form for what there was and these values."""
    found = shape(values[0]) if form is None else form.shape
    for value in values:
        found = merged(found, shape(value))
    # What fits and was not read has floats of other sizes, if it is not a matter of strings that look like such.
    common = form is None or (form.common and found != form.shape)
    return _Form(found, common, form.changes + 1 if form else 0)


class _Form:
    """Reads and writes bodies of one shape.

    Args:
        common: whether all floats are of a size that msgspec and Python spell alike; then others are not read.
        changes: how often the kind's form was another one before.
    """

    def __init__(self, shape: Shape, common: bool, changes: int) -> None:
        self.shape, self.common, self.changes = shape, common, changes
        self._decode: msgspec.json.Decoder[Any] | None = None
        keys = [key for key, _ in shape.fields] if isinstance(shape, Structure) else []
        if {"id", "at"} <= set(keys):
            try:
                self._decode = msgspec.json.Decoder(type_of(shape, SMALLEST if common else -LARGEST))
            except ValueError:  # no type has these keys
                return
            self._write = msgspec.json.Encoder(order="sorted" if has_maps(shape) else None).encode_lines
            self._id, self._at = (attrgetter(f"f{keys.index(name)}") for name in ("id", "at"))
            self._content = attrgetter(f"f{keys.index('content')}") if "content" in keys else None

    def read(self, bodies: Sequence[bytes]) -> Page | None:
        """Return what the bodies say; None when one is not surely canonical, or of another shape."""
        if self._decode is None:
            return None
        # A body with a line feed in it, or of two values, or of none, does not come back: canonical JSON has no line feed.
        text = b"\n".join(bodies) + b"\n"
        try:
            values = self._decode.decode_lines(text)
        except ValueError:
            return None
        again = self._write(values)
        if not self.common and has_small(text):
            again = as_python_spells(again)
        if again != text or len(values) != len(bodies):
            return None
        named = self._content is not None and any(c is not None for c in map(self._content, values))
        return Page(values, list(map(self._id, values)), list(map(self._at, values)), named)
