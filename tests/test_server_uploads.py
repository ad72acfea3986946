"""What clients send as files: hostile names, hostile bodies, hostile contents, and many at once."""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docx
import httpx2
import pytest
from docx.opc.constants import RELATIONSHIP_TYPE
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject
from reader_checks import lines, make_pdf
from served import client_of, listening, settings_for, upload
from starlette.testclient import TestClient
from test_server_parsing import flate_bomb

from server.uploads import LONGEST_NAME, UploadFolder, shown_name

ZOO = b"The zoo of Basel opened in 1874. It keeps a herd of elephants.\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with client_of(settings_for(home, upload_files=20)) as made:
        yield made


def stored(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "uploads").rglob("*") if path.is_file())


def snapshot(folder: Path, leaving_out: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and leaving_out not in path.parents
    }


# -- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../../x.txt", "/etc/x.txt", "C:\\x.txt", "..\\..\\x.txt", "x\0.txt", "x" * 300 + ".txt", "a/../b.txt",
     "~root.txt", "%2e%2e%2fx.txt", "....//x.txt", "x.txt\u202e", "-rf.txt", "$(touch x).txt", "CON.txt",
     ".txt", "/", "..", "\0", ""],
)  # fmt: skip
def test_a_name_is_only_ever_shown(client: TestClient, home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.txt").write_text("as it was")
    before = snapshot(tmp_path, leaving_out=home)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.replace("\\", "\\\\").encode()
        + b'"\r\n\r\n'
        + ZOO
        + b"\r\n--b--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/api/documents", content=body, headers=kind)
    if response.status_code == 200:
        assert stored(home) == [hashlib.sha256(ZOO).hexdigest()[:32] + ".txt"]
        shown = response.json()["results"][0]["name"]
        assert re.fullmatch(r"[^/\\\0]{1,120}", shown)
    else:
        assert response.status_code in {400, 415}
        assert response.json()["error"]["message"]
        assert stored(home) == []
    assert snapshot(tmp_path, leaving_out=home) == before
    assert not Path("/etc/x.txt").exists()
    assert list((home / "uploads/default/incoming").iterdir()) == []


def test_names_that_are_known_by_their_last_part() -> None:
    assert shown_name("../../x.txt") == shown_name("C:\\x.txt") == shown_name("/etc/x.txt") == "x.txt"
    assert shown_name("a\0b\u202e.pdf") == "ab.pdf"
    long = shown_name("é" * 300 + ".PDF")
    assert len(long) == LONGEST_NAME
    assert long.endswith("é.PDF")
    assert shown_name("x." + "y" * 300) == "x." + "y" * (LONGEST_NAME - 2)
    assert shown_name("..") == shown_name("/") == shown_name("\0") == ""


def test_no_uri_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path / "uploads")
    (tmp_path / "x.txt").write_text("not yours")
    digits = "0" * 32
    for rest in (
        "../x.txt",
        f"{digits}/../../x",
        "/x.txt",
        f"{digits}%2f..%2fx.txt",
        f"{digits}/x.exe",
        digits,
    ):
        assert folder.opened(f"upload:{rest}") is None
    for uri in ("file:///etc/passwd", "upload:../x.txt", ""):
        folder.drop(uri)
        assert folder.opened(uri) is None
    folder.drop(f"upload:{digits}/..%2F..%2Fx.txt")
    assert (tmp_path / "x.txt").read_text() == "not yours"


# -- bodies ------------------------------------------------------------------------------------------


def part(name: str, data: bytes, headers: bytes = b"") -> bytes:
    disposition = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'.encode()
    return b"--b\r\n" + disposition + headers + b"\r\n" + data + b"\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\n",
        b"no boundary at all",
        part("a.txt", ZOO),  # without an end
        part("a.txt", ZOO)[:40],
        part("a.txt", ZOO, b"X-Long: " + b"x" * 2_000_000 + b"\r\n") + b"--b--\r\n",
        part("a.txt", ZOO, b"X" * 2_000_000 + b": x\r\n") + b"--b--\r\n",
        part("a.txt", ZOO, b"X-Many: x\r\n" * 200_000) + b"--b--\r\n",
        part("a" * 2_000_000, ZOO) + b"--b--\r\n",
        b"".join(part(f"{n}.txt", ZOO) for n in range(21)) + b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="a.txt"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n',
        b"--b\r\n\r\nx\r\n--b--\r\n",
    ],
    ids=lambda body: body[-60:].decode("latin-1"),
)
def test_a_body_that_is_no_upload_is_refused_and_leaves_nothing(
    client: TestClient, home: Path, body: bytes
) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/api/documents", content=body, headers=kind)
    assert response.status_code == 400
    assert "Traceback" not in response.text
    assert response.json()["error"]["message"]
    assert stored(home) == []
    assert client.get("/api/documents").json()["total"] == 0


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 300])
def test_a_boundary_that_is_none_is_refused(client: TestClient, kind: str) -> None:
    response = client.post("/api/documents", content=b"--b--", headers={"Content-Type": kind})
    assert response.status_code == 400


def test_a_thousand_and_one_parts_are_too_many(home: Path) -> None:
    with client_of(settings_for(home)) as client:
        body = b"".join(part("a.txt", b"x") for _ in range(1_001)) + b"--b--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        response = client.post("/api/documents", content=body, headers=kind)
    assert response.status_code == 400
    assert "1000" in response.json()["error"]["message"]
    assert stored(home) == []


def test_other_parts_are_passed_over(client: TestClient) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="uri"\r\n\r\nfile:///etc/passwd\r\n'
        + part("a.txt", ZOO)
        + b"--b--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/api/documents", content=body, headers=kind)
    assert [result["status"] for result in response.json()["results"]] == ["added"]
    assert response.json()["results"][0]["document"]["uri"].startswith("upload:")


def test_a_file_over_the_limit_is_refused_and_the_others_go_on(home: Path) -> None:
    settings = settings_for(home)
    small = settings.model_copy(update={"index": settings.index.model_copy(update={"max_file_bytes": 1000})})
    with client_of(small) as client:
        response = upload(client, ("just.txt", b"x" * 1000), ("over.txt", b"x" * 1001), ("zoo.txt", ZOO))
    assert response.status_code == 207
    results = response.json()["results"]
    assert [result["status"] for result in results] == ["added", "failed", "added"]
    assert "limit of 1,000" in results[1]["error"]["message"]
    assert len(stored(home)) == 2


# -- contents ----------------------------------------------------------------------------------------


def encrypted_pdf() -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(lines("Secret.")))))
    writer.encrypt("password", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "status", "code"),
    [
        ("a.pdf", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 415, "mislabelled_document"),
        ("a.exe", b"MZ", 415, "unsupported_format"),
        ("a", b"text", 415, "unsupported_format"),
        ("a.txt", b"\0\1\2\3" * 100, 415, "mislabelled_document"),
        ("a.pdf", b"", 422, "empty_document"),
        ("a.pdf", make_pdf(b""), 422, "empty_document"),
        ("a.pdf", encrypted_pdf(), 422, "encrypted_document"),
        (
            "a.pdf",
            make_pdf(b"q /Im0 Do Q", resources=b"/XObject << /Im0 4 0 R >>"),
            422,
            "scanned_document",
        ),
        ("a.pdf", b"%PDF-1.7 and nothing more", 422, "unreadable_document"),
        ("a.txt", b"  \n ", 422, "empty_document"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_read_is_refused(
    client: TestClient, home: Path, name: str, data: bytes, status: int, code: str
) -> None:
    response = upload(client, (name, data))
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert name in response.json()["error"]["message"]
    assert stored(home) == []
    assert upload(client, ("zoo.txt", ZOO)).status_code == 200


def test_ten_files_one_of_them_bad(client: TestClient) -> None:
    files = [(f"{n}.txt", f"Note number {n}.".encode()) for n in range(10)]
    files[4] = ("4.pdf", b"\x89PNG\r\n\x1a\n")
    response = upload(client, *files)
    assert response.status_code == 207
    results = response.json()["results"]
    assert [result["name"] for result in results] == [name for name, _ in files]
    assert [result["status"] for result in results] == ["added"] * 4 + ["failed"] + ["added"] * 5
    assert results[4]["document"] is None
    assert results[4]["error"]["code"] == "mislabelled_document"
    assert all(result["error"] is None for result in results if result["document"])
    assert client.get("/api/documents").json()["total"] == 9


def test_the_same_file_twice_is_the_same_document(client: TestClient, home: Path) -> None:
    first = upload(client, ("zoo.txt", ZOO)).json()["results"][0]
    again = upload(client, ("zoo.txt", ZOO)).json()["results"][0]
    renamed = upload(client, ("other.txt", ZOO), ("zoo.txt", ZOO)).json()["results"]
    assert (first["status"], again["status"]) == ("added", "unchanged")
    assert [result["status"] for result in renamed] == ["unchanged", "unchanged"]
    assert first["document"] == again["document"] == renamed[0]["document"] == renamed[1]["document"]
    assert client.get("/api/documents").json()["total"] == 1
    assert len(stored(home)) == 1


def test_the_same_name_again_replaces_nothing(client: TestClient) -> None:
    """Two people have a notes.txt each."""
    upload(client, ("notes.txt", b"My notes are these."))
    assert upload(client, ("notes.txt", b"Mine are others.")).json()["results"][0]["status"] == "added"
    assert client.get("/api/documents").json()["total"] == 2


def test_pasted_text(client: TestClient) -> None:
    text = "Zebras 🦓 live here.\r\nAnd lions."
    response = client.post("/api/documents", json={"title": "../A note", "text": text})
    assert response.status_code == 200
    document = response.json()["results"][0]["document"]
    assert document["title"] == "../A note"
    assert client.get(f"/api/documents/{document['id']}/text").json()["text"] == text
    again = client.post("/api/documents", json={"title": "../A note", "text": text})
    assert again.json()["results"][0]["status"] == "unchanged"


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "text"), ({"text": ""}, "text"), ({"text": 5}, "text"), ({"text": "x", "title": []}, "title"),
     ([], None), ("x", None), ({"text": "x", "title": "t" * 301}, "title")],
)  # fmt: skip
def test_pasted_text_that_is_none(client: TestClient, body: object, param: str | None) -> None:
    response = client.post("/api/documents", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(("text", "status"), [("  \n", 422), ("a\0b", 415), ("\u200b", 422)])
def test_pasted_text_without_text(client: TestClient, text: str, status: int) -> None:
    assert client.post("/api/documents", json={"text": text}).status_code == status


# -- no request is ever made -------------------------------------------------------------------------


@pytest.fixture
def untouched() -> Iterator[str]:
    """The address of a listener to which nobody connects."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listener.accept()


def hostile_page(address: str) -> bytes:
    return f"""<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "{address}/dtd">
        <html><head><base href="{address}/"><title>Zoo</title>
        <meta http-equiv="refresh" content="0;url={address}/refresh">
        <link rel=stylesheet href="{address}/css"><script src="{address}/js">secretScript()</script>
        <script>fetch("{address}/fetch"); var secretScript = 1</script></head>
        <body background="{address}/bg"><p>The zoo opened in 1874.</p>
        <img src="{address}/img"><iframe src="{address}/frame">secretFrame</iframe>
        <object data="{address}/object"></object><embed src="{address}/embed">
        <video src="{address}/video"></video><img src="file:///etc/hostname">
        <style>@import url({address}/style); p::after {{ content: "secretStyle" }}</style>
        <svg><image href="{address}/svg"/><script>secretSvg()</script></svg>
        <xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{address}/xi"/></body></html>""".encode()


def hostile_docx(address: str, folder: Path) -> bytes:
    made = docx.Document()
    made.add_paragraph("The zoo opened in 1874.")
    made.part.relate_to(f"{address}/image", RELATIONSHIP_TYPE.IMAGE, is_external=True)
    made.part.relate_to(f"{address}/notes", RELATIONSHIP_TYPE.FOOTNOTES, is_external=True)
    made.part.relate_to("file:///etc/hostname", RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    made.save(str(folder / "hostile.docx"))
    return (folder / "hostile.docx").read_bytes()


def hostile_pdf(address: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(lines("The zoo opened in 1874.")))))
    writer.add_uri(0, f"{address}/uri", (0, 0, 100, 100))
    script = {"/S": NameObject("/JavaScript"), "/JS": TextStringObject(f"app.launchURL('{address}/js');")}
    action = DictionaryObject({NameObject(key): value for key, value in script.items()})
    writer.pages[0][NameObject("/AA")] = DictionaryObject({NameObject("/O"): action})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_documents_make_no_request(client: TestClient, untouched: str, tmp_path: Path) -> None:
    xml = f"""<?xml version="1.0"?><!DOCTYPE html [<!ENTITY e SYSTEM "file:///etc/hostname">
        <!ENTITY f SYSTEM "{untouched}/entity">]><html><body><p>The zoo &e;&f; opened.</p></body></html>"""
    files = [
        ("page.html", hostile_page(untouched)),
        ("page.xhtml", xml.encode()),
        ("a.docx", hostile_docx(untouched, tmp_path)),
        ("a.pdf", hostile_pdf(untouched)),
        ("a.md", f"# Zoo\n\n![it]({untouched}/md) opened in 1874. <img src={untouched}/md2>".encode()),
    ]
    response = upload(client, *files)
    assert response.status_code == 200, response.text
    for result in response.json()["results"]:
        text = client.get(f"/api/documents/{result['document']['id']}/text").json()["text"]
        assert "zoo" in text.lower()
        assert Path("/etc/hostname").read_text().strip() not in text
        if result["name"].endswith("html"):
            assert "secret" not in text
            assert "fetch" not in text


def test_addresses_in_fields_are_only_text(client: TestClient, home: Path, untouched: str) -> None:
    for address in (untouched, "file:///etc/hostname"):
        client.post("/api/documents", json={"title": address, "text": address, "uri": address})
        client.post("/api/documents", json={"title": address, "text": "x", "url": address, "path": address})
        upload(client, (address, ZOO), (f"{address}/a.txt", ZOO))
        client.post("/api/ask", json={"question": address, "collection": address})
        client.post("/api/ask", json={"question": address, "filters": {"document_ids": [address]}})
        image = {"type": "image_url", "image_url": {"url": address}}
        for content in (address, [image], [{"type": "text", "text": address}]):
            asked = {"model": address, "messages": [{"role": "user", "content": content}], "user": address}
            client.post("/v1/chat/completions", json=asked)
        for path in ("/api/documents", "/api/documents/x/text", "/documents/x"):
            client.get(path, params={"q": address, "after": address, "start": address, "uri": address})
        quoted = address.replace("/", "%2F")
        for path in (f"/api/documents/{quoted}", f"/documents/{quoted}", f"/api/documents/{quoted}/source"):
            assert client.get(path).status_code in {400, 404}
        assert client.delete(f"/api/documents/{quoted}").status_code == 404
    texts = [
        client.get(f"/api/documents/{document['id']}/text").json()["text"]
        for document in client.get("/api/documents").json()["documents"]
    ]
    assert sorted(texts) == sorted([untouched, "file:///etc/hostname", "x", ZOO.decode()])


# -- while it works ----------------------------------------------------------------------------------


class Pulse:
    """Asks again and again whether a server is alive, and keeps the longest wait in seconds."""

    def __init__(self, base: str) -> None:
        self.longest = 0.0
        self.answers = 0
        self._base = base
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx2.Client(base_url=self._base, timeout=30) as client:
            while not self._over.wait(0.02):
                began = time.monotonic()
                assert client.get("/health").status_code == 200
                self.longest = max(self.longest, time.monotonic() - began)
                self.answers += 1

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("kind", ["flate bomb", "deep page", "long line"])
def test_it_lives_while_a_bomb_is_read(home: Path, kind: str) -> None:
    name, make = {
        "flate bomb": ("a.pdf", flate_bomb),
        "deep page": ("a.html", lambda: b"<div>" * 100_000 + b"hello"),
        "long line": ("a.txt", lambda: b"x" * 50_000_000),
    }[kind]
    data = make()
    with listening(settings_for(home)) as base, httpx2.Client(base_url=base, timeout=60) as client:
        with Pulse(base) as pulse:
            began = time.monotonic()
            response = client.post("/api/documents", files=[("files", (name, data))])
            seconds = time.monotonic() - began
        assert response.status_code == 422
        assert seconds < 30
        assert pulse.answers > 0
        assert pulse.longest < 1
        assert client.post("/api/documents", files=[("files", ("zoo.txt", ZOO))]).status_code == 200


def test_a_client_that_leaves_while_it_sends_leaves_nothing(home: Path) -> None:
    with listening(settings_for(home)) as base:
        host, port = base.removeprefix("http://").split(":")
        incoming = home / "uploads/default/incoming"
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /api/documents HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9000000\r\n"
            connection.sendall(
                head.encode()
                + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
                + part("a.txt", b"x" * 3_000_000)
            )
            wait_until(lambda: any(file.stat().st_size for file in incoming.glob("*/*")))
        wait_until(lambda: not any(incoming.iterdir()))
        with httpx2.Client(base_url=base) as client:
            assert client.get("/api/documents").json()["total"] == 0
    assert stored(home) == []


def wait_until(holds: object) -> None:
    """Of what another process or thread does and does not tell of: for at most ten seconds."""
    assert callable(holds)
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_killed_process_left_half_received_is_cleared_up(home: Path) -> None:
    incoming = home / "uploads/default/incoming"
    for name, age in (("old", 100_000), ("new", 0)):
        (incoming / name).mkdir(parents=True)
        (incoming / name / "1").write_bytes(ZOO)
        then = time.time() - age
        os.utime(incoming / name, (then, then))
    with client_of(settings_for(home)):
        pass
    assert [path.name for path in incoming.iterdir()] == ["new"]
