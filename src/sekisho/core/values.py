"""How a setting's value is read: each turns text or a TOML value into the value, and raises ValueError with what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .retention import retention_days


def text(value: Any) -> str:
    """A text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a non-empty text")
    return value


def optional(value: Any) -> str | None:
    """A text, or None when it is empty."""
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value or None


def path(value: Any) -> Path:
    """An absolute path, `~` resolved."""
    try:
        return Path(text(str(value) if isinstance(value, Path) else value)).expanduser().absolute()
    except RuntimeError:  # `~name` of a user who does not exist
        raise ValueError("expected a path in a home folder that exists") from None


def optional_path(value: Any) -> Path | None:
    """A path, or None when nothing is given."""
    return path(value) if value else None


def address(value: Any) -> str | None:
    """An address of HTTP, or None when it is empty."""
    given = optional(value)
    if given is not None and not given.startswith(("http://", "https://")):
        raise ValueError("expected an address that begins with http:// or https://")
    urlsplit(given or "").port  # noqa: B018  reading it checks it
    return given


def host_port(item: str) -> tuple[str, int | None]:
    """Read `host` or `host:port`. Raises ValueError."""
    text = item.strip().lower()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "")
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError(f"{item.strip()!r} is no host or host:port")
    return host, int(port) if port else None


def allow_list(text: str) -> frozenset[tuple[str, int | None]]:
    """Hosts and ports of a text with commas between them. Raises ValueError."""
    return frozenset(host_port(item) for item in text.split(",") if item.strip())


def hosts(value: Any) -> str | None:
    """Hosts or host:port with commas between them, as written; None when it is empty."""
    given = optional(value)
    allow_list(given or "")
    return given


def retention(value: Any) -> str:
    """Days by class, as written."""
    retention_days(str(value))
    return str(value)


def choice(*valid: str) -> Callable[[Any], str]:
    """One of these words."""

    def parse(value: Any) -> str:
        if value not in valid:
            raise ValueError(f"expected one of {', '.join(valid)}")
        return str(value)

    return parse


def some(*valid: str) -> Callable[[Any], str]:
    """At least one of these words, separated by commas; as written, without blanks."""

    def parse(value: Any) -> str:
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        if not words or not set(words) <= set(valid):
            raise ValueError(f"expected some of {', '.join(valid)}, separated by commas")
        return ",".join(words)

    return parse


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A whole number from `low` to `high`."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(f"expected a whole number from {low} to {high}")
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"expected a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return number

    return parse


def real(low: float, high: float) -> Callable[[Any], float]:
    """A number from `low` to `high`."""

    def parse(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"expected a number from {low:g} to {high:g}") from None
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}")
        return number

    return parse
