"""What clients send as files: names made harmless, bytes on the disk under names of our own.

    HOME/uploads/COLLECTION/<digest of the bytes>.<known suffix>   a file that is in the collection
    HOME/uploads/COLLECTION/incoming/<random>                      one that is on its way

A client's name is only ever shown. The parts of a request are written as they come, so that memory does
not grow with them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from index.readers import FORMATS
from server.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
SCHEME = "upload:"
MOST_HEADER_BYTES = 16 * 1024
"""Of all headers of one part."""

LONGEST_NAME = 120
"""Characters of a name that is shown; more are cut out before the suffix."""

_FLUSH_BYTES = 512 * 1024
_STALE_S = 24 * 3600.0
_ID_DIGITS = 32
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Received:
    """One file of a request. `name` is made harmless; `path` holds at most the limit and one byte more."""

    name: str
    path: Path
    size: int
    sha256: str

    @property
    def uri(self) -> str:
        """Names the bytes and then the file: the same file sent twice is the same source."""
        return f"{SCHEME}{self.sha256[:_ID_DIGITS]}/{quote(self.name)}"


class UploadFolder:
    """The bytes of uploaded files of one collection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_incoming(self) -> Path:
        """A new folder for the files of one request."""
        parent = self._folder / "incoming"
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder, parent):
            folder.mkdir(exist_ok=True, mode=0o700)  # what people upload is theirs to read
        return Path(tempfile.mkdtemp(dir=parent))

    def remove_incoming(self, folder: Path) -> None:
        """With what is left in it."""
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, uri: str, path: Path) -> None:
        """Move a file that came in to its place."""
        place = self._place(uri)
        assert place is not None
        with path.open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        os.replace(path, place)

    def holds(self, uri: str) -> bool:
        """Whether the bytes of a source are here: not where it was no upload."""
        place = self._place(uri)
        return place is not None and place.is_file()

    def opened(self, uri: str) -> BinaryIO | None:
        """The bytes of a source, to be closed; None where they are not here."""
        place = self._place(uri)
        try:
            return place.open("rb") if place is not None else None
        except FileNotFoundError:
            return None

    def drop(self, uri: str) -> None:
        place = self._place(uri)
        if place is not None:
            place.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a process that was killed had half received."""
        oldest = time.time() - _STALE_S
        for folder in sorted((self._folder / "incoming").glob("*/")):
            with contextlib.suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    self.remove_incoming(folder)

    def _place(self, uri: str) -> Path | None:
        """Made of hexadecimal digits and a known suffix, whatever the URI says."""
        digits, _, name = uri.removeprefix(SCHEME).partition("/")
        suffix = PurePath(unquote(name)).suffix.lower()
        if not uri.startswith(SCHEME) or not re.fullmatch(r"[0-9a-f]{32}", digits) or suffix not in FORMATS:
            return None
        return self._folder / (digits + suffix)


def shown_name(sent: str) -> str:
    """The last part of a client's name, on one line and not overlong; "" where nothing is left."""
    name = _UNSHOWN.sub("", re.split(r"[/\\]", sent)[-1]).strip().lstrip(".")
    if len(name) <= LONGEST_NAME:
        return name
    suffix = PurePath(name).suffix
    suffix = suffix if suffix.lower() in FORMATS else ""
    return name[: LONGEST_NAME - len(suffix)] + suffix


async def receive_files(
    request: Request,
    folder: Path,
    *,
    most_files: int,
    most_bytes: int,
    run: Callable[[Callable[[bytes], None], bytes], Awaitable[None]],
) -> list[Received]:
    """The parts named `files`, written into `folder` by `run`, which calls in a thread. Others are dropped.

    Of each file `most_bytes` and one byte more are kept. Raises InvalidRequest.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidRequest("the multipart body has no boundary: let your HTTP library set the content type")
    with contextlib.ExitStack() as stack:
        parts = _Parts(folder, stack, most_files=most_files, most_bytes=most_bytes)
        try:
            parser = MultipartParser(boundary, parts.callbacks())
            waiting = bytearray()
            async for chunk in request.stream():
                waiting += chunk
                if len(waiting) >= _FLUSH_BYTES:
                    await run(_fed(parser), bytes(waiting))
                    waiting.clear()
            await run(_fed(parser), bytes(waiting))
            parser.finalize()
        except FormParserError as error:
            raise InvalidRequest(f"the multipart body cannot be read: {error}") from error
        except ClientDisconnect as error:
            raise InvalidRequest("the body broke off") from error
    if not parts.is_complete:
        raise InvalidRequest("the multipart body has no end: its last boundary is missing")
    if not parts.received:
        raise InvalidRequest(f"no file came: send each as a part named {FIELD}", FIELD)
    return parts.received


def _fed(parser: MultipartParser) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        parser.write(data)

    return feed


class _Parts:
    """What the parser calls. A part named otherwise, or without a file name, is passed over."""

    def __init__(
        self, folder: Path, stack: contextlib.ExitStack, *, most_files: int, most_bytes: int
    ) -> None:
        self.received: list[Received] = []
        self.is_complete = False
        self._folder = folder
        self._stack = stack
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._count = 0
        self._header_bytes = 0
        self._field, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name = ""
        self._file: BinaryIO | None = None
        self._path = folder
        self._size = 0
        self._digest = hashlib.sha256()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._most_files:
            raise InvalidRequest(f"more than {self._most_files} parts came, which is the most: send fewer")
        self._header_bytes = 0
        self._disposition = b""
        self._field.clear()
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._measure(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._measure(end - start)
        self._value += data[start:end]

    def _measure(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > MOST_HEADER_BYTES:
            raise InvalidRequest(f"a part has more than {MOST_HEADER_BYTES} bytes of headers: send less")

    def _header_end(self) -> None:
        if bytes(self._field).strip().lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        sent = options.get(b"filename", options.get(b"filename*"))
        if field != FIELD or sent is None:
            return
        self._name = shown_name(sent.decode("utf-8", "replace"))
        if not self._name:
            raise InvalidRequest("a file has no name that can be shown: give it one", FIELD)
        self._path = self._folder / str(self._count)
        self._file = self._stack.enter_context(self._path.open("xb"))
        self._size = 0
        self._digest = hashlib.sha256()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            return
        # One byte more than allowed shows the reader that it is too much.
        piece = memoryview(data)[start : min(end, start + self._most_bytes + 1 - self._size)]
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self.received.append(Received(self._name, self._path, self._size, self._digest.hexdigest()))

    def _complete(self) -> None:
        self.is_complete = True
