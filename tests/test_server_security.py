"""Who may: names, origins, keys, content types, bodies; each refused with the envelope, then a question."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asked_server import ANSWER, QUESTION, listening, small_settings, small_state
from served import BASE
from starlette.testclient import TestClient

from index.errors import UsageError
from server.app import create_app
from server.keys import ApiKey

KEY = "sk-0123456789abcdef"


@contextmanager
def client_of(home: Path, key: ApiKey | None = None, **server: Any) -> Iterator[TestClient]:
    with (
        small_state(small_settings(home, **server), key=key) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(tmp_path_factory.mktemp("home")) as client:
        yield client


def code(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    return str(error["code"])


def still_answers(client: TestClient) -> bool:
    return bool(client.post("/api/ask", json={"question": QUESTION}).json()["answer"] == ANSWER)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "[::1]:8000", "LOCALHOST", "127.8.8.8:1"])
def test_loopback_names_are_ours(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", "", "[::1", "a b",
     "evil.example@127.0.0.1", "127.0.0.1/evil"],
)  # fmt: skip
def test_other_names_are_foreign(client: TestClient, host: str) -> None:
    assert code(client.get("/health", headers={"host": host}), 400) == "foreign_host"
    assert still_answers(client)


def test_behind_a_wider_bind_addresses_are_ours_and_names_have_to_be_given(tmp_path: Path) -> None:
    with client_of(tmp_path, ApiKey.of(KEY), host="0.0.0.0", hosts=("notes.lan",)) as client:
        for host in ("192.168.1.5:8000", "notes.lan", "localhost"):
            assert client.get("/health", headers={"host": host}).status_code == 200
        assert code(client.get("/health", headers={"host": "evil.example"}), 400) == "foreign_host"


@pytest.mark.parametrize("path", ["/api/ask", "/v1/chat/completions", "/api/documents"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "file://"])
def test_pages_of_other_sites_may_not_write(client: TestClient, path: str, origin: str) -> None:
    response = client.post(path, json={"question": QUESTION}, headers={"origin": origin})
    assert code(response, 403) == "foreign_origin"
    assert "access-control-allow-origin" not in response.headers
    assert code(client.delete("/api/documents/" + "0" * 16, headers={"origin": origin}), 403)


def test_a_write_across_sites_without_an_origin_is_refused_too(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    response = client.post("/api/ask", json={"question": QUESTION}, headers=headers)
    assert code(response, 403) == "foreign_origin"


def test_our_own_page_may_write(client: TestClient) -> None:
    for headers in ({"origin": BASE}, {"sec-fetch-site": "same-origin"}):
        response = client.post("/api/ask", json={"question": QUESTION}, headers=headers)
        assert response.status_code == 200


def test_cors_is_granted_to_those_configured_and_no_others(client: TestClient, tmp_path: Path) -> None:
    preflight = {"origin": "https://ours.example", "access-control-request-method": "POST"}
    refused = client.options("/api/ask", headers=preflight)
    assert "access-control-allow-origin" not in refused.headers
    with client_of(tmp_path, ApiKey.of(KEY), origins=("https://ours.example",)) as open_to:
        granted = open_to.options("/api/ask", headers=preflight)
        assert granted.headers["access-control-allow-origin"] == "https://ours.example"
        assert "access-control-allow-credentials" not in granted.headers
        headers = {"origin": "https://ours.example", "authorization": f"Bearer {KEY}"}
        assert open_to.post("/api/ask", json={"question": QUESTION}, headers=headers).status_code == 200
        refused = open_to.post("/api/ask", json={"question": QUESTION}, headers={"origin": headers["origin"]})
        assert code(refused, 401) == "invalid_api_key"
        assert refused.headers["access-control-allow-origin"] == "https://ours.example"
        other = open_to.options("/api/ask", headers={**preflight, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", f"Bearer {KEY}x", f"Basic {KEY}", KEY, f"bearer{KEY}", "Bearer ñ"]
)
def test_without_the_key_nothing_is_answered(tmp_path: Path, sent: str) -> None:
    with client_of(tmp_path, ApiKey.of(KEY)) as client:
        for method, path in [
            ("POST", "/api/ask"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("GET", "/api/documents"),
            ("GET", "/api/documents/" + "0" * 16),
            ("GET", "/openapi.json"),
            ("GET", "/nothing"),
        ]:
            headers = {"authorization": sent.encode("latin-1")} if sent else {}
            response = client.request(method, path, headers=headers)
            assert code(response, 401) == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
            assert KEY not in response.text


def test_with_the_key_all_is_as_without_one(tmp_path: Path) -> None:
    with client_of(tmp_path, ApiKey.of(KEY)) as client:
        response = client.post(
            "/api/ask", json={"question": QUESTION}, headers={"authorization": f"bearer {KEY}"}
        )
        assert response.json()["answer"] == ANSWER
        for path in ("/health", "/ready", "/"):
            assert client.get(path).status_code in {200, 503}


def test_a_page_that_is_open_shows_nothing_of_the_documents(tmp_path: Path) -> None:
    key = ApiKey.of(KEY)
    with client_of(tmp_path, key) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        document = client.get("/api/documents", headers=headers).json()["documents"][0]
        page = client.get(f"/documents/{document['id']}?start=0&end=20")
        assert "Rotterdam" not in page.text
        assert "zoo" not in page.text


@pytest.mark.parametrize("key", ["", "with space", "ümlaut", "new\nline"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        ApiKey.of(key)


def test_a_key_shows_itself_nowhere() -> None:
    assert KEY not in repr(ApiKey.of(KEY))


@pytest.mark.parametrize("path", ["/api/ask", "/v1/chat/completions", "/api/documents"])
def test_a_packed_body_is_not_unpacked(client: TestClient, path: str) -> None:
    packed = gzip.compress(b'{"question": "Where?"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = client.post(path, content=packed, headers=headers)
    assert response.status_code == 415
    assert "gzip" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json",
             "application/json; charset=utf-16"]
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/ask", "/v1/chat/completions"])
def test_json_under_another_name_is_refused(client: TestClient, path: str, kind: str) -> None:
    body = json.dumps({"question": QUESTION}).encode()
    headers = {"content-type": kind} if kind else {}
    assert code(client.post(path, content=body, headers=headers), 415) == "unsupported_media_type"


def test_json_may_say_that_it_is_utf8(client: TestClient) -> None:
    body = json.dumps({"question": QUESTION}).encode()
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    assert client.post("/api/ask", content=body, headers=headers).status_code == 200


def test_every_response_protects_itself(client: TestClient) -> None:
    for response in (
        client.get("/"),
        client.get("/health"),
        client.get("/nothing"),
        client.get("/v1/models"),
    ):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers


def test_request_ids_are_taken_over_where_they_are_harmless(client: TestClient) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for sent in ("a b", "x" * 65, '{"a"}'):
        given = client.get("/health", headers={"x-request-id": sent}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", given)


def test_what_is_not_there_and_what_is_not_done(client: TestClient) -> None:
    assert code(client.get("/nothing"), 404) == "not_found"
    refused = client.get("/api/ask")
    assert code(refused, 405) == "method_not_allowed"
    assert refused.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/documents", "GET, POST"),
        ("PATCH", "/api/documents/" + "0" * 16, "GET, DELETE"),
        ("POST", "/health", "GET"),
        ("DELETE", "/", "GET, HEAD"),
    ],
)
def test_what_a_path_does_not_take_is_said_before_what_is_wrong_with_the_body(
    client: TestClient, method: str, path: str, allow: str
) -> None:
    for kind in ({}, {"content-type": "text/plain"}):
        response = client.request(method, path, content=b"x", headers=kind)
        assert code(response, 405) == "method_not_allowed"
        assert response.headers["allow"] == allow
    assert code(client.request(method, "/nothing", content=b"x"), 404) == "not_found"
    assert still_answers(client)


def test_a_slash_more_is_another_path_and_no_redirect(client: TestClient) -> None:
    for path in ("/api/documents/", "/health/"):
        assert code(client.get(path, follow_redirects=False), 404)


LIMIT = 1024**2


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    settings = small_settings(tmp_path_factory.mktemp("home"), body_bytes=LIMIT, upload_bytes=2 * LIMIT)
    with small_state(settings) as state, listening(state) as client:
        yield client


@pytest.mark.parametrize("path", ["/api/ask", "/v1/chat/completions", "/api/documents"])
def test_a_body_that_is_declared_too_large_is_not_read(served: httpx2.Client, path: str) -> None:
    address = served.base_url
    connection = http.client.HTTPConnection(address.host, address.port or 80, timeout=10)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders(b"{")
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["code"] == "body_too_large"
    connection.close()


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "²"])
def test_a_length_that_is_no_number(client: TestClient, length: str) -> None:
    headers = {"content-type": "application/json", "content-length": length.encode()}
    assert code(client.post("/api/ask", content=b"{}", headers=headers), 400) == "invalid_value"


def resident_bytes() -> int:
    """Memory of this process; the server and its client live in it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured on Linux")
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_without_an_end_is_cut_off_with_little_memory(served: httpx2.Client, kind: str) -> None:
    before = resident_bytes()
    sent = 0

    def without_end() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
        while sent < 8192 * LIMIT:
            sent += 65536
            yield b"a" * 65536

    try:
        response = served.post("/api/documents", content=without_end(), headers={"content-type": kind})
        assert code(response, 413) == "body_too_large"
    except httpx2.WriteError:
        pass  # it hung up before everything was sent
    assert sent < 8192 * LIMIT
    assert resident_bytes() - before < 4 * LIMIT
    answer = served.post("/api/ask", json={"question": QUESTION}).json()["answer"]
    assert answer == ANSWER
