"""Readers: kinds, names, sizes, files, and what is refused whatever the format."""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
from pathlib import Path

import pypdf
import pytest
from reader_checks import URI, make_pdf, read

from index.errors import (
    DocumentError,
    EmptyDocument,
    MislabelledDocument,
    UnreadableDocument,
    UnsupportedFormat,
)
from index.readers import FORMATS, READERS_VERSION, is_readable_kind, media_type, read_bytes, read_path

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_kinds_by_suffix(suffix: str) -> None:
    assert is_readable_kind(Path("x" + suffix))
    assert is_readable_kind(Path("x" + suffix.upper()))
    assert media_type(Path("x" + suffix)) == FORMATS[suffix].media_type


@pytest.mark.parametrize("name", ["a.jsonl", "a", ".txt", "a.txt.gz", "a.doc"])
def test_other_kinds_have_no_reader(name: str) -> None:
    assert not is_readable_kind(Path(name))
    assert media_type(Path(name)) is None
    with pytest.raises(UnsupportedFormat, match=r"is of no kind that can be read: use one of \.txt, "):
        read_bytes(b"words", name=name, uri=URI)


def zipped(member: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(member, "x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.pdf", PNG, "a PNG image, not a PDF"),
        ("a.pdf", b"Just words.", "plain text, not a PDF"),
        ("a.pdf", b"x" + "ö".encode() * 3000, "plain text, not a PDF"),
        ("a.pdf", b"<!DOCTYPE html><p>x", "an HTML page, not a PDF"),
        ("a.pdf", b"\xff\xfe\x00\x01" * 9, "binary data of an unknown kind, not a PDF"),
        ("a.txt", make_pdf(), "a PDF, not text"),
        ("a.md", b"\xff\xd8\xff\xe0" + bytes(9), "a JPEG image, not Markdown"),
        ("a.html", b"\x1f\x8b\x08" + bytes(9), "a gzip archive, not HTML"),
        ("a.txt", b"{\\rtf1 words}", "an RTF document, not text"),
        ("a.txt", b"RIFF" + struct.pack("<I", 9) + b"WEBPVP8 ", "a WebP image, not text"),
        ("a.txt", zipped("word/document.xml"), "a Word document (.docx), not text"),
        ("a.docx", zipped("readme.txt"), "a zip archive, not a Word document"),
        ("a.docx", zipped("xl/workbook.xml"), "an Excel workbook, not a Word document"),
        ("a.docx", make_pdf(), "a PDF, not a Word document"),
        ("a.docx", b"Just words.", "plain text, not a Word document"),
    ],
)
def test_mislabelled_files_are_named_for_what_they_are(name: str, data: bytes, kind: str) -> None:
    with pytest.raises(MislabelledDocument) as caught:
        read(data, name)
    assert str(caught.value).startswith(f"{name} looks like {kind}: ")


def test_binary_data_is_no_text() -> None:
    with pytest.raises(MislabelledDocument, match=r"^a\.txt holds NUL bytes"):
        read(b"words\x00words", "a.txt")
    with pytest.raises(MislabelledDocument, match=r"^a\.txt is full of control characters"):
        read(bytes(range(1, 256)) * 4, "a.txt")
    assert read("a bell\x07 rings in a text of some length", "a.txt").text.count("\x07") == 1


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf", "a.docx"])
@pytest.mark.parametrize("data", [b"", b" \r\n\t"])
def test_nothing_is_an_empty_document(name: str, data: bytes) -> None:
    with pytest.raises(EmptyDocument, match=rf"^{name} is empty"):
        read(data, name)


@pytest.mark.parametrize("data", ["\ufeff", "\u200b\u200d", "\xa0\u3000"])
def test_what_cannot_be_seen_is_empty(data: str) -> None:
    with pytest.raises(EmptyDocument):
        read(data, "a.txt")


def test_size_limit_is_named_and_inclusive(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1000)
    assert read_path(path, max_bytes=1000).text == "x" * 1000
    message = r"^a\.txt has 1,000 bytes, more than the limit of 999: divide it or raise max_file_bytes\.$"
    with pytest.raises(UnreadableDocument, match=message):
        read_path(path, max_bytes=999)
    with pytest.raises(UnreadableDocument, match=message):
        read_bytes(b"x" * 1000, name="a.txt", uri=URI, max_bytes=999)


def test_read_path_names_the_file_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "ä b.txt").write_text("Words.", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    document = read_path(Path("sub/../ä b.txt"))
    assert document.uri == tmp_path.as_uri() + "/%C3%A4%20b.txt"
    assert document.title == "ä b"


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    (tmp_path / "folder.txt").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.txt"))
        for name, reason in [
            ("missing.txt", "does not exist"),
            ("folder.txt", "is a folder"),
            ("pipe.txt", "is a device, a pipe or a socket"),
            ("s.txt", "is a device, a pipe or a socket"),
            ("loop.txt", "cannot be opened: "),
            ("nul\x00.txt", "cannot be opened: "),
        ]:
            with pytest.raises(UnreadableDocument) as caught:
                read_path(tmp_path / name)
            assert str(caught.value).startswith(f"{name} ".replace("\x00", "") + reason)


def test_permission_denied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Words.")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The superuser, as whom containers run tests, may read everything.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        UnreadableDocument, match=r"^a\.txt may not be read by this user: permission denied\.$"
    ):
        read_path(path)


def test_messages_are_one_printable_line(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\nb\x1b[31m\xff.txt")
    path.write_bytes(b"")
    with pytest.raises(DocumentError) as caught:
        read_path(path)
    assert (
        str(caught.value).encode().decode() == "a b[31m\ufffd.txt is empty: there is nothing to index in it."
    )


def test_version_names_rules_and_libraries() -> None:
    assert f"pypdf={pypdf.__version__}" in READERS_VERSION.split()
    assert READERS_VERSION.split()[0].isdigit()
