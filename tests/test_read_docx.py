"""DOCX: document order, headings, tables, refusals."""

from __future__ import annotations

import io
import zipfile

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from reader_checks import outline, read, shown, under

from index import read_docx
from index.errors import EmptyDocument, EncryptedDocument, MislabelledDocument, UnreadableDocument


def saved(document: docx.document.Document) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def rezipped(data: bytes, **replaced: bytes) -> bytes:
    """The package with parts replaced or added; "__" in a name stands for "/", "_dot_" for a dot."""
    names = {name.replace("__", "/").replace("_dot_", "."): content for name, content in replaced.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, names.pop(member, old.read(member)))
        for name, content in names.items():
            new.writestr(name, content)
    return out.getvalue()


def test_docx_in_document_order() -> None:
    made = docx.Document()
    made.add_heading("The Title", 0)
    made.add_paragraph("Before.")
    made.add_heading("Chapter", 1)
    paragraph = made.add_paragraph("One ")
    paragraph.add_run("bold").bold = True
    paragraph.add_run("\tand\nmore.")
    made.add_heading("Section", 2)
    made.add_paragraph("item", style="List Bullet")
    table = made.add_table(rows=2, cols=3)
    for cell, text in zip(
        [c for row in table.rows for c in row.cells], ["", "Q1", "Q2", "2020", "5", ""], strict=True
    ):
        cell.text = text
    made.add_paragraph("   ")
    made.add_heading("Next", 1)
    made.add_paragraph("End.")
    made.core_properties.author = "Ann"
    data = saved(made)
    document = read(data, "a.docx")
    section = under("Chapter", "Section")
    assert outline(document) == [
        ("The Title", "", True),
        ("Before.", "", False),
        ("Chapter", "", True),
        ("One bold\tand\nmore.", "Chapter", False),
        ("Section", "Chapter", True),
        ("item", section, False),
        ("| Q1 | Q2", section, False),
        ("2020 | 5", section, False),
        ("Next", "", True),
        ("End.", "Next", False),
    ]
    assert document.title == "The Title"
    assert document.metadata["author"] == "Ann"
    assert document.metadata["date"] == made.core_properties.created.date().isoformat()
    assert document.text == "\n\n".join(shown(document))
    assert document == read(data, "a.docx")


def test_docx_title_prefers_the_core_property() -> None:
    made = docx.Document()
    made.add_heading("Styled", 0)
    made.core_properties.title = "From the properties"
    assert read(saved(made), "a.docx").title == "From the properties"
    made.core_properties.title = "Document1"
    assert read(saved(made), "a.docx").title == "Styled"


def test_docx_text_that_python_docx_passes_over() -> None:
    made = docx.Document()
    body = made.element.body
    control = (
        "<w:sdt {0}><w:sdtPr/><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    changed = (
        '<w:p {0}><w:ins w:id="1" w:author="a"><w:r><w:t>added</w:t></w:r></w:ins>'
        '<w:del w:id="2" w:author="a"><w:r>'
        "<w:delText>GONE</w:delText></w:r></w:del><w:r><w:rPr><w:vanish/></w:rPr><w:t>GONE</w:t></w:r>"
        '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t xml:space="preserve"> shown</w:t></w:r></w:p>'
    )
    boxed = (
        "<w:p {0}><w:r><w:t>around</w:t></w:r><w:r><w:pict><w:txbxContent>"
        "<w:p><w:r><w:t>in the box</w:t></w:r></w:p>"
        "</w:txbxContent></w:pict></w:r></w:p>"
    )
    for xml in (control, changed, boxed):
        body.insert(len(body) - 1, parse_xml(xml.format(nsdecls("w"))))
    assert shown(read(saved(made), "a.docx")) == ["control", "added shown", "around", "in the box"]


def test_docx_heading_levels_follow_styles_and_own_outline() -> None:
    made = docx.Document()
    style = made.styles.add_style("Mine", WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = made.styles["Heading 2"]
    made.add_heading("One", 1)
    made.add_paragraph("Two", style="Mine")
    own = made.add_paragraph("Three")
    own._p.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="2"/>'))
    made.add_paragraph("text")
    plain = made.styles.add_style("Plain", WD_STYLE_TYPE.PARAGRAPH)
    plain.element.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="9"/>'))
    made.add_paragraph("body", style="Plain")
    made.add_heading("Four", 4)
    path = under("One", "Two", "Three")
    expected = [("text", path, False), ("body", path, False), ("Four", path, True)]
    assert outline(read(saved(made), "a.docx"))[-3:] == expected


def test_docx_footnotes_follow_the_body() -> None:
    made = docx.Document()
    made.add_heading("Head", 1)
    made.add_paragraph("Body.")
    data = saved(made)
    w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    notes = (
        f'<w:footnotes {w}><w:footnote w:type="separator" w:id="-1">'
        "<w:p><w:r><w:t>NO</w:t></w:r></w:p></w:footnote>"
        '<w:footnote w:id="1"><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        relations = package.read("word/_rels/document.xml.rels")
        types = package.read("[Content_Types].xml")
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    relation = f'<Relationship Id="rId99" Type="{kind}" Target="footnotes.xml"/></Relationships>'
    override = '<Override PartName="/word/footnotes.xml" ContentType="application/xml"/></Types>'
    names = {
        "word/_rels/document.xml.rels": relations.replace(b"</Relationships>", relation.encode()),
        "[Content_Types].xml": types.replace(b"</Types>", override.encode()),
        "word/footnotes.xml": notes.encode(),
    }
    document = read(rezipped(data, **names), "a.docx")
    assert outline(document) == [("Head", "", True), ("Body.", "Head", False), ("A note.", "", False)]


def test_docx_table_with_a_table_in_it_is_read_cell_by_cell() -> None:
    made = docx.Document()
    row = made.add_table(rows=1, cols=2).rows[0]
    row.cells[0].text = "left"
    row.cells[1].text = "above"
    inner = row.cells[1].add_table(rows=1, cols=2).rows[0]
    inner.cells[0].text, inner.cells[1].text = "a", "b"
    assert shown(read(saved(made), "a.docx")) == ["left", "above", "a | b"]


def test_docx_refusals() -> None:
    made = docx.Document()
    made.add_paragraph("Words.")
    data = saved(made)
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    with pytest.raises(EncryptedDocument, match=r"^a\.docx is encrypted"):
        read(ole + "EncryptedPackage".encode("utf-16-le"), "a.docx")
    with pytest.raises(EncryptedDocument):
        read(ole, "a.docx")
    with pytest.raises(MislabelledDocument, match=r"^a\.docx looks like an old Word document \(\.doc\)"):
        read(ole + "WordDocument".encode("utf-16-le"), "a.docx")
    with pytest.raises(UnreadableDocument, match=r"^a\.docx is a damaged zip archive"):
        read(data[: len(data) // 2], "a.docx")
    with pytest.raises(UnreadableDocument, match=r"^a\.docx is damaged"):
        read(rezipped(data, **{"word/document.xml": b"<w:document"}), "a.docx")
    with pytest.raises(EmptyDocument):
        read(saved(docx.Document()), "a.docx")


def test_docx_bombs_are_refused_before_they_unpack(monkeypatch: pytest.MonkeyPatch) -> None:
    data = rezipped(saved(docx.Document()), **{"word/media/a.bin": bytes(2_000_000)})
    monkeypatch.setattr(read_docx, "UNPACKED_LIMIT", 1_000_000)
    with pytest.raises(
        UnreadableDocument, match=r"^a\.docx unpacks to [\d,]+ bytes, over the limit of 1,000,000"
    ):
        read(data, "a.docx")
    monkeypatch.undo()
    monkeypatch.setattr(read_docx, "XML_LIMIT", 1_000)
    with pytest.raises(UnreadableDocument, match=r"bytes of XML, over the limit of 1,000"):
        read(data, "a.docx")


def test_docx_entities_are_not_expanded() -> None:
    made = docx.Document()
    made.add_paragraph("PLACE")
    made.add_paragraph("text")
    data = saved(made)
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        xml = package.read("word/document.xml")
    declaration = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    xml = xml.replace(b"<w:document", declaration + b"<w:document", 1).replace(b"PLACE", b"kept &e;")
    assert read(rezipped(data, **{"word/document.xml": xml}), "a.docx").text == "kept\n\ntext"
