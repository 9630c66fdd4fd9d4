"""Calls to a far server: tried again with jitter while the deadline allows, and not at all while the circuit is open."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from ...core.errors import EngineError, EngineTimeoutError, InputError, TooLargeError
from ..deadline import by
from .breaker import Breaker
from .wire import json_object

_TRIES = 3
_PAUSE = 0.2
"""Seconds the first pause lasts at most, doubled each time; how long it lasts is drawn ("full jitter")."""
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
_TOO_LONG = ("context", "too long", "maximum length", "max_model_len")


class AbsentError(EngineError):
    """The far server does not have what was asked for."""


class FailedError(EngineError):
    """The far server was reached, and failed by itself (status 500) or said something that makes no sense."""


@dataclass(frozen=True)
class Names:
    """The settings a server was named with: what people are told to check."""

    url: str = "remote_url"
    model: str = "remote_model"
    key: str = "remote_key"


class Link:
    """Connections to one server.

    Args:
        url: its root, without `/v1`.
        key: bearer token; None sends none.
        names: the settings these come from.
    """

    def __init__(
        self, url: str, key: str | None, breaker: Breaker | None = None, names: Names | None = None
    ) -> None:
        self.names = names or Names()
        self._url, self._key = url.rstrip("/").removesuffix("/v1"), key
        self._breaker = breaker or Breaker()
        self._open: httpx.AsyncClient | None = None

    def start(self) -> None:
        """Make the connections' pool; nothing is sent. No proxy is used and no redirect followed: the server is the one that was named."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._open = self._open or httpx.AsyncClient(
            base_url=self._url,
            headers=headers,
            timeout=None,  # noqa: S113  (every call has a deadline)
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close every connection; safe to call twice."""
        client, self._open = self._open, None
        if client is not None:
            await client.aclose()

    def require_up(self) -> httpx.AsyncClient:
        """The pool. Raises EngineError before the start, and while the circuit is open."""
        if self._open is None:
            raise EngineError("The engine is not running.", "Start it first.")
        wait = self._breaker.wait(time.monotonic())
        if wait:
            raise EngineError(f"{self._url} failed too often.", f"It is tried again in {wait:.0f} s.")
        return self._open

    async def get(self, path: str, deadline: float) -> dict[str, Any]:
        """The JSON object at `path`. Raises as `post` does."""
        return await self._call("GET", path, None, deadline)

    async def reach(self, path: str, deadline: float) -> None:
        """Whether anything answers 200 at `path`; what it says is not read. Raises as `post` does."""
        async with self._answered("GET", path, None, deadline):
            pass

    async def post(
        self, path: str, body: Mapping[str, Any], deadline: float, tries: int = _TRIES
    ) -> dict[str, Any]:
        """Post and read a JSON object; what fails for a while is tried again, `tries` times in all.

        Raises:
            AbsentError: when the server has no such route or model, or cannot do it.
            FailedError: when it failed each time, or what it said is no JSON object.
            TooLargeError: when the prompt does not fit.
            EngineTimeoutError, EngineError: when no answer came, or none that can be read.
        """
        return await self._call("POST", path, body, deadline, tries)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float, tries: int = _TRIES
    ) -> dict[str, Any]:
        async with self._answered(method, path, body, deadline, tries) as response:
            await by(deadline, self._spoken(response.aread()))
            try:
                return json_object(response.text, "The far server")
            except EngineError as e:
                raise FailedError(e.what, e.do) from e

    async def events(
        self, path: str, body: Mapping[str, Any], deadline: float
    ) -> AsyncGenerator[dict[str, Any]]:
        """Server-sent events of a stream, until `[DONE]`. It is tried again only before its first byte."""
        async with self._answered("POST", path, body, deadline) as response:
            lines = response.aiter_lines()
            while (line := await by(deadline, self._spoken(_next(lines)))) is not None:
                told = line.removeprefix("data:").strip()
                if not line.startswith("data:") or not told:
                    continue
                if told == "[DONE]":
                    return
                event = json_object(told, "The far server")
                if "error" in event:
                    raise EngineError(f"The far server broke off: {told[:200]}", "Try again.")
                yield event

    @asynccontextmanager
    async def _answered(
        self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float, tries: int = _TRIES
    ) -> AsyncIterator[httpx.Response]:
        """An answer with status 200, its body not yet read; closed at the end."""
        response = await self._begun(method, path, body, deadline, tries)
        try:
            yield response
        finally:
            await response.aclose()

    async def _begun(
        self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float, tries: int
    ) -> httpx.Response:
        for tried in range(1, tries + 1):
            client = self.require_up()
            try:
                return await self._once(client, method, path, body, deadline)
            except _AgainError as e:
                pause = max(random.uniform(0, _PAUSE * 2**tried), e.after)
                late = asyncio.get_running_loop().time() + pause >= deadline
                if tried == tries or late:
                    kind = FailedError if e.status == 500 else EngineError
                    raise kind(e.what, e.do or "Try again in a moment.") from e
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        deadline: float,
    ) -> httpx.Response:
        """One try. The breaker hears of everything that is the server's own failure, and of nothing else."""
        self._breaker.passed(time.monotonic())
        told = False
        try:
            request = client.build_request(method, path, json=body)
            response: httpx.Response = await by(deadline, self._spoken(client.send(request, stream=True)))
            if response.status_code in _AGAIN:
                raise await self._passing(response, deadline)
            self._breaker.went_well()
            told = True
            if response.status_code != 200:
                raise await self._refusal(response, deadline)
            return response
        except (_AgainError, EngineTimeoutError):
            self._breaker.failed(time.monotonic())
            told = True
            raise
        finally:
            if not told:
                self._breaker.left()

    async def _passing(self, response: httpx.Response, deadline: float) -> _AgainError:
        """What a status means that may be another in a moment, in the server's own words."""
        after, text = response.headers.get("retry-after", ""), await self._read(response, deadline)
        told = f"{self._url} answered {response.status_code}{text and ': '}{text}"
        return _AgainError(told, after, response.status_code)

    async def _refusal(self, response: httpx.Response, deadline: float) -> Exception:
        """What a status means that trying again would not change."""
        text = await self._read(response, deadline)
        told = f"{self._url} answered {response.status_code}: {text}"
        if response.status_code == 413 or any(word in text.lower() for word in _TOO_LONG):
            return TooLargeError("The prompt does not fit the far model's context.", "Shorten it.")
        if response.status_code in (401, 403):
            return EngineError(told, f"Check `{self.names.key}`.")
        return AbsentError(told, f"Check `{self.names.url}` and `{self.names.model}`.")

    async def _read(self, response: httpx.Response, deadline: float) -> str:
        """The beginning of a body that is an error."""
        await by(deadline, self._spoken(response.aread()))
        await response.aclose()
        return response.text[:300]

    async def _spoken(self, work: Any) -> Any:
        """What a connection brings; what goes wrong with it, in words that name the server and its setting."""
        try:
            return await work
        except httpx.InvalidURL as e:
            raise InputError(f"`{self.names.url}` is no address: {e}.") from e
        except httpx.HTTPError as e:
            told = f"{self._url}: the connection broke ({type(e).__name__})."
            raise _AgainError(told, do=f"Is the server up? Check `{self.names.url}`.") from e


class _AgainError(EngineError):
    """Something that may go well in a moment."""

    def __init__(self, what: str, after: str = "", status: int = 0, do: str = "") -> None:
        super().__init__(what, do)
        self.status = status
        self.after = float(after) if after.isascii() and after.isdigit() else 0.0


async def _next(lines: AsyncIterator[str]) -> str | None:
    return await anext(lines, None)
