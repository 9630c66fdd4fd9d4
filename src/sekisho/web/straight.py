"""Routes that want nothing of the framework: a path without parameters, the request in, an answer out. The door calls them straight.

Between the door and such a route lie some twenty calls of the framework, there and back, which find out that there is nothing to do.
The routes are declared to it all the same, so they are in the OpenAPI document, and what it knows of them is what is called here.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import get_type_hints

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]


def straight(routers: Iterable[APIRouter]) -> Mapping[tuple[str, str], Endpoint]:
    """The endpoints that take a request and return an answer, by method and path."""
    return {
        (method, route.path): route.endpoint
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and _is_plain(route)
        for method in route.methods or ()
    }


def _is_plain(route: APIRoute) -> bool:
    """Whether FastAPI has nothing to read, check or write for it."""
    return (
        inspect.iscoroutinefunction(route.endpoint)
        and not (route.dependencies or route.dependant.path_params)
        and get_type_hints(route.endpoint) == {"request": Request, "return": Response}
    )
