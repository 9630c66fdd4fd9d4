"""API keys: made, rotated, revoked, each change an entry of the ledger; and the ring a server finds them on."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from ..core.access import Bucket, Caller, caller_of, check_key, new_secret, secret_digest
from ..core.canonical import new_id, utc_after, utc_now
from ..core.errors import ConflictError, InputError, NotFoundError, SettingsError
from ..core.oversight import Key
from ..ledger import rows, views
from ..ledger.chain import Head
from ..ledger.store import Ledger
from .parts import Parts

FRESH_SECONDS = 1.0
"""A change of the keys, by any process, is in force in a server after so long at the latest."""
PER_MINUTE = 600
"""Requests a minute of a key for which nothing else was said."""
_LONGEST_DAYS = 36_500


def separate(parts: Parts) -> bool:
    """Whether duties are separate."""
    return bool(parts.settings.separate_duties == "on")


def make(
    parts: Parts,
    name: str,
    scopes: Sequence[str],
    by: str,
    clearance: str | None = None,
    per_minute: int = PER_MINUTE,
    days: int | None = None,
) -> tuple[Key, str]:
    """Make a key; return its record and the secret, which is shown this once and kept nowhere.

    Args:
        days: after how many days it opens nothing any more; None for never.

    Raises:
        InputError: for an empty name, an unknown scope or clearance, or duties that must be separate.
    """
    check_key(name, scopes, clearance, per_minute, separate(parts))
    secret = new_secret()
    record = Key(
        id=new_id("kch"),
        at=utc_now(),
        key=new_id("key"),
        name=name,
        scopes=tuple(sorted(set(scopes))),
        clearance=clearance,
        digest=secret_digest(secret),
        per_minute=per_minute,
        expires=None if days is None else _later(days * 86_400, "days"),
        by=by,
    )
    parts.ledger.append([record])
    return record, secret


def rotate(parts: Parts, key: str, by: str, grace_seconds: int = 0) -> tuple[Key, str]:
    """Give a key a new secret; the old one goes on opening for the grace, so that clients can be changed over without a gap.

    Raises:
        NotFoundError: there is no such key.
        ConflictError: it was revoked.
    """
    secret = new_secret()
    until = _later(grace_seconds, "grace")
    return _changed(
        parts.ledger,
        key,
        by,
        lambda old: {"digest": secret_digest(secret), "previous": old.digest, "previous_until": until},
    ), secret


def revoke(parts: Parts, key: str, by: str) -> Key:
    """Make a key open nothing any more. Raises as `rotate`."""
    return _changed(parts.ledger, key, by, lambda _: {"active": False})


def listed(ledger: Ledger) -> list[dict[str, Any]]:
    """Every key as it is now, oldest first, without its digests."""
    return [shown(k) for k in views.keys(ledger).values()]


def shown(key: Key) -> dict[str, Any]:
    """A key without its digests."""
    return key.model_dump(mode="json", exclude={"digest", "previous", "id"})


def _changed(ledger: Ledger, key: str, by: str, change: Callable[[Key], dict[str, Any]]) -> Key:
    def work(db: sqlite3.Connection, _: Head) -> list[Key]:
        # Inside the writer's transaction, so that a rotation never brings a key back that is being revoked.
        entry = rows.latest_with(db, "key", "key", key)
        if entry is None:
            raise NotFoundError(f"There is no key {key!r}.", "List them with `sekisho keys list`.")
        old = cast(Key, entry.record)
        if not old.active:
            raise ConflictError(f"The key {key} was revoked.", "Make a new one.")
        fresh = {"id": new_id("kch"), "at": utc_now(), "by": by}
        return [old.model_copy(update=fresh | change(old))]

    (entry,) = ledger.act(work)
    return cast(Key, entry.record)


def _later(seconds: int, what: str) -> str:
    if not 0 <= seconds <= _LONGEST_DAYS * 86_400:
        raise InputError(f"{what} is out of range.", f"Give 0 to {_LONGEST_DAYS} days.", ("body", what))
    return utc_after(utc_now(), seconds)


def require_keys(parts: Parts) -> None:
    """Refuse to serve where the settings would let anybody in, or name only half of what TLS needs.

    Raises:
        ConflictError: others can reach the address, and there is neither a token nor a key.
        SettingsError: one of `tls_cert` and `tls_key` without the other, or a file that is not there.
    """
    settings = parts.settings
    files = {name: settings.values[name] for name in ("tls_cert", "tls_key")}
    if any(files.values()) and not all(p is not None and p.is_file() for p in files.values()):
        wrong = [
            f"{name}: {path}, no such file" if path else f"{name}: is not set"
            for name, path in files.items()
            if not path or not path.is_file()
        ]
        raise SettingsError(wrong)
    if not settings.is_loopback() and not settings.token_list() and not Ring(parts).ever:
        raise ConflictError(
            f"Others can reach {settings.host}, and there is no API key.",
            "Make one: `sekisho keys make NAME --scope judge`.",
        )


class Ring:
    """The keys a server opens for, as the ledger has them, and how often each was used.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, parts: Parts, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._separate, self._clock = parts.ledger, separate(parts), clock
        self._seq = -1
        self._by_digest: dict[str, Key] = {}
        self._buckets: dict[tuple[str, int], Bucket] = {}
        self._due = 0.0
        self.ever = False
        self._load()

    def _load(self) -> None:
        newest = self._ledger.entries(kind="key", limit=1, newest_first=True)
        seq = newest[0].seq if newest else 0
        if seq == self._seq:
            return
        keys = views.keys(self._ledger).values()
        found = {k.digest: k for k in keys} | {k.previous: k for k in keys if k.previous}
        # `ever`, not "any active": revoking the last key must not throw the door open.
        self._by_digest, self._seq, self.ever = found, seq, bool(newest)

    async def refresh(self) -> None:
        """Look for changes, at most once a second. Raises LedgerError: whose key it is cannot be told then, so nobody comes in."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + FRESH_SECONDS
        try:
            await asyncio.to_thread(self._load)
        except BaseException:
            self._due = 0.0
            raise

    def find(self, digest: str) -> Caller | None:
        """Who comes with a secret of that digest; None when nobody does."""
        key = self._by_digest.get(digest)
        return caller_of(key, digest, utc_now(), self._separate) if key else None

    def wait(self, caller: Caller) -> float:
        """Seconds until this caller may ask again; 0 when now, which is then counted."""
        if caller.key is None or caller.per_minute is None:
            return 0.0
        now, name = self._clock(), (caller.key, caller.per_minute)
        if name not in self._buckets:
            self._buckets[name] = Bucket(caller.per_minute, now)
        return self._buckets[name].take(now)
