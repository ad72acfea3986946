"""PDF: pages, passwords, pictures, damage."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import pypdf
import pytest
from pypdf.constants import UserAccessPermissions
from reader_checks import lines, make_pdf, read, shown, uncovered

from index.errors import EmptyDocument, EncryptedDocument, ScannedDocument, UnreadableDocument
from index.types import Page


def encrypted(data: bytes, *, user: str, owner: str, algorithm: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(user, owner, permissions_flag=UserAccessPermissions(0), algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pdf_pages_and_text() -> None:
    data = make_pdf(lines("First page."), b"", lines("Third page, first line", "and the second one."))
    document = read(data, "a.pdf")
    assert document.text == "First page.\n\n\n\nThird page, first line\nand the second one."
    assert document.pages == (Page(1, 0, 13), Page(2, 13, 15), Page(3, 15, 57))
    assert shown(document) == ["First page.", "Third page, first line\nand the second one."]
    assert document.page_at(16) == 3
    assert uncovered(document) == ""
    assert document.media_type == "application/pdf"
    assert document == read(data, "a.pdf")


def test_pdf_paragraphs_end_where_a_line_is_short_and_a_sentence_ends() -> None:
    page = lines(
        "Introduction",
        "The committee met in the old town hall on Monday and spoke with Mr.",
        "Smith of the harbour board about the bridge.",
        "A second paragraph follows here, which runs over the line as well and",
        "then ends.",
    )
    assert shown(read(make_pdf(page), "a.pdf")) == [
        "Introduction",
        "The committee met in the old town hall on Monday and spoke with Mr.\n"
        "Smith of the harbour board about the bridge.",
        "A second paragraph follows here, which runs over the line as well and\nthen ends.",
    ]


def test_pdf_lines_of_narrow_letters_are_wrapped_ones() -> None:
    page = lines(
        "Wide words were written here: MMMMM WWWWW MMMM.",
        "It is still the very same paragraph, little, filling.",
        "Its end.",
    )
    assert len(read(make_pdf(page), "a.pdf").blocks) == 1


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (b"The Bridge", "The Bridge"),
        (b"Microsoft Word - draft3.doc", "stem"),
        (b"untitled", "stem"),
        (b"paper-final.tex", "stem"),
        (b"", "stem"),
    ],
)
def test_pdf_title_only_if_it_means_something(title: bytes, expected: str) -> None:
    info = b"/Title (%s) /Author (Ann Lee) /CreationDate (D:20240102030405Z)" % title
    document = read(make_pdf(lines("Some text."), info=info), "stem.pdf")
    assert document.title == expected
    assert dict(document.metadata) == {"author": "Ann Lee", "date": "2024-01-02"}


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_pdf_passwords(algorithm: str) -> None:
    data = make_pdf(lines("Secret words."))
    assert read(encrypted(data, user="", owner="boss", algorithm=algorithm), "a.pdf").text == "Secret words."
    with pytest.raises(EncryptedDocument, match=r"^a\.pdf needs a password"):
        read(encrypted(data, user="key", owner="boss", algorithm=algorithm), "a.pdf")


def test_pdf_encrypted_by_an_unknown_method() -> None:
    data = encrypted(make_pdf(lines("Words.")), user="", owner="boss", algorithm="RC4-128")
    assert data.count(b"/Standard") == 1
    with pytest.raises(EncryptedDocument, match=r"^a\.pdf is encrypted and cannot be opened"):
        read(data.replace(b"/Standard", b"/Oddities"), "a.pdf")


@pytest.mark.parametrize("algorithm", ["AES-128", "AES-256"])
def test_pdf_aes_without_the_cryptography_package(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(encrypted(make_pdf(lines("Words.")), user="", owner="boss", algorithm=algorithm))
    code = (
        "import sys; sys.modules['cryptography'] = None; sys.modules['Crypto'] = None\n"
        "from pathlib import Path; from index.errors import EncryptedDocument\n"
        "from index.readers import read_path\n"
        "try: read_path(Path(sys.argv[1]))\n"
        "except EncryptedDocument as error: print(error)\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("a.pdf is encrypted and cannot be opened (cryptography")


@pytest.mark.parametrize(
    ("content", "resources"),
    [
        (b"q 100 0 0 100 0 0 cm /I Do Q", b"/XObject << /I 4 0 R >>"),
        (b"q BI /W 1 /H 1 /CS /G /BPC 8 ID x EI Q", b""),
    ],
)
def test_pdf_of_pictures_is_scanned(content: bytes, resources: bytes) -> None:
    with pytest.raises(ScannedDocument, match=r"^a\.pdf holds pictures of text and no text"):
        read(make_pdf(b"", content, resources=resources), "a.pdf")


def test_pdf_with_pictures_and_text_is_read() -> None:
    assert read(make_pdf(lines("Words."), resources=b"/XObject << /I 4 0 R >>"), "a.pdf").text == "Words."


def test_pdf_without_text_or_pictures_is_empty() -> None:
    with pytest.raises(EmptyDocument, match=r"^a\.pdf has no text on any page"):
        read(make_pdf(b"", b""), "a.pdf")
    with pytest.raises(EmptyDocument):
        read(make_pdf(), "a.pdf")


def test_damaged_pdf_is_unreadable_and_nothing_leaks(tmp_path: Path) -> None:
    data = make_pdf(lines("Words."))
    broken = {
        "cut.pdf": data[:60],
        "header.pdf": b"%PDF-1.7\n" + b"garbage " * 50,
        "filter.pdf": make_pdf(b"not deflated at all", stream_filter=b"/Filter /Oddity"),
        "loop.pdf": data.replace(b"/Kids [6 0 R]", b"/Kids [2 0 R]"),
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableDocument, match=rf"^{name} is damaged at "):
            read(content, name)
    # A fresh process shows what a person would see: our message and nothing of pypdf's.
    code = (
        "import sys; from pathlib import Path\n"
        "from index.errors import UnreadableDocument; from index.readers import read_path\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_path(Path(name))\n"
        "    except UnreadableDocument as error: print('refused')\n"
    )
    files = [str(tmp_path / name) for name in broken]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("refused\n" * len(broken), "")


def test_a_sloppy_pdf_is_read_and_nothing_leaks(capfd: pytest.CaptureFixture[str]) -> None:
    sloppy = make_pdf(lines("Words.")).replace(b"0000000009 00000 n", b"0000000007 00000 n")
    assert read(b"mail header\n" + sloppy, "a.pdf").text == "Words."
    assert capfd.readouterr() == ("", "")


def test_pdf_bomb_is_refused() -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    with pytest.raises(UnreadableDocument, match=r"^a\.pdf unpacks to more than the limit at page 1 "):
        read(make_pdf(bomb, stream_filter=b"/Filter /FlateDecode"), "a.pdf")


def test_pdf_errors_of_any_kind_become_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def recurse(page: object) -> str:
        return recurse(page)

    monkeypatch.setattr(pypdf.PageObject, "extract_text", recurse)
    with pytest.raises(UnreadableDocument, match=r"^a\.pdf is damaged at page 1 "):
        read(make_pdf(lines("Words.")), "a.pdf")
