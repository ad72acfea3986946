"""The page's files, its policy, and the reports of evaluations, as the server gives them out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import BASE, client_of, settings_for, state_of
from starlette.testclient import TestClient

from server.app import create_app
from server.keys import ApiKey
from server.static_files import page_around, static_files

PARTS = Path(__file__).parent.parent / "server" / "static"
KEY = "a-key-of-our-own"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with client_of(settings_for(home)) as made:
        yield made


def test_the_page_and_all_that_it_names_are_there(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert len(named) == 6
    for path in named:
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("name", sorted(path.name for path in PARTS.iterdir()))
def test_each_file_has_its_type_and_its_digest(client: TestClient, name: str) -> None:
    response = client.get(f"/static/{name}")
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert response.headers["content-type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
    assert response.headers["cache-control"] == "no-cache"
    assert response.content == (PARTS / name).read_bytes()
    tag = response.headers["etag"]
    for sent in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(f"/static/{name}", headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(f"/static/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name", ["..%2Fpage.py", "%2e%2e/page.py", "none.js", "index.html%00", "../../page.py"]
)
def test_nothing_else_is_there(client: TestClient, name: str) -> None:
    response = client.get(f"/static/{name}")
    assert response.status_code == 404
    assert "router" not in response.text


def test_modules_import_only_what_is_there_and_are_short() -> None:
    files = static_files()
    for name, file in files.items():
        text = file.body.decode()
        if name.endswith(".js"):
            assert text.count("\n") <= 300, name
            for imported in re.findall(r'from "([^"]+)"', text):
                assert imported.removeprefix("./") in files, (name, imported)
            for unsafe in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=",
            ):
                assert unsafe not in text, (name, unsafe)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name


def test_nothing_is_there_for_nobody() -> None:
    """Every class that a style names is used, and whatever a module exports is imported or tested."""
    texts = {name: file.body.decode() for name, file in static_files().items()}
    styles = re.sub(
        r"/\*.*?\*/", "", "".join(text for name, text in texts.items() if name.endswith(".css")), flags=re.S
    )
    plain = (PARTS.parent / "passages.py").read_text()
    used = plain + "".join(text for name, text in texts.items() if not name.endswith(".css"))
    for name in set(re.findall(r"\.([a-z][\w-]*)(?=[^{}]*\{)", styles)):
        assert re.search(rf"\b{name}\b", used), name
    tests = (Path(__file__).parent / "test_page_modules.py").read_text()
    for name, text in texts.items():
        others = tests + "".join(other for its, other in texts.items() if its != name)
        for exported in re.findall(r"export (?:async )?(?:function\*?|class|const) (\w+)", text):
            assert re.search(rf"\b{exported}\b", others), (name, exported)


def test_the_plain_passage_stands_in_the_page(client: TestClient) -> None:
    added = client.post(
        "/api/documents", json={"title": "</noscript><b>", "text": "a </noscript><script>x\r\nb"}
    )
    id = added.json()["results"][0]["document"]["id"]
    page = client.get(f"/documents/{id}", params={"start": 2, "end": 13}).text
    assert '<mark id="passage">&lt;/noscript&gt;</mark>' in page
    assert page.count("</noscript>") == 1
    assert '<script type="module" src="/static/main.js">' in page
    assert page_around("\\1 & <x>", page_body()).count("<title>\\1 &amp; &lt;x&gt;</title>") == 1


def page_body() -> Any:
    from markupsafe import Markup

    return Markup("<p>\\g<0></p>")


# -- the collection and the evaluations --------------------------------------------------------------


def test_the_state_of_the_collection(client: TestClient) -> None:
    before = client.get("/api/collection").json()
    client.post("/api/documents", json={"title": "Zoo", "text": "The zoo of Basel opened in 1874."})
    after = client.get("/api/collection").json()
    assert (before["documents"], after["documents"], after["passages"]) == (0, 1, 1)
    assert after["characters"] == 32
    assert after["bytes"] > before["bytes"] > 0
    assert (after["name"], after["embedder"], after["model"]) == ("default", "hash", "extractive")


ANSWER = {
    "status": "answered", "answer": "In 1874 [1].", "nearest": [], "withheld": [], "reason": "",
    "sentences": [{"start": 0, "end": 12, "verdict": "supported", "score": 1.0, "citations": [1]}],
    "question": "When?", "model": "m", "collection": "c",
    "timings_ms": {"retrieve": 1, "first_evidence": 1, "first_token": 1, "total": 5},
}  # fmt: skip


def write_run(home: Path, name: str, **changes: Any) -> None:
    configuration = {
        "asking": "compose",
        "gold": {"name": name},
        "models": {"chat": {"name": "m"}},
        **changes,
    }
    cited = {
        "number": 1, "document_id": "gone", "title": "T", "uri": "u", "page": None, "start": 0, "end": 4,
        "cited_text": "1874", "sha256": "", "answer_start": 0, "answer_end": 7,
    }  # fmt: skip
    passed = {
        "id": "1", "question": "When?<script>x</script>", "kind": "fact", "answerable": True,
        "gold_answers": ["1874"], "gold": [], "answer": {**ANSWER, "citations": [cited]},
        "scores": {"correct": 1.0}, "confidence": 0.9, "signals": {}, "history": [], "stages": {},
    }  # fmt: skip
    folder = home / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"configuration": configuration}), json.dumps(passed)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def test_runs_are_listed_and_opened_under_a_policy_of_their_own(client: TestClient, home: Path) -> None:
    assert client.get("/api/evaluations").json() == {"reports": []}
    write_run(home, "gold & more")
    write_run(home, "calibration", calibrating=True)
    write_run(home, "unknown", asking="nonsense")
    (home / "eval" / "torn.jsonl").write_text("{")
    (report,) = client.get("/api/evaluations").json()["reports"]
    assert (report["name"], report["gold"], report["questions"]) == ("gold & more", "gold & more", 1)
    assert (report["model"], report["asking"]) == ("m", "compose")
    opened = client.get(report["url"])
    assert opened.status_code == 200
    assert report["title"] == "1 of 1 question went right"
    assert f"<h1>{report['title']}</h1>" in opened.text
    assert "<script>x</script>" not in opened.text
    policy = opened.headers["content-security-policy"]
    assert re.search(r"script-src 'sha256-[\w+/=]+'", policy)
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for name in ("none", "..%2Fgold", "torn", "unknown"):
        assert client.get(f"/evaluations/{name}").status_code in {400, 404}


def test_a_run_that_goes_on_is_read_again(client: TestClient, home: Path) -> None:
    write_run(home, "gold")
    assert client.get("/api/evaluations").json()["reports"][0]["questions"] == 1
    path = home / "eval" / "gold.jsonl"
    path.write_text(
        path.read_text() + path.read_text().splitlines()[1].replace('"id": "1"', '"id": "2"') + "\n"
    )
    assert client.get("/api/evaluations").json()["reports"][0]["questions"] == 2
    assert "2 of 2 questions went right" in client.get("/evaluations/gold").text


def test_with_a_key_a_report_opens_by_its_ticket_only(home: Path) -> None:
    write_run(home, "gold")
    write_run(home, "other")
    with (
        state_of(settings_for(home), ApiKey.of(KEY)) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        assert client.get("/").status_code == 200
        assert client.get("/api/evaluations").status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        reports = client.get("/api/evaluations", headers=headers).json()["reports"]
        urls = {one["name"]: one["url"] for one in reports}
        assert client.get(urls["gold"]).status_code == 200
        assert client.get("/evaluations/gold").status_code == 401
        ticket = urls["gold"].partition("?")[2]
        assert client.get(f"/evaluations/other?{ticket}").status_code == 401
        assert client.get(f"/evaluations/gold?ticket=9{ticket.removeprefix('ticket=')}").status_code == 401
        assert client.get("/evaluations/gold", headers=headers).status_code == 200
