"""Errors as responses: one envelope for all of them, whatever went wrong and wherever."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.errors import CollectionUnavailable, FootnoteError, ModelUnavailable
from rag.jsonform import dumps, error_object
from server.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    NoSuchPath,
    Unauthorised,
    UnsupportedMedia,
)
from server.routes import allowed

LOG = logging.getLogger("footnote.server")

UNEXPECTED = FootnoteError("something went wrong that should not have; the server's log says more")

_BY_STATUS = {404: NoSuchPath, 405: MethodNotAllowed, 413: BodyTooLarge, 415: UnsupportedMedia}
_RETRY_S: dict[type[FootnoteError], int] = {ModelUnavailable: 30, CollectionUnavailable: 5}


def envelope(error: FootnoteError) -> dict[str, Any]:
    """The error as the object that every client gets."""
    return error_object(error, error.param)


def error_response(error: FootnoteError, headers: Mapping[str, str] | None = None) -> Response:
    response = json_response(envelope(error), error.status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    retry_after = getattr(error, "retry_after_s", _RETRY_S.get(type(error)))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if isinstance(error, Unauthorised):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def json_response(value: dict[str, Any], status: int = 200) -> Response:
    """As `rag.jsonform.dumps` writes it, so that every interface shows the same characters."""
    return Response(dumps(value), status, media_type="application/json")


def handle_errors(app: FastAPI) -> None:
    """Answer with the envelope to what routes and the framework raise. `Errors` has everything else."""

    @app.exception_handler(FootnoteError)
    async def _ours(_: Request, error: FootnoteError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return error_response(invalid(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = _BY_STATUS.get(error.status_code)
        if kind is None:
            return error_response(InvalidRequest(str(error.detail)), error.headers)
        message = {
            404: f"there is nothing at {request.url.path}",
            405: f"{request.url.path} does not take {request.method}",
        }.get(error.status_code, str(error.detail))
        # The framework knows the methods of the first route of a path only.
        headers = {"Allow": allowed(app, request.scope)} if kind is MethodNotAllowed else error.headers
        return error_response(kind(message), headers)


class Errors:
    """Answers with the envelope to what stands in front of the routes, and to the unexpected."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def sent(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except FootnoteError as error:
            if has_begun:
                raise
            await error_response(error)(scope, receive, send)
        except Exception as error:
            log_unexpected(error, scope)
            if has_begun:
                raise
            await error_response(UNEXPECTED)(scope, receive, send)


def log_unexpected(error: Exception, scope: Scope) -> None:
    """What no client is told, with its traceback."""
    LOG.error("unexpected", exc_info=error, extra={"request_id": scope["state"]["request_id"]})


def invalid(errors: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """The first thing that validation found, with the name of its field."""
    first = errors[0]
    param = field_name(first["loc"][1:])
    if first["type"] == "missing":
        reason = "is missing"
    elif first["type"] == "extra_forbidden":
        reason = "is not known here"
    elif first["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        reason = "is not an object"
    elif first["type"] == "json_invalid":
        return InvalidRequest("the body is not JSON")
    else:
        reason = "is not usable: " + first["msg"].removeprefix("Value error, ").replace(
            "Input should", "it should"
        )
    return InvalidRequest(f"{param or 'the ' + str(first['loc'][0])} {reason}", param or None)


def field_name(path: Sequence[str | int]) -> str:
    """`("messages", 0, "role")` as people write it: messages[0].role."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part}" if name else part
    return name
