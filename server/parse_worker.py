"""The process that reads uploaded files: bytes to text, and nothing else.

It has imported the readers once and forks for each file, so that no file meets what another one left
behind. Whatever the file does (loops, eats memory, kills the process), it does to the fork.

One request a line, on standard input; a length on a line and so many bytes of JSON, on standard output:

    {"path": …, "name": …, "uri": …, "max_bytes": …, "memory_bytes": …, "seconds": …}
    {"document": {…}}                    or   {"error": code, "message": …}

Where the fork has died there is no answer: this process ends too, and whoever asked starts another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from dataclasses import astuple
from pathlib import Path, PurePath
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from index.errors import DocumentError, UnreadableDocument
from index.readers import read_bytes
from index.types import Document

LONGEST_TEXT = 10_000_000
"""Characters of one document: twice the Bible. Its embedding takes minutes."""

LONGEST_PARAGRAPH = 1_000_000
"""Characters between two paragraph breaks: what is longer is data and not prose."""

DEEPEST_ELEMENT = 10_000
"""Open HTML elements within one another: what is deeper was made to do harm."""

_NICENESS = 10
_MARKUP = frozenset({".html", ".htm", ".xhtml"})


class _Depth:
    """A target of lxml's parser that counts how deep elements lie within one another."""

    def __init__(self) -> None:
        self.deepest = 0
        self._depth = 0

    def start(self, tag: str, attributes: Any) -> None:
        self._depth += 1
        self.deepest = max(self.deepest, self._depth)

    def end(self, tag: str) -> None:
        self._depth -= 1

    def close(self) -> None:
        """lxml wants it to be there."""


def read_upload(data: bytes, *, name: str, uri: str, max_bytes: int) -> Document:
    """As `index.readers.read_bytes`, with limits for files from people who are not known."""
    if PurePath(name).suffix.lower() in _MARKUP:
        _refuse_deep(data, name)
    document = read_bytes(data, name=name, uri=uri, max_bytes=max_bytes)
    if len(document.text) > LONGEST_TEXT:
        raise UnreadableDocument(
            f"{name} has {len(document.text):,} characters, over the limit of {LONGEST_TEXT:,}: divide it."
        )
    longest = max(block.end - block.start for block in document.blocks)
    if longest > LONGEST_PARAGRAPH:
        raise UnreadableDocument(
            f"{name} has a paragraph of {longest:,} characters, over the limit of {LONGEST_PARAGRAPH:,}: "
            "it looks like data, not text; divide it into lines."
        )
    return document


def _refuse_deep(data: bytes, name: str) -> None:
    counted = _Depth()
    parser = etree.HTMLParser(target=counted, no_network=True)
    with contextlib.suppress(etree.LxmlError, AssertionError):  # the reader meets them too, and says so
        parser.feed(data)
        parser.close()
    if counted.deepest > DEEPEST_ELEMENT:
        raise UnreadableDocument(
            f"{name} has elements {counted.deepest:,} deep within one another, over the limit of "
            f"{DEEPEST_ELEMENT:,}: save the page's text instead."
        )


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The document as JSON, or the error."""
    try:
        document = read_upload(
            Path(request["path"]).read_bytes(),
            name=request["name"],
            uri=request["uri"],
            max_bytes=request["max_bytes"],
        )
    except DocumentError as error:
        return {"error": error.code, "message": str(error)}
    except MemoryError:
        return {
            "error": UnreadableDocument.code,
            "message": f"{request['name']} needs more memory to be read than it may have: divide it.",
        }
    made = {
        "text": document.text,
        "uri": document.uri,
        "title": document.title,
        "media_type": document.media_type,
        "blocks": [astuple(block) for block in document.blocks],
        "pages": [astuple(page) for page in document.pages],
        "metadata": dict(document.metadata),
    }
    return {"document": made}


def limit(memory_bytes: int, seconds: float) -> None:
    """Bound what this process may take. Where the system does not know a limit, the others hold."""
    signal.setitimer(signal.ITIMER_REAL, seconds)  # and then SIGALRM ends it, whatever it is doing
    whole = int(seconds) + 1
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def _answer_alone(line: bytes) -> int:
    """Answer in a fork; its exit status."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            request = json.loads(line)
            limit(request["memory_bytes"], request["seconds"])
            body = json.dumps(answer(request), ensure_ascii=False).encode()
            sys.stdout.buffer.write(b"%d\n" % len(body))
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1]


def run() -> None:
    os.nice(_NICENESS)  # whoever waits for an answer goes first
    for line in sys.stdin.buffer:
        if _answer_alone(line):
            sys.exit(1)
