"""What the description at /openapi.json says of errors: the envelope, and when each status comes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from server.envelope import envelope
from server.errors import (
    BodyTooLarge,
    ForeignOrigin,
    InvalidRequest,
    MethodNotAllowed,
    Stopping,
    TooBusy,
    Unauthorised,
    UnsupportedMedia,
)


class ErrorDetail(BaseModel):
    """`param` is the field that it is about, `code` a name that stays."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorEnvelope(BaseModel):
    """The one shape of errors."""

    error: ErrorDetail


_EXAMPLES = {
    400: ("Not usable as sent: not JSON, a field missing or wrong, a foreign Host", InvalidRequest("…", "n")),
    401: ("The key is missing or another", Unauthorised("this server wants its key")),
    403: ("A page of another site may not write", ForeignOrigin("a page of another site may not write here")),
    405: ("Another method is wanted", MethodNotAllowed("/api/ask does not take PUT")),
    413: ("The body is too large", BodyTooLarge("the body is larger than 1048576 bytes")),
    415: ("The content type is another", UnsupportedMedia("the content type is text/plain")),
    429: ("The queue is full; Retry-After says when to ask again", TooBusy("8 questions wait")),
    503: ("It is being stopped, or the model cannot be had; Retry-After", Stopping("it is being stopped")),
}
_OTHERS = {
    404: "There is no such thing",
    409: "What was asked for changed meanwhile",
    500: "Something went wrong that should not have",
    502: "The model's process died; ask again",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route other than its successes."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    if status not in _EXAMPLES:
        return {"model": ErrorEnvelope, "description": _OTHERS[status]}
    description, error = _EXAMPLES[status]
    content = {"application/json": {"example": envelope(error)}}
    return {"model": ErrorEnvelope, "description": description, "content": content}


EVERYWHERE = errors(400, 401, 405, 500)
"""What any route may answer."""

ON_WRITES = errors(403, 413, 415)
