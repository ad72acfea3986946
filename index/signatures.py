"""What bytes look like, judged by their first ones, for telling a mislabelled file from a damaged one."""

from __future__ import annotations

import io
import zipfile

OLE = b"\xd0\xcf\x11\xe0"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
PDF_WINDOW = 1024
"""A PDF may carry this many bytes of something else before its header (ISO 32000-1, annex H)."""

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS-Adobe", "a PostScript file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh91AY&SY", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"bplist00", "a binary property list or Safari web archive"),
    (b"OggS\x00", "an Ogg recording"),
    (b"ID3\x03", "an MP3 recording"),
    (b"ID3\x04", "an MP3 recording"),
)
_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a WAV recording", b"AVI ": "an AVI film"}
_ZIP_MEMBERS: tuple[tuple[str, str], ...] = (
    ("word/document", "a Word document (.docx)"),
    ("xl/workbook", "an Excel workbook"),
    ("ppt/presentation", "a PowerPoint presentation"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)


def signature(data: bytes) -> str | None:
    """The format that the first bytes name, with its article ("a PNG image"); None when they name none."""
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind
    if data.startswith(b"RIFF") and data[8:12] in _RIFF:
        return _RIFF[data[8:12]]
    if data[4:8] == b"ftyp":
        return "an MP4 or HEIF file"
    if data.startswith(OLE):
        return "an old Office file (.doc, .xls) or an encrypted one"
    if data.startswith(ZIP):
        return _zip_kind(data)
    return None


def describe(data: bytes) -> str:
    """Like `signature`, but always says something: text, HTML, or bytes of an unknown kind."""
    known = signature(data)
    if known is not None:
        return known
    head = data[:4096]
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in two by the end of the head is no sign of binary data.
        if error.start < len(head) - 8:
            return "binary data of an unknown kind"
    return "binary data of an unknown kind" if b"\x00" in head else "plain text"


def _zip_kind(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError):
        return "a zip archive"
    for member, kind in _ZIP_MEMBERS:
        if any(name.startswith(member) for name in names):
            return kind
    return "a zip archive"
