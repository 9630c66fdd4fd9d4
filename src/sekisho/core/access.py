"""Who may do what: scopes, the secrets that open them, and how often. Pure; knows no clock, ledger or wire."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .canonical import digest_text
from .errors import InputError
from .gate_prompt import LEVELS
from .oversight import Key

SCOPES: Mapping[str, str] = {
    "judge": "ask the gate and every other question, chat, and read what became of one's own escalations",
    "correct": "file corrections, decide escalations, and read judgements",
    "promote": "promote a release, or take the last promotion back",
    "audit": "read judgements, corrections, escalations, promotions and metrics",
    "admin": "make, rotate and revoke API keys",
}
"""Every scope with what it opens. None contains another."""

EVERYTHING = frozenset(SCOPES)
SEPARATED = frozenset({"correct", "promote"})
"""Scopes that no one holds together where duties are separate."""
MOST_PER_MINUTE = 1_000_000
_PREFIX = "sekisho_"
_BURST_SECONDS = 10.0
"""Seconds of its rate that a key may use at once."""


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        key: lasting name of the API key; None for a bearer token of the settings, and on a loopback address that asks for none.
        name: whose the key is; None as above.
        clearance: level of secrecy at which the gate judges; None for the default.
        per_minute: most requests a minute; None for no limit.
    """

    key: str | None
    name: str | None
    scopes: frozenset[str]
    clearance: str | None = None
    per_minute: int | None = None

    def may(self, wanted: Iterable[str]) -> bool:
        """Whether one of the wanted scopes is held."""
        return not self.scopes.isdisjoint(wanted)


def new_secret() -> str:
    """Return a fresh API key of 256 random bits.

    It is kept as a plain SHA-256: slow hashes protect what people choose, and nobody finds 256 random bits by trying.
    """
    return _PREFIX + secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    """Return what is kept of an API key."""
    return digest_text(secret)


def caller_of(key: Key, digest: str, now: str, separate: bool) -> Caller | None:
    """Return who comes with a secret of that digest; None when the key does not open by it at this time.

    Args:
        now: UTC time as `utc_now` writes it; such texts sort by time.
        separate: whether duties are separate; a key with both of them then loses `promote`.
    """
    fresh = digest == key.digest
    waning = digest == key.previous and key.previous_until is not None and now < key.previous_until
    if not key.active or not (fresh or waning) or (key.expires is not None and now >= key.expires):
        return None
    scopes = frozenset(key.scopes)
    if separate and scopes >= SEPARATED:
        scopes -= {"promote"}
    return Caller(key.key, key.name, scopes, key.clearance, key.per_minute)


def check_key(
    name: str, scopes: Sequence[str], clearance: str | None, per_minute: int, separate: bool
) -> None:
    """Refuse a key that cannot be. Raises InputError naming the first thing wrong, with the valid values."""
    if not name.strip() or len(name) > 200:
        raise InputError(
            "The key's name is empty or too long.", "Give 1 to 200 characters.", ("body", "name")
        )
    unknown = sorted(set(scopes) - EVERYTHING)
    if unknown or not scopes:
        raise InputError(
            f"There is no scope {', '.join(map(repr, unknown)) or 'given'}.",
            f"Use one or more of: {', '.join(SCOPES)}.",
            ("body", "scopes"),
        )
    if separate and set(scopes) >= SEPARATED:
        raise InputError(
            "Duties are separate: who corrects does not promote.", "Make two keys.", ("body", "scopes")
        )
    if clearance is not None and clearance not in LEVELS:
        raise InputError(
            f"There is no level {clearance!r}.", f"Use one of: {', '.join(LEVELS)}.", ("body", "clearance")
        )
    if not 1 <= per_minute <= MOST_PER_MINUTE:
        raise InputError(
            f"{per_minute} requests a minute are out of range.",
            f"Give 1 to {MOST_PER_MINUTE}.",
            ("body", "per_minute"),
        )


class Bucket:
    """A token bucket: on average `per_minute` requests a minute, and what ten seconds of that rate allow at once.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._rate = per_minute / 60.0
        self._most = max(1.0, self._rate * _BURST_SECONDS)
        self._left, self._at = self._most, now

    def take(self, now: float) -> float:
        """Take one request out and return 0, or return the seconds until there is one."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self._rate
