"""Word documents (.docx), opened by python-docx: paragraphs, lists and tables in document order.

python-docx gives the package, the styles and the core properties. The body is walked as XML, because
its own paragraph text leaves out content controls, insertions and text boxes. Deleted and hidden text,
headers and footers are left out; footnotes and endnotes follow the body.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from lxml import etree  # type: ignore[import-untyped]

from index.errors import DocumentError, EncryptedDocument, MislabelledDocument, UnreadableDocument
from index.extract import Composer, Extract, clean_metadata, join_cells
from index.signatures import OLE, describe
from index.titles import clean_title, find_headline, meaningful_title

UNPACKED_LIMIT = 512 * 1024 * 1024
"""Bytes that all parts of the file may unpack to; more is taken for a zip bomb."""

XML_LIMIT = 128 * 1024 * 1024
"""Bytes that the XML parts may unpack to: as a tree they take several times that."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_PROPERTIES = ("pPr", "rPr", "sdtPr", "tblPr", "trPr", "tcPr")
_DELETED = ("del", "delText", "moveFrom", "instrText")
_PASSED = frozenset({_FALLBACK, *(_W + tag for tag in (*_PROPERTIES, *_DELETED))})
_OWN_TEXT = frozenset({_W + "p", _W + "tbl"})
_SIGNS = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"}
_MAIN_PART = re.compile(r"word/document\d*\.xml")
_HEADING_NAME = re.compile(r"heading (\d)", re.IGNORECASE)
_OFF = frozenset({"0", "false", "off"})
_TITLE = -1
_MOST_CELL_PARAGRAPHS = 2


def read_docx(data: bytes, *, name: str) -> Extract:
    """The title is the core property's, else the paragraph in the style "Title", else the first heading
    of level 1, else a headline among the first blocks, else "".

    Raises MislabelledDocument when it is no Word document, EncryptedDocument when it needs a password,
    UnreadableDocument when it is damaged or unpacks to more than the limits.
    """
    _check_package(data, name)
    try:
        document = docx.Document(io.BytesIO(data))
        body = _Body(_outline_levels(document.styles.element))
        body.read(document.element.body)
        for kind in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES):
            for relation in document.part.rels.values():
                if relation.reltype == kind and not relation.is_external:
                    body.read_notes(relation.target_part.blob)
        core = document.core_properties
        title, author, created = core.title, core.author, core.created
    except DocumentError:
        raise
    # A damaged package makes python-docx raise KeyError, ValueError, XMLSyntaxError, BadZipFile and more.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UnreadableDocument(f"{name} is damaged ({reason}): open it and save it again.") from error
    text, blocks = body.composer.text(), body.composer.blocks()
    metadata = clean_metadata({"author": author, "date": created.date().isoformat() if created else None})
    found = meaningful_title(title or "") or body.title or body.first_h1 or find_headline(text, blocks)
    return Extract(text, blocks, title=found, metadata=metadata)


def _check_package(data: bytes, name: str) -> None:
    """Refuse what is no Word document, is encrypted, or would unpack to too much, before unpacking it."""
    if data.startswith(OLE):
        if "WordDocument".encode("utf-16-le") in data and "EncryptedPackage".encode("utf-16-le") not in data:
            raise MislabelledDocument(f"{name} looks like an old Word document (.doc): save it as .docx.")
        raise EncryptedDocument(f"{name} is encrypted: save a copy without a password and index that.")
    if not data.startswith(b"PK"):
        raise _mislabelled(data, name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise UnreadableDocument(f"{name} is a damaged zip archive ({error}): get it again.") from error
    if not any(_MAIN_PART.fullmatch(member.filename) for member in members):
        raise _mislabelled(data, name)
    if any(member.flag_bits & 1 for member in members):
        raise EncryptedDocument(f"{name} needs a password: save a copy without one and index that.")
    unpacked = sum(member.file_size for member in members)
    xml = sum(member.file_size for member in members if member.filename.lower().endswith((".xml", ".rels")))
    for size, limit, what in ((unpacked, UNPACKED_LIMIT, "bytes"), (xml, XML_LIMIT, "bytes of XML")):
        if size > limit:
            raise UnreadableDocument(
                f"{name} unpacks to {size:,} {what}, over the limit of {limit:,}: divide it."
            )


def _mislabelled(data: bytes, name: str) -> MislabelledDocument:
    return MislabelledDocument(f"{name} looks like {describe(data)}, not a Word document: rename the file.")


def _outline_levels(styles: Any) -> dict[str, int]:
    """Style id to heading level (1 the outermost, `_TITLE` for a title), for the styles that have one."""
    parents: dict[str, str] = {}
    own: dict[str, int] = {}
    for style in styles.iter(_W + "style"):
        identifier = style.get(_W + "styleId", "")
        parents[identifier] = _value(style.find(_W + "basedOn"))
        name = _value(style.find(_W + "name"))
        level = _value(style.find(f"{_W}pPr/{_W}outlineLvl"))
        match = _HEADING_NAME.fullmatch(name)
        if name.lower() == "title":
            own[identifier] = _TITLE
        elif level.isdecimal():
            own[identifier] = int(level) + 1
        elif match:
            own[identifier] = int(match[1])
    levels: dict[str, int] = {}
    for identifier in parents:
        at, seen = identifier, set[str]()
        while at and at not in own and at not in seen:
            seen.add(at)
            at = parents.get(at, "")
        # Outline level 10 is Word's "body text".
        if at in own and own[at] < 10:
            levels[identifier] = own[at]
    return levels


def _value(element: Any) -> str:
    return element.get(_W + "val", "") if element is not None else ""


class _Body:
    """Walks the body and fills a composer."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.composer = Composer()
        self.title = ""
        self.first_h1 = ""
        self._levels = levels

    def read(self, parent: Any) -> None:
        """The paragraphs and tables in `parent`, in order, through content controls and insertions."""
        for element in parent:
            if element.tag == _W + "p":
                self._paragraph(element)
            elif element.tag == _W + "tr":
                self._row(element)
            elif isinstance(element.tag, str) and element.tag not in _PASSED:
                self.read(element)

    def read_notes(self, blob: bytes) -> None:
        """Footnotes or endnotes; the separators that Word stores among them are passed over."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        for note in etree.fromstring(blob, parser):
            if note.get(_W + "type", "normal") == "normal":
                self.composer.path.leave(1)
                self.read(note)

    def _paragraph(self, element: Any) -> None:
        text, boxes = _text(element)
        level = self._level(element)
        if level == _TITLE:
            self.title = self.title or clean_title(text)
            self.composer.add_heading(text, 1)
            # A title stands above everything, so it would say nothing in every path.
            self.composer.path.leave(1)
        elif level:
            if level == 1:
                self.first_h1 = self.first_h1 or clean_title(text)
            self.composer.add_heading(text, level)
        else:
            self.composer.add(text)
        for box in boxes:
            self.read(box)

    def _level(self, element: Any) -> int:
        """0 for a paragraph that is no heading."""
        own = _value(element.find(f"{_W}pPr/{_W}outlineLvl"))
        if own.isdecimal():
            return int(own) + 1 if int(own) < 9 else 0
        return self._levels.get(_value(element.find(f"{_W}pPr/{_W}pStyle")), 0)

    def _row(self, row: Any) -> None:
        cells = list(_inside(row, _W + "tc"))
        if any(self._lays_out(cell) for cell in cells):
            for cell in cells:
                self.read(cell)
            return
        texts, boxes = [], []
        for cell in cells:
            parts = [_text(paragraph) for paragraph in _inside(cell, _W + "p")]
            texts.append(" ".join(text for text, _ in parts))
            boxes += [box for _, found in parts for box in found]
        self.composer.add(join_cells(texts))
        for box in boxes:
            self.read(box)

    def _lays_out(self, cell: Any) -> bool:
        """Whether a cell holds more than data: another table, a heading, many paragraphs."""
        paragraphs = [p for p in _inside(cell, _W + "p") if _text(p)[0].strip()]
        if len(paragraphs) > _MOST_CELL_PARAGRAPHS or any(self._level(p) for p in paragraphs):
            return True
        return next(_inside(cell, _W + "tbl"), None) is not None


def _inside(parent: Any, tag: str) -> Iterator[Any]:
    """Elements of `tag` that belong to `parent` itself, through content controls but not through tables."""
    for element in parent:
        if element.tag == tag:
            yield element
        elif isinstance(element.tag, str) and element.tag not in _PASSED | _OWN_TEXT:
            yield from _inside(element, tag)


def _text(paragraph: Any) -> tuple[str, list[Any]]:
    """What a paragraph shows, and the text boxes anchored in it."""
    parts: list[str] = []
    boxes: list[Any] = []
    _collect(paragraph, parts, boxes)
    lines = (line.strip() for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line), boxes


def _collect(element: Any, parts: list[str], boxes: list[Any]) -> None:
    for child in element:
        tag = child.tag
        if tag in {_W + "t", _MATH_TEXT}:
            parts.append(child.text or "")
        elif tag in _SIGNS:
            parts.append(_SIGNS[tag])
        elif tag == _W + "txbxContent":
            boxes.append(child)
        elif isinstance(tag, str) and tag not in _PASSED and not (tag == _W + "r" and _is_hidden(child)):
            _collect(child, parts, boxes)


def _is_hidden(run: Any) -> bool:
    vanish = run.find(f"{_W}rPr/{_W}vanish")
    return vanish is not None and _value(vanish).lower() not in _OFF
