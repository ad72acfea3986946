"""Files that nobody meant to write, read in the process that parses uploads: they neither hang nor crash it.

    python tests/bench/fuzz_readers.py 12                # minutes for each of the five formats: an hour
    python tests/bench/fuzz_readers.py 1 pdf docx
    python tests/bench/fuzz_readers.py 12 --seed 100     # other files than before

Hypothesis draws small sound files and what is done to them: bytes replaced, put in, left out, repeated,
tokens of the format in wrong places. Of a DOCX a part is changed and the package closed again with right
checksums, of a PDF a stream is changed and packed again, so that what is broken is not the wrapping alone.
Blocks and pages of the document that comes out have to fit its text. A file that took more than 30 s, killed
the process that read it, needed more than 1 GiB or gave a document that does not fit is kept, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import collections
import io
import resource
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import docx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from reader_checks import check_blocks, lines, make_pdf

from index.errors import DocumentError
from server.parsing import Parser

LONGEST_S = 30.0
MOST_BYTES = 64 * 1024**2
AT_ONCE = 500  # examples between two looks at the clock's end
MOST_REPEATED = 20_000

PLAIN = (
    "\ufeffZebras, 🦓.\r\n\r\nÉléphants. “Mr. Smith” said: no.\n",
    "שלום\u2028مرحبا\x85e\u0301\u200b 東京。\f",
    "word\n" * 40,
)
MARKDOWN = (
    "---\nauthor: [me, you]\ndate: 2024-01-01\n---\n# Zoo\n\nIt *opened* in `1874`.\n\n> - a\n>   1. b\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx\n```\n[a]: <b> 'c'\n![d](e \"f\")\n<p>g</p>\n",
    "Title\n=====\n\n* a\n  * b\n    * c\n\n---\n\n&amp; \\* <!-- x --> https://a.example\n",
)
HTML = (
    "<!doctype html><html lang=de><head><meta charset=utf-8><title>Zoo</title><style>p{}</style></head><body>"
    "<h1>Basel</h1><p>Seit <b>1874</b>.<ul><li>a<li>b</ul><table><tr><th>x<td>y</table><pre> z </pre>"
    "<script>1<2</script><svg><text>s</text></svg><template>t</template><p hidden>h</body></html>",
    "<?xml version='1.0' encoding='latin-1'?><html xmlns='http://www.w3.org/1999/xhtml'><p>a<br/>b&eacute;</p></html>",
)
CONTENTS = (
    lines("It opened in 1874.", "It has a lake."),
    b"q 1 0 0 1 5 5 cm BT /F1 9 Tf 3 Tr [(a) -200 (b)] TJ 0 -12 TD <4142> Tj (c) ' ET Q",
    b"BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI BT /F1 1 Tf (x) Tj ET",
)

TOKENS: dict[str, list[bytes]] = {
    "txt": [b"\x00", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\r", b"\xe9", b"\xd8\x00", b"\xe2\x80\xa8"],
    "md": [b"---\n", b"```", b"> ", b"- ", b"* ", b"|", b"[", b"](", b"<", b"&#x", b"\\", b"*", b"_", b"    ",
           b"&a ", b"*a ", b"!!python/object:os.system ", b"<<: ", b"? ", b": {", b"~~~", b"1. ", b"[^1]"],
    "html": [b"<div>", b"</p>", b"<table>", b"<!--", b"-->", b"<![CDATA[", b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
             b"&b;", b"&#99999999;", b"<script>", b"</script", b"<b", b"=", b"'", b"<plaintext>",
             b"<select>",
             b"<base href=", b"<meta charset=utf-16>", b"<svg>", b"<math>", b"<td>", b"<frameset>", b"\x00"],
    "pdf": [b"obj", b"endobj", b"stream\n", b"endstream", b"<<", b">>", b"[", b"]", b"/Kids", b"2 0 R",
            b"/Count 999999999", b"/Length 99999", b"2 0 R", b"/Filter /FlateDecode", b"/Filter [/LZWDecode]",
            b"/Filter [/ASCIIHexDecode /ASCII85Decode /RunLengthDecode]", b"/DecodeParms << /Predictor 12 "
            b"/Columns 99999 >>", b"/Encrypt 5 0 R", b"/ObjStm", b"/XRefStm", b"/Prev 0", b"startxref\n0",
            b"/ToUnicode 6 0 R", b"begincmap", b"<0000> <ffff> <0000>", b"endbfrange", b"BT", b"ET",
            b"Tj", b"Do",
            b"/Rotate 90", b"-1", b"99999999999999999999", b"(", b")", b"\\", b"%%EOF", b"trailer"],
    "docx": [b"<w:p>", b"</w:p>", b"<w:tbl>", b"<w:tr>", b"<w:tc>", b"<w:r><w:t>a</w:t></w:r>", b"<w:sdt>",
             b"<w:gridSpan w:val='99999999'/>", b"<w:vMerge/>", b"w:val='-1'",
             b"<w:pStyle w:val='Heading1'/>",
             b"<w:basedOn w:val='Heading1'/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<?xml?>", b"&#0;",
             b"Target='../../x'", b"TargetMode='External'", b"<w:br/>", b"<mc:AlternateContent>", b"\x00"],
}  # fmt: skip
"""Pieces of each format that its reader acts on."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is done at one place, given as a share of the length, to so many bytes."""

    kind: str
    at: float
    length: int
    piece: bytes
    times: int


def edits(form: str) -> st.SearchStrategy[list[Edit]]:
    pieces = st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from(TOKENS[form]))
    kinds = st.sampled_from(["replace", "insert", "insert", "delete", "copy", "repeat", "flip", "cut"])
    times = st.one_of(st.integers(1, 4), st.sampled_from([64, 1_000, MOST_REPEATED]))
    lengths = st.one_of(st.integers(1, 8), st.integers(1, 400))
    return st.lists(st.builds(Edit, kinds, st.floats(0, 1), lengths, pieces, times), max_size=8)


def edited(data: bytes, changes: list[Edit]) -> bytes:
    for change in changes:
        at = int(change.at * len(data))
        end = min(at + change.length, len(data))
        match change.kind:
            case "replace":
                data = data[:at] + change.piece + data[at + len(change.piece) :]
            case "insert":
                data = data[:at] + change.piece + data[at:]
            case "delete":
                data = data[:at] + data[end:]
            case "copy":
                data = data[:end] + data[at:end] * min(change.times, 1_000) + data[end:]
            case "repeat":
                data = data[:at] + change.piece * change.times + data[at:]
            case "flip" if at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << change.length % 8)]) + data[at + 1 :]
            case "cut":
                data = data[: max(at, 1)]
        if len(data) > 4_000_000:
            break
    return data


def _word_document() -> bytes:
    made = docx.Document()
    made.core_properties.title = "Of a zoo"
    made.add_heading("Basel", 1)
    made.add_paragraph("It opened in 1874.").add_run("\tBold").bold = True
    made.add_paragraph("item", style="List Bullet")
    table = made.add_table(rows=2, cols=2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "Q1"
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def _rezipped(data: bytes, part: int, changes: list[Edit]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen = "word/document.xml" if part < 0 else names[part % len(names)]
        for name in names:
            new.writestr(name, edited(old.read(name), changes) if name == chosen else old.read(name))
    return out.getvalue()


def _packed_pdf(content: bytes, changes: list[Edit]) -> bytes:
    return make_pdf(zlib.compress(edited(content, changes)), stream_filter=b"/Filter /FlateDecode")


def files(form: str) -> st.SearchStrategy[bytes]:
    """Files of a format, most of them broken."""
    if form == "pdf":
        whole = [make_pdf(*CONTENTS, info=b"/Author (Me) /Title (Zoo)"), make_pdf(lines("One."))]
        return st.one_of(
            st.builds(edited, st.sampled_from(whole), edits(form)),
            st.builds(_packed_pdf, st.sampled_from(CONTENTS), edits(form)),
        )
    if form == "docx":
        made = st.just(_word_document())
        parts = st.one_of(st.just(-1), st.integers(0, 40))
        return st.one_of(
            st.builds(_rezipped, made, parts, edits(form)),
            st.builds(_rezipped, made, parts, edits(form)),
            st.builds(edited, made, edits(form)),
        )
    plain = {"txt": PLAIN, "md": MARKDOWN, "html": HTML}[form]
    codings = st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-16-be", "utf-32", "latin-1"])
    sources = st.builds(lambda text, coding: text.encode(coding, "ignore"), st.sampled_from(plain), codings)
    return st.builds(edited, sources, edits(form))


@dataclass(slots=True)
class Found:
    """What came of the files of one format."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest_s: float = 0.0
    kept: list[Path] = field(default_factory=list)


def outcome(parser: Parser, path: Path, name: str) -> tuple[str, bool]:
    """What came of a file, and whether that is a fault."""
    try:
        document = parser.read(path, name=name, uri="upload:1", max_bytes=MOST_BYTES)
    except DocumentError as error:
        if "cannot be read within" in str(error):
            return "died or hung", True
        if "more memory" in str(error):
            return "over 1 GiB", True
        return error.code, False
    try:
        check_blocks(document)
    except AssertionError:
        return "does not fit", True
    return "read", False


def fuzz(form: str, seconds: float, first: int, place: Path) -> Found:
    found = Found()
    parser = Parser(seconds=LONGEST_S)
    path = place / "file"
    end = time.monotonic() + seconds

    def read(data: bytes) -> None:
        if time.monotonic() > end:
            return
        path.write_bytes(data)
        began = time.monotonic()
        result, is_fault = outcome(parser, path, f"zoo.{form}")
        took = time.monotonic() - began
        found.outcomes[result] += 1
        found.slowest_s = max(found.slowest_s, took)
        if is_fault or took > LONGEST_S:
            kept = place / f"{result.replace(' ', '-')}-{len(found.kept)}.{form}"
            kept.write_bytes(data)
            found.kept.append(kept)
            print(f"  {result} after {took:.1f} s: {kept}", file=sys.stderr, flush=True)

    number = first
    try:
        while time.monotonic() < end:
            _drawn(form, number, read)
            number += 1
    finally:
        parser.close()
    return found


def _drawn(form: str, number: int, read: Callable[[bytes], None]) -> None:
    settled = settings(
        max_examples=AT_ONCE,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(settled(given(files(form))(read)))()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("minutes", type=float)
    options.add_argument("formats", nargs="*", default=list(TOKENS), metavar="|".join(TOKENS))
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    faults = 0
    for form in asked.formats:
        found = fuzz(form, asked.minutes * 60, asked.seed, place)
        # Of all that have ended: the process that read, and its forks.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"{form}: {found.outcomes.total():,} files in {asked.minutes:g} min, {dict(found.outcomes)}; "
            f"slowest {found.slowest_s:.1f} s, at most {peak:.0f} MB; {len(found.kept)} faults",
            flush=True,
        )
        faults += len(found.kept)
    print(f"{faults} faults" + (f", kept in {place}" if faults else ""))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
