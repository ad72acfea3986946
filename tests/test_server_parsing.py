"""Uploaded files are read in a process that may die of them, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import docx
import pytest
from reader_checks import lines, make_pdf

from index.errors import (
    DocumentError,
    EmptyDocument,
    EncryptedDocument,
    MislabelledDocument,
    ScannedDocument,
    UnreadableDocument,
    UnsupportedFormat,
)
from index.readers import read_bytes
from index.types import Document
from server.errors import NotReady, Stopping
from server.parse_worker import DEEPEST_ELEMENT, LONGEST_PARAGRAPH, LONGEST_TEXT
from server.parsing import Parser

ROOT = Path(__file__).parent.parent
LIMIT = 64 * 1024**2


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    made = Parser(seconds=20)
    yield made
    made.close()


def parsed(parser: Parser, folder: Path, data: bytes, name: str) -> Document:
    path = folder / "1"
    path.write_bytes(data)
    return parser.read(path, name=name, uri="upload:1", max_bytes=LIMIT)


def word_document(folder: Path) -> bytes:
    made = docx.Document()
    made.core_properties.title = "Of a zoo"
    made.add_heading("Basel", 1)
    made.add_paragraph("It opened in 1874.")
    made.save(str(folder / "made.docx"))
    return (folder / "made.docx").read_bytes()


def wait_for_end(process: int) -> None:
    """Of a child of ours, which it leaves to be waited for."""
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)


def flate_bomb() -> bytes:
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    return make_pdf(packed, stream_filter=b"/Filter /FlateDecode")


@pytest.mark.parametrize("kind", ["txt", "md", "html", "pdf", "docx"])
def test_a_document_is_what_the_readers_make_of_it(parser: Parser, tmp_path: Path, kind: str) -> None:
    data = {
        "txt": "Zebras, 🦓.\r\n\r\nÉléphants.".encode(),
        "md": b"---\nauthor: me\n---\n# Zoo\n\nIt opened in 1874.\n",
        "html": b"<html lang=de><title>Zoo</title><h1>Basel</h1><p>Seit 1874.</p>",
        "pdf": make_pdf(lines("It opened in 1874."), lines("It has a lake."), info=b"/Author (Me)"),
        "docx": word_document(tmp_path),
    }[kind]
    name = f"zoo.{kind}"
    assert parsed(parser, tmp_path, data, name) == read_bytes(data, name=name, uri="upload:1")


@pytest.mark.parametrize(
    ("data", "name", "error"),
    [
        (b"", "a.txt", EmptyDocument),
        (b"\x89PNG\r\n\x1a\nabc", "a.pdf", MislabelledDocument),
        (b"MZ", "a.exe", UnsupportedFormat),
        (make_pdf(b""), "a.pdf", EmptyDocument),
        (
            make_pdf(b"q /Im0 Do Q", resources=b"/XObject << /Im0 4 0 R >>"),
            "a.pdf",
            ScannedDocument,
        ),
        (b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "a.docx", EncryptedDocument),
        (b"PK\x03\x04 torn", "a.docx", UnreadableDocument),
    ],
)
def test_errors_come_back_as_they_were_raised(
    parser: Parser, tmp_path: Path, data: bytes, name: str, error: type[DocumentError]
) -> None:
    with pytest.raises(error) as raised:
        parsed(parser, tmp_path, data, name)
    assert type(raised.value) is error
    with pytest.raises(error) as expected:
        read_bytes(data, name=name, uri="upload:1")
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("kind", ["flate bomb", "deep page", "long line", "long words", "long text"])
def test_what_is_made_to_do_harm_is_refused(parser: Parser, tmp_path: Path, kind: str) -> None:
    piece, times, name = {
        "flate bomb": (b"", 0, "a.pdf"),
        "deep page": (b"<div>", 100_000, "a.html"),
        "long line": (b"x", 50_000_000, "a.txt"),
        "long words": (b"many words ", LONGEST_PARAGRAPH // 11 + 1, "a.md"),
        "long text": (b"A line.\n\n", LONGEST_TEXT // 9 + 1, "a.txt"),
    }[kind]
    with pytest.raises(UnreadableDocument, match="limit"):
        parsed(parser, tmp_path, (piece * times or flate_bomb()) + b"end", name)
    assert parsed(parser, tmp_path, b"The next one is read.", "b.txt").text == "The next one is read."


def test_what_is_just_within_the_limits_is_read(parser: Parser, tmp_path: Path) -> None:
    deep = b"<div>" * (DEEPEST_ELEMENT - 10) + b"hello"
    assert parsed(parser, tmp_path, deep, "a.html").text == "hello"
    assert len(parsed(parser, tmp_path, b"many words." * 90_000, "a.txt").text) == 990_000


def test_a_file_that_takes_too_long_ends_its_reader_and_no_other(tmp_path: Path) -> None:
    pipe = tmp_path / "endless"
    os.mkfifo(pipe)  # opening it waits for a writer that never comes
    parser = Parser(seconds=0.5)
    try:
        with pytest.raises(UnreadableDocument, match=r"slow\.txt cannot be read within 0\.5 s"):
            parser.read(pipe, name="slow.txt", uri="upload:1", max_bytes=LIMIT)
        parser._seconds = 20
        assert parsed(parser, tmp_path, b"Read.", "a.txt").text == "Read."
    finally:
        parser.close()


def test_a_file_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    parser = Parser(seconds=20, memory_bytes=400 * 1024**2)
    try:
        assert parsed(parser, tmp_path, b"Read.", "a.txt").text == "Read."
        with pytest.raises(UnreadableDocument, match="memory"):
            parsed(parser, tmp_path, "é\n".encode() * 20_000_000, "a.txt")
        assert parsed(parser, tmp_path, b"Read.", "a.txt").text == "Read."
    finally:
        parser.close()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_reader_that_was_ended_from_outside_is_started_again(tmp_path: Path, sign: int) -> None:
    parser = Parser(seconds=20)
    try:
        parsed(parser, tmp_path, b"Read.", "a.txt")
        first = parser.pid
        assert first is not None
        assert parsed(parser, tmp_path, b"Read.", "a.txt").text == "Read."
        assert parser.pid == first
        os.kill(first, sign)
        wait_for_end(first)
        assert parsed(parser, tmp_path, b"Read.", "a.txt").text == "Read."
        assert parser.pid not in {None, first}
    finally:
        parser.close()


def test_a_reader_that_cannot_be_started_is_an_error_with_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = Parser(seconds=20)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(NotReady, match="cannot be started"):
        parsed(parser, tmp_path, b"Read.", "a.txt")
    monkeypatch.undo()
    assert parsed(parser, tmp_path, b"Read.", "a.txt").text == "Read."
    parser.close()


def test_stopping_ends_what_is_being_read(tmp_path: Path) -> None:
    pipe = tmp_path / "endless"
    os.mkfifo(pipe)
    parser = Parser(seconds=60)
    raised: list[Exception] = []

    def read() -> None:
        try:
            parser.read(pipe, name="slow.txt", uri="upload:1", max_bytes=LIMIT)
        except Stopping as error:
            raised.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    # The fork opens the pipe for reading, and then this end can be opened too: it is being read.
    writer = os.open(pipe, os.O_WRONLY)
    started = parser.pid
    assert started is not None
    parser.close()
    reading.join(10)
    os.close(writer)
    assert [type(error) for error in raised] == [Stopping]
    with pytest.raises(ChildProcessError):
        os.waitpid(started, os.WNOHANG)  # it was waited for
    with pytest.raises(Stopping):
        parsed(parser, tmp_path, b"Read.", "a.txt")


def test_a_reader_imports_neither_models_nor_the_framework() -> None:
    """It starts in a fraction of a second, and what a file does to it, it does to nothing else."""
    heavy = "{'torch', 'faiss', 'llama_cpp', 'fastapi', 'sentence_transformers', 'sqlite3'}"
    code = f"import sys, server.parse_worker; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
