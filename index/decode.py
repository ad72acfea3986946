"""Bytes to text, without changing a character.

In this order: a byte order mark; strict UTF-8; the encoding that the document declares (HTML); then a
guess for old files: windows-1252 when the bytes read as western text in it, else the best guess of
charset-normalizer among the encodings that are still met, else windows-1252, else latin-1.
"""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from index.errors import MislabelledDocument, UnreadableDocument

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CANDIDATES = [
    "cp1252", "cp1251", "cp932", "euc_jp", "gb18030", "big5", "cp949", "koi8_r",
    "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257",
]  # fmt: skip
_SAMPLE = 200_000
# Codecs that a page may name but that are no character sets, or that were ways to smuggle markup.
_REFUSED = frozenset({"utf_7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
_SYMBOL_IN_WORD = re.compile(r"[^\W\d_][\u00a1-\u00ac\u00ae-\u00b6\u00b8-\u00bf\u00d7\u00f7†‡‰€]+[^\W\d_]")
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
MOST_CONTROLS = 0.05
"""The largest share of control characters in text; above it the file is binary."""


def decode(data: bytes, *, name: str, declared: str | None = None) -> str:
    """The text of `data`; a byte order mark is no part of it.

    Newlines and Unicode forms stay as they are. `declared` is an encoding that the document names
    itself. Raises MislabelledDocument for NUL bytes and mostly binary content, UnreadableDocument when
    the bytes break the encoding that their byte order mark promises.
    """
    text = _decode(data, name, declared)
    if "\x00" in text:
        raise MislabelledDocument(
            f"{name} holds NUL bytes, so it is not text: save it as UTF-8 text, or leave it out."
        )
    if len(_CONTROL.findall(text)) > MOST_CONTROLS * len(text):
        raise MislabelledDocument(
            f"{name} is full of control characters, so it is not text: rename the file."
        )
    return text


def _decode(data: bytes, name: str, declared: str | None) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                byte = error.start + len(mark)
                raise UnreadableDocument(
                    f"{name} is marked {encoding.upper()} but breaks it at byte {byte}: save it as UTF-8."
                ) from error
    codec = _codec(declared)
    # ISO-2022 text is pure ASCII with escapes, so it would pass for UTF-8.
    escaped = codec is not None and codec.startswith("iso2022") and b"\x1b" in data
    for candidate in (codec, "utf-8") if escaped else ("utf-8", codec):
        if candidate is not None and (text := _strict(data, candidate)) is not None:
            return text
    return _guess(data)


def _guess(data: bytes) -> str:
    western = _strict(data, "cp1252")
    if western is not None and _reads_as_western(western):
        return western
    sample = data[:_SAMPLE]
    if len(data) > _SAMPLE:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    best = from_bytes(sample, cp_isolation=_CANDIDATES, enable_fallback=False).best()
    if best is not None and (text := _strict(data, best.encoding)) is not None:
        return text
    return western if western is not None else data.decode("latin-1")


def _reads_as_western(text: str) -> bool:
    """Accents are a small part of western text, and signs like "³" or "¿" stand in no word of it."""
    letters = [c for c in text if c.isalpha()]
    accented = sum(not c.isascii() for c in letters)
    return accented <= 0.25 * len(letters) and not _SYMBOL_IN_WORD.search(text)


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError, ValueError):
        return None


def _codec(label: str | None) -> str | None:
    """Python's name for a declared encoding; latin-1 means windows-1252 on the web. None if unknown."""
    if not label:
        return None
    try:
        found = codecs.lookup(label.strip())
    except (LookupError, ValueError):
        return None
    if found.name.replace("-", "_") in _REFUSED or not found._is_text_encoding:
        return None
    return "cp1252" if found.name in {"iso8859-1", "ascii"} else found.name
