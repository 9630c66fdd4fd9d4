"""Pack files: which file a name means, and its document, from TOML or from the part of YAML that can be read in one way only.

YAML's own loader takes the last of two equal keys and turns `no`, `010` and `2026-01-31` into other things than what stands there. So its events are read
here, and whatever could be misread is refused: nothing is built from tags, aliases or merges, and depth and size have bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import DataError, NotFoundError
from ..policy import read_document

ENDINGS = (".toml", ".yaml", ".yml")
_ENDED = ", ".join(ENDINGS)
LARGEST = 1 << 19
"""Bytes of a pack's file; 64 criteria and 32 patterns with all their words take a tenth of it."""
_DEEPEST = 8
"""A pack has five levels."""
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+")
_WORD = "tag:yaml.org,2002:"


def folder(share: Path) -> Path:
    """Where the packs lie that have a name."""
    return share / "policies" / "rubrics"


def names(share: Path) -> list[str]:
    """Names of the packs there."""
    files = (p for p in folder(share).glob("[!.]*") if p.suffix in ENDINGS)
    return sorted({p.stem for p in files if p.is_file()})


def find(name: str, share: Path) -> Path:
    """The file of a pack given by path or by name.

    Raises:
        NotFoundError: naming the packs there are.
        DataError: when two files have the name.
    """
    if name.endswith(ENDINGS):
        found = [Path(name)]
    else:
        found = [folder(share) / f"{name}{ending}" for ending in ENDINGS]
    found = [path for path in found if path.is_file()]
    if not found:
        raise NotFoundError(
            f"There is no rubric pack {name!r}.",
            f"Give a path to a {_ENDED} file, or one of: {', '.join(names(share))}.",
        )
    if len(found) > 1:
        both = " and ".join(path.name for path in found)
        raise DataError(f"Both {both} are called {name}.", "Take one away, or give a path.")
    return found[0]


def read(path: Path) -> Mapping[str, Any]:
    """Read a pack's document as it stands. Raises DataError with the reason."""
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(
                f"{path} is larger than {LARGEST >> 10} KiB.", "A pack is smaller; is it the right file?"
            )
        return read_document(path) if path.suffix == ".toml" else _mapping(path)
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}.", "Give a file that can.") from e


def _mapping(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        found = _Reader(path.read_text(encoding="utf-8")).document()
    except (yaml.YAMLError, ValueError) as e:  # ValueError: not UTF-8, or an escape beyond the last character
        what = " ".join(str(e).split())
        raise DataError(f"{path} cannot be read: {what}.", "Mend the file; it must be YAML in UTF-8.") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} cannot be read: it is no mapping.", "See docs/rubrics.md for the form.")
    return found


class _Reader:
    """Builds one document from YAML's events. Raises ValueError, naming the line, for what could be misread."""

    def __init__(self, text: str) -> None:
        import yaml

        self._yaml = yaml
        self._resolver = yaml.resolver.Resolver()
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def document(self) -> Any:
        next(self._events)
        if isinstance(next(self._events), self._yaml.StreamEndEvent):
            return None
        found = self._value(next(self._events), 0)
        next(self._events)
        last = next(self._events)
        if not isinstance(last, self._yaml.StreamEndEvent):
            raise _wrong(last, "a second document begins")
        return found

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, self._yaml.AliasEvent) or event.anchor is not None:
            raise _wrong(event, "anchors and aliases are not read; write it out")
        if event.tag is not None:
            raise _wrong(event, "tags are not read")
        if depth > _DEEPEST:
            raise _wrong(event, f"more than {_DEEPEST} levels")
        if isinstance(event, self._yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, self._yaml.SequenceStartEvent):
            return [self._value(e, depth + 1) for e in self._until(self._yaml.SequenceEndEvent)]
        return self._pairs(depth)

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _pairs(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self._until(self._yaml.MappingEndEvent):
            key = self._value(event, depth + 1)
            if not isinstance(key, str):
                raise _wrong(event, "a key is no text; put it in quotes")
            if key in found:
                raise _wrong(event, f"the key {key!r} stands twice")
            found[key] = self._value(next(self._events), depth + 1)
        return found

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        text.encode()  # half a character can be escaped, and has no digest
        tag = self._resolver.resolve(self._yaml.ScalarNode, text, event.implicit)
        if tag == f"{_WORD}str":
            return text
        if tag == f"{_WORD}int" and _WHOLE.fullmatch(text):
            return int(text)
        if tag == f"{_WORD}float" and _REAL.fullmatch(text):
            return float(text)
        if tag == f"{_WORD}null":
            return None
        kind = tag.removeprefix(_WORD)
        raise _wrong(
            event, f"YAML reads {text!r} as {kind}; put a text in quotes, write a number in plain digits"
        )


def _wrong(event: Any, what: str) -> ValueError:
    return ValueError(f"line {event.start_mark.line + 1}: {what}")
