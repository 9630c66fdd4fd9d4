"""Request forms of our own routes: a body read under its limit, and nothing in it that the form does not know."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from ..core.errors import InputError
from ..core.question import Frozen
from .bodies import read_object

F = TypeVar("F", bound=Frozen)


async def read_form(request: Request, limit: int, form: type[F]) -> F:
    """Read a request's body as one of our own forms. Raises as `bodies.read_object`, and InputError as `fill`."""
    _, body = await read_object(request, limit)
    return fill(form, body)


def fill(form: type[F], body: dict[str, Any]) -> F:
    """Read one of our own request forms; these know all their fields.

    Raises:
        InputError: with the place of the first thing wrong.
    """
    try:
        return form.model_validate(body, strict=True)
    except ValidationError as e:
        first = e.errors()[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}.", "", ("body", *first["loc"])
        ) from None
