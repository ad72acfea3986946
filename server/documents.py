"""Documents over HTTP: listed, added, read by character ranges, removed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import HTMLResponse, Response, StreamingResponse

from index.errors import CollectionLocked, FootnoteError, UnknownDocument
from index.types import Collection, Document, ListedDocument
from rag.session import open_readings
from server.document_schemas import (
    UPLOAD_BODY,
    DocumentDetails,
    DocumentList,
    DocumentText,
    PastedText,
    ScopeList,
    UploadResults,
    refusals,
)
from server.envelope import envelope, error_response, invalid, json_response
from server.errors import InvalidRequest
from server.parsing import Parser
from server.passages import missing_page, passage_page
from server.security import is_authorised
from server.shelf import Shelf, Shelved
from server.state import ServerState
from server.uploads import Received, UploadFolder, receive_files, shown_name

MOST_TEXT = 1_000_000
"""Characters of a document in one response."""

LOCKED_RETRY_S = 5
"""When a writer in another process may have ended."""

_CHUNK_BYTES = 256 * 1024

Limit = Annotated[int, Query(ge=1, le=200, description="documents on a page")]
Cursor = Annotated[
    str | None, Query(pattern="^[0-9]{1,18}$", description="`next` of the page before, as it came")
]
Title = Annotated[str, Query(max_length=200, description="only documents whose title holds this")]
Words = Annotated[str, Query(max_length=200, description="only those whose name holds this")]
Offset = Annotated[int | None, Query(ge=0, description="in characters: Unicode code points from 0")]


def open_shelf(state: ServerState) -> Shelf:
    """What adds and removes; starts no process and no thread before the first document."""
    return Shelf(
        state.session.collection,
        UploadFolder(state.uploads_folder),
        open_readings(state.settings),
        Parser(seconds=state.server.parse_s),
        max_file_bytes=state.settings.index.max_file_bytes,
        cut_off=state.cut_off,
    )


def documents_router(state: ServerState) -> APIRouter:
    shelf = open_shelf(state)
    collection = state.session.collection

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await state.run(shelf.open)
        try:
            yield
        finally:
            shelf.close()

    router = APIRouter(tags=["documents"], lifespan=lifespan)

    @router.get(
        "/api/documents",
        summary="List documents, the latest first",
        responses={200: {"model": DocumentList}, **refusals()},
    )
    async def list_documents(limit: Limit = 50, after: Cursor = None, q: Title = "") -> Response:
        def read() -> dict[str, Any]:
            found = collection.listing(limit=limit, before=int(after) if after else None, title=q)
            return {
                "documents": [_listed(document) for document in found.documents],
                "next": None if found.next is None else str(found.next),
                "total": found.total,
            }

        return json_response(await state.run(read))

    @router.post(
        "/api/documents",
        summary="Add files, or pasted text",
        description="Several files at once: each has a result of its own, and 207 says that they differ. "
        "The same file sent twice is the same document.",
        responses={
            200: {"model": UploadResults},
            207: {"model": UploadResults},
            **refusals(409, 415, 422, 503, writes=True),
        },
        openapi_extra={"requestBody": UPLOAD_BODY},
    )
    async def add_documents(request: Request) -> Response:
        with shelf.receiving():
            return await added(request)

    async def added(request: Request) -> Response:
        folder = await state.run(shelf.folder.make_incoming)
        try:
            if request.headers.get("content-type", "").lower().startswith("multipart/"):
                title = ""
                files = await receive_files(
                    request,
                    folder,
                    most_files=state.server.upload_files,
                    most_bytes=state.settings.index.max_file_bytes,
                    run=state.run,
                )
            else:
                pasted = _pasted(await request.body())
                title = pasted.title
                files = [await state.run(_written, folder, pasted)]
            outcomes = [(file.name, await _outcome(shelf, file, title)) for file in files]
        finally:
            await state.run(shelf.folder.remove_incoming, folder)
        if len(outcomes) == 1 and isinstance(error := outcomes[0][1], FootnoteError):
            return _refusal(error)
        status = 207 if any(isinstance(outcome, FootnoteError) for _, outcome in outcomes) else 200
        return json_response({"results": [_result(name, outcome) for name, outcome in outcomes]}, status)

    @router.get(
        "/api/documents/{document_id}",
        summary="What is known of a document",
        responses={200: {"model": DocumentDetails}, **refusals(404)},
    )
    async def details(document_id: str) -> Response:
        def read() -> dict[str, Any]:
            listed = collection.listed(document_id)
            document = collection.document(document_id)
            return {
                **_listed(listed),
                "uris": list(listed.uris),
                "media_type": listed.media_type,
                "sha256": listed.sha256,
                "metadata": dict(document.metadata),
                "pages": _pages(document),
                "has_source": any(shelf.folder.holds(uri) for uri in listed.uris),
            }

        return json_response(await state.run(read))

    @router.get(
        "/api/documents/{document_id}/text",
        summary="A range of a document's text",
        description=f"At most {MOST_TEXT:,} characters: `end` says how far it goes, `length` what there is.",
        responses={200: {"model": DocumentText}, **refusals(404)},
    )
    async def text(document_id: str, start: Offset = None, end: Offset = None) -> Response:
        def read() -> dict[str, Any]:
            document, now = _as_cited(collection, document_id)
            first, last = _range(start, end, len(document.text))
            return {
                "id": document_id,
                "title": document.title,
                "uri": document.uri,
                "sha256": document.sha256,
                "start": first,
                "end": last,
                "text": document.text[first:last],
                "length": len(document.text),
                "pages": _pages(document),
                "current": now,
            }

        return json_response(await state.run(read))

    @router.get(
        "/api/documents/{document_id}/source",
        summary="The file as it was uploaded",
        response_class=Response,
        responses={
            200: {
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
            },
            **refusals(404),
        },
    )
    async def source(document_id: str) -> Response:
        def find() -> tuple[BinaryIO, str]:
            for uri in collection.listed(document_id).uris:
                # Opened here: whoever removes it from now on does not cut it off.
                if (file := shelf.folder.opened(uri)) is not None:
                    return file, uri.rpartition("/")[2]
            raise UnknownDocument(f"The document {document_id!r} was not uploaded: it has no file here.")

        file, quoted = await state.run(find)
        # Never shown by the browser: what people upload must not run as a page of ours.
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quoted}",
            "Content-Length": str(os.fstat(file.fileno()).st_size),
        }
        return StreamingResponse(_chunks(file), media_type="application/octet-stream", headers=headers)

    @router.delete(
        "/api/documents/{document_id}",
        summary="Remove a document",
        description="With its readings and its uploaded file. A file that was indexed from a folder stays "
        "where it is, and comes back with the next `footnote index` of that folder.",
        status_code=204,
        response_class=Response,
        responses={204: {"description": "It is gone."}, **refusals(404, 409, writes=True)},
    )
    async def remove(document_id: str) -> Response:
        try:
            await shelf.remove(document_id, state.run)
        except CollectionLocked as error:
            return _refusal(error)
        await state.run(shelf.drop_readings)
        # What is just being read could be saved after its document has gone. Who removes it waits for that no
        # longer than it takes to stop reading: the model may be busy with an answer, or be loaded.
        await state.soon(forgotten(document_id))
        return Response(status_code=204)

    async def forgotten(document_id: str) -> None:
        await state.model.forget(document_id, idle=state.admission.is_idle)
        await state.run(shelf.drop_readings)

    @router.get(
        "/api/scopes",
        summary="List folders and tags that questions can be kept to",
        responses={200: {"model": ScopeList}, **refusals()},
    )
    async def list_scopes(q: Words = "") -> Response:
        def read() -> dict[str, Any]:
            return asdict(collection.scopes(words=q))

        return json_response(await state.run(read))

    @router.get("/documents/{document_id}", include_in_schema=False)
    async def passage(request: Request, document_id: str, start: int = 0, end: int = 0) -> Response:
        def read() -> str:
            document, now = _as_cited(collection, document_id)
            return passage_page(document, start, end, now=now)

        try:
            if not is_authorised(request):
                raise UnknownDocument("not to be told")
            return HTMLResponse(await state.run(read))
        except UnknownDocument:
            former = await state.run(collection.former, document_id) if is_authorised(request) else None
            return HTMLResponse(missing_page(now=former.now if former else None), 404)

    return router


def _as_cited(collection: Collection, document_id: str) -> tuple[Document, str | None]:
    """The text with this id, and the id of what its file says now, where it was edited since.

    The id is the beginning of the text's digest: what is shown is what was cited, or nothing. Raises
    UnknownDocument.
    """
    try:
        return collection.document(document_id), None
    except UnknownDocument as error:
        former = collection.former(document_id)
        if former is None:
            raise
        if former.document is None:
            raise UnknownDocument(
                f"The document {document_id!r} was edited since, and its former text is no longer kept: "
                f"{former.now} stands in its place."
            ) from error
        return former.document, former.now


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _pasted(body: bytes) -> PastedText:
    try:
        return PastedText.model_validate_json(body)
    except ValidationError as error:
        raise invalid([{**found, "loc": ("body", *found["loc"])} for found in error.errors()]) from error


def _written(folder: Path, pasted: PastedText) -> Received:
    """Pasted text as the file that it would have been."""
    data = pasted.text.encode()
    path = folder / "pasted"
    path.write_bytes(data)
    name = f"{shown_name(pasted.title) or 'Pasted text'}.txt"
    return Received(name, path, len(data), hashlib.sha256(data).hexdigest())


async def _outcome(shelf: Shelf, file: Received, title: str) -> Shelved | FootnoteError:
    try:
        return await shelf.add(file, title=title)
    except FootnoteError as error:
        return error


def _refusal(error: FootnoteError) -> Response:
    headers = {"Retry-After": str(LOCKED_RETRY_S)} if isinstance(error, CollectionLocked) else None
    return error_response(error, headers)


def _result(name: str, outcome: Shelved | FootnoteError) -> dict[str, Any]:
    if isinstance(outcome, FootnoteError):
        return {"name": name, "status": "failed", "document": None, **envelope(outcome)}
    document = _listed(outcome.document)
    return {"name": name, "status": str(outcome.outcome), "document": document, "error": None}


def _listed(document: ListedDocument) -> dict[str, Any]:
    return {
        "id": document.id,
        "title": document.title,
        "uri": document.uris[0],
        "characters": document.characters,
        "passages": document.passages,
        "added_at": datetime.fromtimestamp(document.added_at, UTC).isoformat(timespec="seconds"),
    }


def _pages(document: Document) -> list[dict[str, int]]:
    return [{"number": page.number, "start": page.start, "end": page.end} for page in document.pages]


def _range(start: int | None, end: int | None, length: int) -> tuple[int, int]:
    """What is shown of a text when this is asked for. Raises InvalidRequest."""
    first = start or 0
    last = length if end is None else min(end, length)
    if first > length:
        raise InvalidRequest(f"start is {first}, and the text has {length} characters", "start")
    if end is not None and end < first:
        raise InvalidRequest(f"end is {end}, before the start at {first}", "end")
    return first, min(last, first + MOST_TEXT)
