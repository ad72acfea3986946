"""The page, its files, and the evaluations that it lists; documents are shown by their own routes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

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


def page_router(state: ServerState) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    files = static_files()
    evaluations = Evaluations(state.evaluations_folder, ticketed=state.key is not None)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return static_response(request, files[PAGE])

    @router.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def static(name: str, request: Request) -> Response:
        if name not in files:
            raise NoSuchPath(f"there is nothing at {request.url.path}")
        return static_response(request, files[name])

    @router.get("/api/evaluations")
    async def listed() -> dict[str, Any]:
        return {"reports": await state.run(evaluations.listed)}

    @router.get("/evaluations/{name}")
    async def opened(name: str, request: Request) -> Response:
        if not is_authorised(request):
            evaluations.require_ticket(name, request.query_params.get("ticket", ""))
        report = await state.run(evaluations.report, name)
        headers = {"Content-Security-Policy": report.policy, "Cache-Control": "no-store"}
        return Response(report.html, media_type=TYPES["html"], headers=headers)

    return router
