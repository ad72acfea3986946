"""Bytes to documents: plain text, Markdown, HTML, PDF and DOCX, told apart by the file's name.

What a reader cannot turn into text is refused with an error that names the file and says why: an error
is better than a document of which only a part can be found.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Final

from index.errors import EmptyDocument, MislabelledDocument, UnreadableDocument, UnsupportedFormat
from index.extract import Extract, has_visible_text
from index.read_docx import read_docx
from index.read_html import read_html
from index.read_markdown import read_markdown
from index.read_pdf import read_pdf
from index.read_text import read_text
from index.signatures import PDF_WINDOW, describe, signature
from index.titles import clean_title
from index.types import Document


@dataclass(frozen=True, slots=True)
class Format:
    """One readable format. `noun` completes "not …" in messages."""

    media_type: str
    noun: str
    read: Callable[..., Extract]


_TEXT = Format("text/plain", "text", read_text)
_MARKDOWN = Format("text/markdown", "Markdown", read_markdown)
_HTML = Format("text/html", "HTML", read_html)
_XHTML = Format("application/xhtml+xml", "XHTML", read_html)
_PDF = Format("application/pdf", "a PDF", read_pdf)
_DOCX = Format(
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "a Word document", read_docx
)

FORMATS: Final[dict[str, Format]] = {
    ".txt": _TEXT,
    ".text": _TEXT,
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _XHTML,
    ".pdf": _PDF,
    ".docx": _DOCX,
}
"""By suffix, lower case, with the dot."""

_RULES = 1  # raise it with every change here that could change text or blocks
_LIBRARIES = ("charset-normalizer", "lxml", "markdown-it-py", "pypdf", "python-docx")

READERS_VERSION: Final[str] = " ".join([str(_RULES), *(f"{name}={version(name)}" for name in _LIBRARIES)])
"""Changes whenever the text or the blocks of a document could: our rules or a library did."""


def is_readable_kind(path: PurePath) -> bool:
    """Whether there is a reader for files of this name; says nothing of what is in them."""
    return path.suffix.lower() in FORMATS


def media_type(path: PurePath) -> str | None:
    """The media type that a document of this name gets; None when there is no reader for it."""
    found = FORMATS.get(path.suffix.lower())
    return found.media_type if found else None


def read_path(path: Path, *, max_bytes: int | None = None) -> Document:
    """The document in a file; its `uri` is the absolute `file://` URI.

    Raises UnreadableDocument when the file is missing, no regular file, not permitted or longer than
    `max_bytes`, and what `read_bytes` raises.
    """
    path = Path(os.path.abspath(path))
    name = _shown(path.name or str(path))
    try:
        # Asked before opening: opening a pipe would wait for a writer.
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise UnreadableDocument(f"{name} is a folder, not a file: name the files in it.")
        if not stat.S_ISREG(kind.st_mode):
            raise UnreadableDocument(f"{name} is a device, a pipe or a socket, not a file: leave it out.")
        if path.suffix.lower() not in FORMATS:
            raise _unsupported(name)
        if max_bytes is not None and kind.st_size > max_bytes:
            raise _too_large(name, kind.st_size, max_bytes)
        with path.open("rb") as file:
            # One byte more than allowed shows that a file has grown, or that its size was not told.
            data = file.read(-1 if max_bytes is None else max_bytes + 1)
    except FileNotFoundError as error:
        raise UnreadableDocument(f"{name} does not exist: check the path {_shown(str(path))}.") from error
    except PermissionError as error:
        raise UnreadableDocument(f"{name} may not be read by this user: permission denied.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableDocument(f"{name} cannot be opened: {reason}.") from error
    return read_bytes(data, name=path.name, uri=path.as_uri(), max_bytes=max_bytes)


def read_bytes(data: bytes, *, name: str, uri: str, max_bytes: int | None = None) -> Document:
    """The document in `data`, read as the suffix of `name` says; the same bytes give the same document.

    Raises UnsupportedFormat when there is no reader for the suffix, UnreadableDocument when the data are
    damaged or longer than `max_bytes`, MislabelledDocument when they are of another kind than the name
    says, EncryptedDocument, ScannedDocument, and EmptyDocument when there is no text in them.
    """
    shown = _shown(name)
    found = FORMATS.get(PurePath(name).suffix.lower())
    if found is None:
        raise _unsupported(shown)
    if max_bytes is not None and len(data) > max_bytes:
        raise _too_large(shown, len(data), max_bytes)
    if not data or data.isspace():
        raise EmptyDocument(f"{shown} is empty: there is nothing to index in it.")
    _check_kind(data, found, shown)
    extract = found.read(data, name=shown)
    if not extract.blocks or not has_visible_text(extract.text):
        raise EmptyDocument(f"{shown} has no text in it: there is nothing to index.")
    title = clean_title(extract.title) or clean_title(_printable(PurePath(name).stem)) or shown
    return Document(
        text=extract.text,
        uri=uri,
        title=title,
        media_type=found.media_type,
        blocks=extract.blocks,
        pages=extract.pages,
        metadata=extract.metadata,
    )


def _check_kind(data: bytes, expected: Format, shown: str) -> None:
    """Refuse bytes that show another format than the name; DOCX is told from other zips by its reader."""
    if expected is _DOCX or (expected is _PDF and b"%PDF-" in data[:PDF_WINDOW]):
        return
    looks_like = describe(data) if expected is _PDF else signature(data)
    if looks_like is not None:
        raise MislabelledDocument(
            f"{shown} looks like {looks_like}, not {expected.noun}: give the file its right name."
        )


def _unsupported(shown: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"{shown} is of no kind that can be read: use one of {', '.join(FORMATS)}.")


def _too_large(shown: str, size: int, limit: int) -> UnreadableDocument:
    return UnreadableDocument(
        f"{shown} has {size:,} bytes, more than the limit of {limit:,}: divide it or raise max_file_bytes."
    )


def _printable(name: str) -> str:
    """File names are bytes: what is no text in them is shown as U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shown(name: str) -> str:
    """A file's name for a message: one line, printable, not overlong."""
    return clean_title(_printable(name)) or "the file"
