"""The shapes of `/api/documents`, for its description at /openapi.json and for what comes in as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.documented import ON_WRITES, ErrorDetail, ErrorEnvelope


class PastedText(BaseModel):
    """Text to add without a file."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"title": "Note", "text": "…"}]}
    )

    title: str = Field("", max_length=300, description="without one, a headline in the text is taken")
    text: str = Field(min_length=1)


class ListedDocument(BaseModel):
    """A document in a list. `uri` says where it came from: a file's, or `upload:…`."""

    id: str
    title: str
    uri: str
    characters: int
    passages: int
    added_at: str = Field(description="ISO 8601, UTC")


class DocumentList(BaseModel):
    """`next` goes into `after` for the next page; `total` counts all that match."""

    documents: list[ListedDocument]
    next: str | None
    total: int


class PageRange(BaseModel):
    """One page of a paged document, as characters of its text."""

    number: int
    start: int
    end: int


class DocumentDetails(ListedDocument):
    """`uris` are all places that the same text came from."""

    uris: list[str]
    media_type: str
    sha256: str
    metadata: dict[str, str]
    pages: list[PageRange]
    has_source: bool = Field(description="whether /source has the file as it was uploaded")


class DocumentText(BaseModel):
    """The characters [start, end) of a text of `length`: Unicode code points from 0."""

    id: str
    title: str
    uri: str
    sha256: str
    start: int
    end: int
    text: str
    length: int
    pages: list[PageRange]
    current: str | None = Field(
        description="null; where the file was edited since, the id of what it says now: `text` is as it was"
    )


class Scope(BaseModel):
    """A folder as an absolute path, or a tag, and how many documents are in it."""

    name: str
    documents: int


class ScopeList(BaseModel):
    """What goes into the filters `paths` and `tags` of a question; the largest first, twenty of each."""

    folders: list[Scope]
    tags: list[Scope]


class UploadResult(BaseModel):
    """What became of one file: a document, or the error that kept it from being one."""

    name: str
    status: Literal["added", "unchanged", "updated", "failed"]
    document: ListedDocument | None
    error: ErrorDetail | None


class UploadResults(BaseModel):
    """In the order in which the files came."""

    results: list[UploadResult]


UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {
                    "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        "application/json": {"schema": PastedText.model_json_schema()},
    },
}
"""The framework cannot describe a body of two types."""

_REASONS = {
    404: "No document has this id",
    409: "Another process is writing; Retry-After says when to try again",
    415: "No readable kind of file, or not what its name says; or another content type",
    422: "Empty, encrypted, without text, damaged, or too much to read",
    503: "Too many documents are being added, or it is being stopped; Retry-After",
}


def refusals(*statuses: int, writes: bool = False) -> dict[int | str, dict[str, Any]]:
    """What a route documents of its errors, beside those of every route."""
    own: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorEnvelope, "description": _REASONS[status]} for status in statuses
    }
    return {**(ON_WRITES if writes else {}), **own}
