"""What the tests of the readers share: reading, the checks that hold for every document, a small PDF."""

from __future__ import annotations

from hypothesis import strategies as st

from index.readers import read_bytes
from index.types import Document

URI = "file:///made/by/the/test"


def read(data: bytes | str, name: str) -> Document:
    document = read_bytes(data.encode() if isinstance(data, str) else data, name=name, uri=URI)
    check_blocks(document)
    return document


def check_blocks(document: Document) -> None:
    """What holds for the blocks and pages of every document."""
    reached = 0
    for block in document.blocks:
        assert reached <= block.start < block.end <= len(document.text)
        cited = document.text[block.start : block.end]
        assert cited == cited.strip()
        reached = block.end
    position = 0
    for number, page in enumerate(document.pages, start=1):
        assert (page.number, page.start) == (number, position)
        position = page.end
    if document.pages:
        assert position == len(document.text)
        for block in document.blocks:
            assert document.page_at(block.start) == document.page_at(block.end - 1) is not None


def uncovered(document: Document) -> str:
    """The text outside all blocks, without whitespace."""
    edges = [0, *(edge for b in document.blocks for edge in (b.start, b.end)), len(document.text)]
    gaps = [document.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return "".join("".join(gaps).split())


def shown(document: Document) -> list[str]:
    return [document.text[b.start : b.end] for b in document.blocks]


def outline(document: Document) -> list[tuple[str, str, bool]]:
    return [(document.text[b.start : b.end], b.heading, b.is_heading) for b in document.blocks]


def under(*headings: str) -> str:
    return " \u203a ".join(headings)


def make_pdf(*pages: bytes, resources: bytes = b"", info: bytes = b"", stream_filter: bytes = b"") -> bytes:
    """A PDF with one content stream a page, a Helvetica font as /F1, and a correct cross-reference table."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    objects.append(b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray "
                   b"/BitsPerComponent 8 /Length 1 >>\nstream\n\x80\nendstream")  # fmt: skip
    objects.append(b"<< " + info + b" >>")
    kids = []
    for content in pages:
        kids.append(b"%d 0 R" % (len(objects) + 1))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> %s >> >>" % (len(objects) + 2, resources)
        )
        objects.append(b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), stream_filter, content))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        xref,
    )
    return bytes(out)


def lines(*texts: str) -> bytes:
    """A content stream that writes one line below the other."""
    body = b" T* ".join(b"(%s) Tj" % text.encode("cp1252") for text in texts)
    return b"BT /F1 12 Tf 14 TL 72 720 Td " + body + b" ET"


EXOTIC = st.sampled_from(
    ["\r\n", "\r", "\n", "\n\n", "\u2028", "\u2029", "\x85", "\f", "\v", "e\u0301", "👩‍👧", "🇫🇷", "שלום",
     "مرحبا", "\u06d4", "。", "Mr. ", ". ", "Word ", "word ", "- ", "1. ", "\ufeff", "\xa0", "\u200b", "\t",
     "====", "x" * 140]
)  # fmt: skip
"""Pieces of text that readers trip over."""
