"""A witness behind an HTTP address of the allow-list: `GET` gives its lines, `POST` adds some. Any server that keeps what it was sent will do."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..core.errors import LedgerError, SettingsError
from ..core.settings import Settings
from ..host.egress import is_listed

if TYPE_CHECKING:
    import httpx

_SECONDS = 20.0
_GONE = 404
_LARGEST = 1 << 30
"""Bytes of lines taken from an address; 32 a judgement."""


@contextmanager
def fetched(settings: Settings) -> Iterator[Path | None]:
    """Lend what the address holds now as a witness file; None when no address is set. The file is gone afterwards.

    Raises:
        SettingsError: the address is not on the allow-list.
        LedgerError: it cannot be read.
    """
    url = settings.witness_url
    if url is None:
        yield None
        return
    require_listed(settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "witness.jsonl"
        path.write_bytes(_lines(url))
        yield path


def require_listed(settings: Settings) -> None:
    """Raise SettingsError unless the set address is loopback or on the allow-list, `egress`."""
    parts = urlsplit(settings.witness_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not is_listed(parts.hostname or "", port, settings.egress or ""):
        raise SettingsError(
            [f"witness_url: {parts.hostname}:{port} is not in `egress`, which lists what may be reached"]
        )


def _lines(url: str) -> bytes:
    answer = _call("GET", url)
    if answer.status_code == _GONE:
        return b""
    if len(answer.content) > _LARGEST:
        raise LedgerError(f"The witness {url} sent more than {_LARGEST} bytes.", "Keep one address a ledger.")
    content = _fine(answer, url).content
    return content[: content.rfind(b"\n") + 1]


def deliver(settings: Settings, lines: bytes) -> None:
    """Send new lines to the address; they count as witnessed when it answers with a status of 200 to 299.

    Raises:
        LedgerError: it does not.
    """
    if lines:
        _fine(_call("POST", settings.witness_url, lines), settings.witness_url)


def _call(method: str, url: str, body: bytes | None = None) -> httpx.Response:
    import httpx

    kind = {"content-type": "application/jsonl"} if body is not None else {}
    try:
        # The system's certificates (or SSL_CERT_FILE) are believed; a proxy from the environment is not asked.
        with httpx.Client(verify=ssl.create_default_context(), trust_env=False, timeout=_SECONDS) as client:
            return client.request(method, url, content=body, headers=kind)
    except httpx.HTTPError as e:
        raise LedgerError(
            f"The witness {url} cannot be reached: {e}.", "Check it, then take another checkpoint."
        ) from e


def _fine(answer: httpx.Response, url: str) -> httpx.Response:
    if not answer.is_success:
        raise LedgerError(
            f"The witness {url} answered {answer.status_code}.", "Check it, then take another checkpoint."
        )
    return answer
