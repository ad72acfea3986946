"""Who may: the name in Host, the page in Origin, the key, and what a body may be. Pure ASGI."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.config import is_loopback
from server.errors import ForeignHost, ForeignOrigin, Unauthorised
from server.keys import ApiKey

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")
"""No user, no path: links are made of it."""

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

OPEN_PATHS = ("/health", "/ready", "/")
OPEN_FOLDERS = ("/static/", "/documents/", "/evaluations/")
"""Served without a key: whether the server lives, and the page, which asks for the key itself.

A route under them shows nothing of the documents unless `is_authorised(request)`.
"""


def is_authorised(request: Request) -> bool:
    """Whether the request carried the key, or none is needed. For the open paths; others always are."""
    return bool(request.scope["state"].get("authorised"))


class HostCheck:
    """Refuses requests that were sent to another name (DNS rebinding).

    An address cannot be rebound: behind a bind to more than loopback every address is ours.
    """

    def __init__(self, app: ASGIApp, *, bind: str, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in (*hosts, bind))
        self._is_local = is_loopback(bind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sent = Headers(scope=scope).getlist("host")
            if len(sent) != 1 or not self._is_ours(sent[0]):
                raise ForeignHost(
                    f"this server is not called {', '.join(sent) or 'nothing'}: use its address, or add the "
                    "name to the setting server.hosts"
                )
        await self._app(scope, receive, send)

    def _is_ours(self, sent: str) -> bool:
        if not _HOST.fullmatch(sent):
            return False
        try:
            name = urlsplit(f"//{sent}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts or is_loopback(name):
            return True
        if self._is_local:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class OriginCheck:
    """Refuses writes that a page of another site sends (CSRF)."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in WRITES:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            site = headers.get("sec-fetch-site", "none")
            if origin is not None:
                if not self._is_ours(origin.lower(), headers.get("host", "").lower()):
                    raise ForeignOrigin(
                        f"a page of {origin} may not write here: the setting server.origins names who may"
                    )
            elif site not in {"none", "same-origin"}:
                raise ForeignOrigin("a page of another site may not write here")
        await self._app(scope, receive, send)

    def _is_ours(self, origin: str, host: str) -> bool:
        """Whichever of the two schemes: a proxy in front may speak TLS."""
        scheme, _, rest = origin.partition("://")
        standard = {"http": ":80", "https": ":443"}.get(scheme)
        if standard is None:
            return False
        same = rest.removesuffix(standard) == host.removesuffix(standard)
        return same or origin in self._origins


class KeyCheck:
    """Refuses requests without the key, where there is one, but to the open paths."""

    def __init__(self, app: ASGIApp, *, key: ApiKey | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sent = Headers(scope=scope).get("authorization", "").encode("latin-1")
            authorised = self._key is None or self._key.fits(sent)
            scope.setdefault("state", {})["authorised"] = authorised
            path = scope["path"]
            is_open = scope["method"] in {"GET", "HEAD"} and (
                path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)
            )
            if not authorised and not is_open:
                raise Unauthorised("this server wants its key: send Authorization: Bearer KEY")
        await self._app(scope, receive, send)
