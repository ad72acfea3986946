"""The files of the page, held in memory, and the page itself around what browsers without JavaScript see.

The files are few and never change while the server runs. Each has the digest of its bytes as its ETag, so a
browser asks each time and is told nothing new with an empty answer.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup, escape

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGE = "index.html"
_TITLE = re.compile(r"(?<=<title>).*?(?=</title>)")
_PLAIN = re.compile(r"(?<=<noscript>).*?(?=</noscript>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the page. `etag` is quoted, as the header has it."""

    body: bytes
    media_type: str
    etag: str


def static_files() -> dict[str, StaticFile]:
    """The files of the page by name: those of a known kind, and nothing else that may lie there."""
    found = {}
    for entry in resources.files("server").joinpath("static").iterdir():
        media_type = TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[entry.name] = StaticFile(body, media_type, etag)
    return found


def page_around(title: str, body: Markup) -> str:
    """The page, with this title, that shows `body` where no JavaScript runs.

    `body` stands in a `noscript` element: it must not hold one, and escaped text cannot.
    """
    page = resources.files("server").joinpath("static", PAGE).read_text(encoding="utf-8")
    titled = _TITLE.sub(lambda _: str(escape(title)), page, count=1)
    return _PLAIN.sub(lambda _: f"\n{body}\n", titled, count=1)
