"""What the routes work with: the house, its judge, the watch over promotions and the book of retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from ..core.access import Caller
from ..core.errors import InputError, NotFoundError
from ..loop.judge import Judge
from ..loop.nli import Nli
from ..loop.parts import Parts
from ..loop.recognise import Eyes
from ..loop.retries import RetryBook
from ..loop.serving import PromotionWatch

ALIAS = "jev-latest"
"""The model name that System One's clients send when nobody told them another; it means whatever serves."""


@dataclass(frozen=True)
class Desk:
    """Everything a request needs."""

    parts: Parts
    judge: Judge
    watch: PromotionWatch
    retries: RetryBook[Any]
    nli: Nli
    eyes: Eyes

    @property
    def model(self) -> str:
        """Name of the model that serves now."""
        return self.judge.serving.stamp.model

    @property
    def body_limit(self) -> int:
        """Largest body, in bytes."""
        return int(self.parts.settings.max_body_bytes)

    def require_model(self, name: Any) -> None:
        """Check the model a client names.

        Raises:
            InputError: when it is no text.
            NotFoundError: when it is not served here.
        """
        if not isinstance(name, str):
            raise InputError("`model` is not a text.", f"Send {self.model!r}.", ("body", "model"))
        if name not in (self.model, ALIAS):
            raise NotFoundError(f"There is no model {name!r} here.", f"Use {self.model!r} or {ALIAS!r}.")


def desk_of(request: Request) -> Desk:
    """The desk of the app a request came to."""
    desk: Desk = request.app.state.desk
    return desk


def request_id(request: Request) -> str:
    """The id the door gave a request."""
    given: str = request.state.request_id
    return given


def caller_of(request: Request) -> Caller:
    """Whom the door let in."""
    caller: Caller = request.state.caller
    return caller


def links_of(caller: Caller) -> dict[str, str]:
    """The link by which a judgement remembers whose request it was; none without an API key."""
    return {"key": caller.key} if caller.key else {}


def name_of(caller: Caller, said: str | None) -> str:
    """The name written into the ledger: the API key's, which nobody can choose; without a key what the client says."""
    return caller.name or ("operator" if said is None else said)
