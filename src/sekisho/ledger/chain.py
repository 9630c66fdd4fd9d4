"""The hash chain: how an entry's digest is made, how content is sealed, and how a row is doubted. Pure; knows no SQL.

An entry's digest is SHA-256 over the canonical JSON of `{at, body, id, kind, prev, seq}`, and `prev` is the digest of the entry before it.
Anyone can recompute it without this program. Content (what was asked, what was said) is not in the chain, only its salted digest:
the salt keeps a guessed text from being confirmed, and erasing salt and text leaves the chain whole.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

from sekisho.core.canonical import canonical_json, digest
from sekisho.core.errors import LedgerError
from sekisho.core.records import KINDS, Record, kind_of

GENESIS = "sha256:" + "0" * 64
"""`prev` of entry 1: no text hashes to it, so nothing can be put in front."""

SALT_BYTES = 16


class Head(NamedTuple):
    """The newest entry: its position and digest. `(0, GENESIS)` when there is none."""

    seq: int
    digest: str


START = Head(0, GENESIS)


class Draft(NamedTuple):
    """A record as it will be stored, before it has a place in the chain. `text` is its canonical JSON, `content` the digest of its content, if any."""

    kind: str
    id: str
    at: str
    text: str
    content: str | None = None


@dataclass(frozen=True)
class Entry:
    """A record in its place.

    Attributes:
        seq: position, from 1, without gaps.
        kind: judgement, correction, proof, promotion, policy or contract.
        id: the record's id; unique in the ledger.
        at: the record's UTC time.
        text: the record's canonical JSON.
        prev: digest of the entry before; GENESIS for the first.
        digest: this entry's digest.
    """

    seq: int
    kind: str
    id: str
    at: str
    text: str
    prev: str
    digest: str

    @cached_property
    def body(self) -> Mapping[str, Any]:
        """The text, parsed when it is first asked for: most who append never ask. Raises ValueError when it is not JSON."""
        return cast(Mapping[str, Any], json.loads(self.text))

    @property
    def record(self) -> Record:
        """The typed record. Raises LedgerError when the body does not fit its kind, as after tampering."""
        try:
            return cast(Record, KINDS[self.kind].model_validate(self.body))
        except (KeyError, ValueError) as e:
            raise LedgerError(
                f"Entry {self.seq} ({self.id}) is no readable {self.kind}.", "Run `sekisho audit verify`."
            ) from e


@dataclass(frozen=True)
class Sealed:
    """Content ready to be stored apart from the chain. Making one raises LedgerError when its digest is another's.

    Attributes:
        digest: tagged digest of salt and body together; this goes into the record.
        salt: 16 random bytes.
        body: canonical JSON of the content.
    """

    digest: str
    salt: bytes
    body: str

    def __post_init__(self) -> None:
        if seal_digest(self.salt, self.body.encode()) != self.digest:
            raise LedgerError(
                f"Sealed content does not have its digest {self.digest}.", "Make it with Ledger.seal."
            )


def seal(content: Any) -> Sealed:
    """Seal a JSON value with a fresh salt. Raises LedgerError when it is not JSON (NaN, lone surrogates, objects)."""
    salt, body = secrets.token_bytes(SALT_BYTES), _canonical(content, "The content")
    return Sealed(seal_digest(salt, body), salt, body.decode())


def seal_digest(salt: bytes, body: bytes) -> str:
    """Return the digest that binds a record to its content: SHA-256 of salt, then canonical JSON."""
    return digest(salt + body)


def draft(record: Record) -> Draft:
    """Write a record in canonical JSON. Raises LedgerError for a value that is no record or cannot be JSON."""
    try:
        kind = kind_of(record)
    except KeyError as e:
        raise LedgerError(f"{e} is not a kind of record.", f"Append one of {', '.join(KINDS)}.") from e
    # Not pydantic's own JSON mode: it turns a NaN inside `Any` into null without a word.
    text = _canonical(record.model_dump(), f"The {kind} {record.id!r}").decode()
    return Draft(kind, record.id, record.at, text, getattr(record, "content", None))


def link(drafts: Sequence[Draft], head: Head) -> list[Entry]:
    """Give drafts their places after `head`."""
    entries = []
    for d in drafts:
        seq = head.seq + 1
        tag = entry_digest(seq, d.kind, d.id, d.at, d.text.encode(), head.digest)
        entries.append(Entry(seq, d.kind, d.id, d.at, d.text, head.digest, tag))
        head = Head(seq, tag)
    return entries


_quoted: Callable[[str], str] = json.encoder.encode_basestring
"""A string as canonical JSON has it."""


def entry_digest(seq: int, kind: str, id: str, at: str, text: bytes, prev: str) -> str:
    """Return the digest of one entry.

    Equal to `digest_json({"at", "body", "id", "kind", "prev", "seq"})`, spelt out so that the body's stored bytes themselves are hashed:
    a body rewritten in other, equivalent JSON is a change too.
    """
    # By hand, as this is most of what verification does: the five short fields as JSON strings, in the order of their names.
    head = f'{{"at":{_quoted(at)},"body":'
    tail = f',"id":{_quoted(id)},"kind":{_quoted(kind)},"prev":{_quoted(prev)},"seq":{seq}}}'
    return digest(head.encode() + text + tail.encode())


RawRow = tuple[Any, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None]
"""seq, then kind, id, at, body, prev, digest as the bytes that are stored; None where there is nothing."""


def fault(row: RawRow, head: Head) -> str | None:
    """Say what is wrong with the row that should follow `head`; None when it is the right one, unchanged."""
    seq, *stored = row
    if seq != head.seq + 1:
        return f"it is missing; the next one found is {seq}"
    try:
        kind, id, at, text, prev, tag = (cast(bytes, v).decode() for v in stored)
    except (AttributeError, UnicodeDecodeError):
        return "a column is empty or not UTF-8"
    if prev != head.digest:
        return "prev is not the digest of the entry before it"
    if entry_digest(seq, kind, id, at, text.encode(), prev) != tag:
        return "its content does not have the stored digest"
    return _misfit(text, id, at)


def _misfit(text: str, id: str, at: str) -> str | None:
    """Say where a body, whose digest is right, contradicts its own columns or the canonical form."""
    try:
        body = json.loads(text)
        if canonical_json(body).decode() != text:
            return "its body is not canonical JSON"
    except (ValueError, RecursionError):
        return "its body is not JSON"
    if not isinstance(body, dict) or body.get("id") != id or body.get("at") != at:
        return "the id or at column differs from the body"
    return None


_PLAIN = "Use plain JSON values: text, finite numbers, true, false, null, lists and maps."


def _canonical(value: Any, what: str) -> bytes:
    try:
        return canonical_json(value)
    except (ValueError, TypeError, RecursionError) as e:
        raise LedgerError(f"{what} cannot be written as JSON: {e}", _PLAIN) from e
