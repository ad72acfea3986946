"""Which requests a route is there for, asked of the routes themselves."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def is_served(app: FastAPI, scope: Scope) -> bool:
    """Whether a route takes this path with this method."""
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


def allowed(app: FastAPI, scope: Scope) -> str:
    """The methods that the path takes, as the header Allow lists them."""
    return ", ".join(method for method in METHODS if is_served(app, {**scope, "method": method}))
