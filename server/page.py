"""The page, its files, and the evaluations that it lists; documents are shown by their own routes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from server.errors import NoSuchPath
from server.evaluations import Evaluations
from server.security import is_authorised
from server.state import ServerState
from server.static_files import PAGE, TYPES, StaticFile, static_files


def static_response(request: Request, file: StaticFile) -> Response:
    """The file, or 304 where the browser has it already."""
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


class CollectionState(BaseModel):
    """What the collection holds: `bytes` on disk, readings included; `model` is null where it only quotes."""

    name: str
    documents: int
    passages: int
    characters: int
    bytes: int
    embedder: str
    model: str | None


class EvaluationRun(BaseModel):
    """One run of `footnote eval`: `title` is its report's, which `url` opens; `gold` names its questions."""

    name: str
    title: str
    gold: str
    created: str
    questions: int
    asking: str
    model: str | None
    url: str


class EvaluationRuns(BaseModel):
    """The latest first."""

    reports: list[EvaluationRun]


def page_router(state: ServerState) -> APIRouter:
    router = APIRouter()
    session = state.session
    files = static_files()
    evaluations = Evaluations(state.evaluations_folder, ticketed=state.key is not None)

    @router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return static_response(request, files[PAGE])

    @router.api_route("/static/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(name: str, request: Request) -> Response:
        if name not in files:
            raise NoSuchPath(f"there is nothing at {request.url.path}")
        return static_response(request, files[name])

    @router.get("/api/collection", summary="What the collection holds", tags=["documents"])
    async def collection() -> CollectionState:
        stats = await state.run(session.collection.stats)
        size = await state.run(session.collection.size)
        return CollectionState(
            name=session.collection.name,
            documents=stats.documents,
            passages=stats.passages,
            characters=stats.characters,
            bytes=size,
            embedder=session.settings.index.embedder,
            model=session.generator.name if session.generator else None,
        )

    @router.get("/api/evaluations", summary="List the runs of footnote eval", tags=["server"])
    async def listed() -> EvaluationRuns:
        found = await state.run(evaluations.listed)
        return EvaluationRuns(reports=[EvaluationRun(**one) for one in found])

    @router.get("/evaluations/{name}", include_in_schema=False)
    async def opened(name: str, request: Request) -> Response:
        if not is_authorised(request):
            evaluations.require_ticket(name, request.query_params.get("ticket", ""))
        report = await state.run(evaluations.report, name)
        headers = {"Content-Security-Policy": report.policy, "Cache-Control": "no-store"}
        return Response(report.html, media_type=TYPES["html"], headers=headers)

    return router
