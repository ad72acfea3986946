"""PDF, by pypdf: the text of the pages in file order, a blank line between two.

Lines end where the page's lines end; words hyphenated there stay so. Paragraphs are found as in plain
text (`index.paragraphs`), page by page. pypdf's own limits against decompression bombs stay in force.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pypdf import PageObject, PasswordType, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError, WrongPasswordError

from index.errors import DocumentError, EmptyDocument, EncryptedDocument, ScannedDocument, UnreadableDocument
from index.extract import SEPARATOR, Extract, clean_extracted, clean_metadata, has_visible_text
from index.paragraphs import paragraphs
from index.titles import find_headline, meaningful_title
from index.types import Block, Page

FILL = 0.85
"""Lines of a PDF are measured in points: this share of the widest one, in characters, counts as full."""

_DEEPEST_FORM = 4
_CANNOT_DECRYPT = (DependencyError, FileNotDecryptedError, WrongPasswordError, NotImplementedError)
_INLINE_PICTURE = re.compile(rb"(?:^|\s)BI\s.{0,2000}?\sID\s", re.DOTALL)
_DATE = re.compile(r"D?:?(\d{4})(\d{2})?(\d{2})?")


def read_pdf(data: bytes, *, name: str) -> Extract:
    """The pages tile the text: each holds the blank line after it.

    Raises EncryptedDocument when it needs a password, ScannedDocument when no page has text but one has
    a picture, EmptyDocument when no page has either, UnreadableDocument when it is damaged or unpacks to
    more than pypdf allows.
    """
    _silence()
    # The trailer is never compressed or encrypted, so the word shows even where pypdf cannot open the file.
    locked = b"/Encrypt" in data
    with _damage(name, "the file", locked):
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise EncryptedDocument(f"{name} needs a password: save a copy without one and index that.")
        count = len(reader.pages)
    texts = []
    for index in range(count):
        with _damage(name, f"page {index + 1}", locked):
            texts.append(_page_text(reader.pages[index]))
    if not any(has_visible_text(text) for text in texts):
        with _damage(name, "the file", locked):
            pictures = any(_has_picture(page) for page in reader.pages)
        if pictures:
            raise ScannedDocument(f"{name} holds pictures of text and no text: index what OCR makes of it.")
        raise EmptyDocument(f"{name} has no text on any page: leave it out.")
    pages, blocks = _arrange(texts)
    text = SEPARATOR.join(texts)
    with _damage(name, "the file", locked):
        title, metadata = _metadata(reader)
    return Extract(text, blocks, title=title or find_headline(text, blocks), pages=pages, metadata=metadata)


def _arrange(texts: list[str]) -> tuple[tuple[Page, ...], tuple[Block, ...]]:
    pages: list[Page] = []
    blocks: list[Block] = []
    start = 0
    for number, text in enumerate(texts, start=1):
        end = start + len(text) + (len(SEPARATOR) if number < len(texts) else 0)
        pages.append(Page(number, start, end))
        blocks.extend(Block(start + first, start + last) for first, last in paragraphs(text, fill=FILL))
        start = end
    return tuple(pages), tuple(blocks)


def _page_text(page: PageObject) -> str:
    lines = clean_extracted(page.extract_text()).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


@contextmanager
def _damage(name: str, place: str, locked: bool) -> Iterator[None]:
    """Turn whatever pypdf raises on a damaged file into one error of ours."""
    try:
        yield
    except DocumentError:
        raise
    # pypdf meets damage with errors of every kind: KeyError, TypeError, RecursionError, struct.error.
    except Exception as error:
        raise _refusal(error, name, place, locked) from error


def _refusal(error: Exception, name: str, place: str, locked: bool) -> DocumentError:
    if locked and isinstance(error, _CANNOT_DECRYPT):
        return EncryptedDocument(
            f"{name} is encrypted and cannot be opened ({_reason(error)}): save a copy without a password."
        )
    if isinstance(error, LimitReachedError):
        return UnreadableDocument(
            f"{name} unpacks to more than the limit at {place} ({_reason(error)}): leave it out."
        )
    return UnreadableDocument(
        f"{name} is damaged at {place} ({_reason(error)}): open it in a viewer and save it again."
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _silence() -> None:
    """Keep pypdf's remarks on sloppy files off stderr: what matters is raised as an error here."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)


def _metadata(reader: PdfReader) -> tuple[str, dict[str, str]]:
    info = reader.metadata
    if info is None:
        return "", {}
    title = meaningful_title(clean_extracted(_string(info.get("/Title"))))
    author = clean_extracted(_string(info.get("/Author")))
    match = _DATE.match(_string(info.get("/CreationDate")))
    date = "-".join(part for part in match.groups() if part) if match else ""
    return title, clean_metadata({"author": author, "date": date})


def _string(value: Any) -> str:
    value = value.get_object() if hasattr(value, "get_object") else value
    return value if isinstance(value, str) else ""


def _has_picture(page: PageObject) -> bool:
    if _form_has_picture(page, 0):
        return True
    contents = page.get_contents()
    return contents is not None and _INLINE_PICTURE.search(contents.get_data()) is not None


def _form_has_picture(holder: Any, depth: int) -> bool:
    resources = holder.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    if objects is None or depth > _DEEPEST_FORM:
        return False
    for reference in objects.get_object().values():
        drawn = reference.get_object()
        if drawn.get("/Subtype") == "/Image" or _form_has_picture(drawn, depth + 1):
            return True
    return False
