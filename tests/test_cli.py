"""The command line: what is printed where, and how each run ends."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cli_home import NOTES, environment
from model_fakes import header

from index.embed import HashEmbedder
from index.types import Vectors
from rag.cli import run
from rag.generate import ExtractiveGenerator
from rag.prompts import REFUSAL
from rag.session import Session
from rag.types import Piece

Run = Callable[..., tuple[int, str, str]]

ANSWER = "Clara Zetterlund designed the bridge [1].\n"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "bridge.txt").write_text(NOTES)
    return folder


@pytest.fixture
def footnote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process: (exit code, stdout, stderr)."""
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def indexed(footnote: Run, notes: Path) -> Run:
    assert footnote("index", str(notes))[0] == 0
    return footnote


class TestAsk:
    def test_answers_with_footnotes_on_stdout_and_nothing_on_stderr(self, indexed: Run, notes: Path) -> None:
        code, out, err = indexed("ask", "Who designed the bridge?")
        assert (code, err) == (0, "")
        begin = NOTES.index("Clara")
        end = NOTES.index("bridge.") + len("bridge.")
        assert out == (
            f"{ANSWER}\n[1] bridge, characters {begin}–{end}\n"
            f"    {notes / 'bridge.txt'}\n    “Clara Zetterlund designed the bridge.”\n"
        )

    def test_refuses_with_the_nearest_passages_and_exit_code_5(self, indexed: Run) -> None:
        code, out, err = indexed("ask", "Which orchestra recorded Sibelius?")
        assert (code, err) == (5, "")
        assert out.startswith(f"{REFUSAL}\n\nNearest passages:\n\n  - bridge, characters ")
        assert out.count("  - ") == 3

    def test_json_has_the_keys_of_the_contract_and_exact_offsets(self, indexed: Run) -> None:
        code, out, err = indexed("ask", "--json", "Who designed the bridge?")
        assert (code, err, out.count("\n")) == (0, "", 1)
        answer = json.loads(out)
        assert list(answer) == [
            "status", "answer", "sentences", "citations", "nearest", "withheld", "reason", "question",
            "model", "collection", "usage", "timings_ms",
        ]  # fmt: skip
        assert answer["status"] == "answered"
        assert answer["sentences"] == [
            {"start": 0, "end": len(ANSWER) - 1, "verdict": "supported", "score": 1.0, "citations": [1]}
        ]
        (citation,) = answer["citations"]
        assert list(citation) == [
            "number", "document_id", "title", "uri", "page", "start", "end", "cited_text", "sha256",
            "answer_start", "answer_end",
        ]  # fmt: skip
        assert NOTES[citation["start"] : citation["end"]] == citation["cited_text"]
        assert citation["cited_text"] == "Clara Zetterlund designed the bridge."
        assert set(answer["usage"]) == {"prompt_tokens", "completion_tokens", "cached_tokens"}
        assert set(answer["timings_ms"]) == {"retrieve", "first_evidence", "first_token", "total"}
        assert (answer["model"], answer["collection"]) == ("extractive", "default")

    def test_a_refusal_as_json_lists_what_is_nearest(self, indexed: Run) -> None:
        code, out, _ = indexed("ask", "--json", "Which orchestra recorded Sibelius?")
        answer = json.loads(out)
        assert (code, answer["status"], answer["answer"]) == (5, "unanswerable", REFUSAL)
        assert answer["citations"] == []
        for item in answer["nearest"]:
            assert NOTES[item["start"] : item["end"]] == item["text"]
        assert len(answer["nearest"]) == 3

    def test_streamed_json_is_one_event_a_line(self, indexed: Run) -> None:
        code, out, err = indexed("ask", "--stream", "--json", "Who designed the bridge?")
        events = [json.loads(line) for line in out.splitlines()]
        assert (code, err) == (0, "")
        assert [event["event"] for event in events] == ["evidence", "sentence", "answer"]
        assert events[0]["evidence"][0]["text"] == "Clara Zetterlund designed the bridge."
        assert events[1]["text"] == ANSWER.strip() == events[2]["answer"]["answer"]
        assert events[1]["sentence"] == events[2]["answer"]["sentences"][0]
        assert events[1]["citations"] == events[2]["answer"]["citations"]

    def test_streamed_text_is_the_same_bytes(self, indexed: Run) -> None:
        for question in ("Who designed the bridge?", "Which orchestra recorded Sibelius?"):
            assert indexed("ask", "--stream", question) == indexed("ask", question)

    @pytest.mark.parametrize("arguments", [(), ("-",)])
    def test_reads_the_question_from_stdin(self, indexed: Run, arguments: tuple[str, ...]) -> None:
        code, out, _ = indexed("ask", *arguments, stdin=b"\xef\xbb\xbfWho designed the bridge?\n")
        assert (code, out.splitlines(keepends=True)[0]) == (0, ANSWER)

    def test_words_need_no_quotes(self, indexed: Run) -> None:
        assert (
            json.loads(indexed("ask", "--json", "Who", "designed", "it?")[1])["question"]
            == "Who designed it?"
        )

    def test_quote_runs_no_model(self, indexed: Run, tmp_path: Path) -> None:
        none = str(tmp_path / "none.gguf")
        code, out, _ = indexed("ask", "--quote", "--model", none, "--json", "Who designed the bridge?")
        answer = json.loads(out)
        assert (code, answer["model"], answer["answer"]) == (0, "", ANSWER.strip())

    def test_top_bounds_the_sources(self, indexed: Run) -> None:
        _, out, _ = indexed("ask", "--stream", "--json", "--top", "2", "Who designed the bridge?")
        assert len(json.loads(out.splitlines()[0])["evidence"]) == 2

    def test_the_section_is_left_to_be_read_after_the_answer(
        self, indexed: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left: list[str] = []
        monkeypatch.setattr(Session, "leave", lambda _, prompt: left.append(prompt.context))
        indexed("ask", "--quote", "Who designed the bridge?")
        monkeypatch.setenv("FOOTNOTE_RAG__READ_AHEAD", "0")
        indexed("ask", "Who designed the bridge?")
        assert left == []
        monkeypatch.setenv("FOOTNOTE_RAG__READ_AHEAD", "1")
        indexed("ask", "Who designed the bridge?")
        assert len(left) == 1
        assert "Clara Zetterlund" in left[0]

    @pytest.mark.parametrize(
        ("question", "message"),
        [
            ("  ", "footnote: the question is empty: ask something in words\n"),
            ("why " * 401, "footnote: the question has 401 tokens, the limit is 400: ask a shorter one\n"),
            ("\udcff", "footnote: the question is not readable text: write it in UTF-8\n"),
        ],
    )
    def test_a_question_that_is_none_is_a_usage_error(
        self, indexed: Run, question: str, message: str
    ) -> None:
        assert indexed("ask", question) == (2, "", message)

    @pytest.mark.parametrize(
        ("stdin", "message"),
        [
            (b"\n", "the question is empty: ask something in words"),
            (b"\xff", "the question on standard input is not UTF-8: convert it"),
            (
                b"a" * 200_000,
                "the question has more than 102400 bytes, the limit is 400 tokens: ask a shorter one",
            ),
        ],
    )
    def test_so_is_one_on_stdin(self, footnote: Run, stdin: bytes, message: str) -> None:
        # There is no collection either: the question is looked at first.
        assert footnote("ask", stdin=stdin) == (2, "", f"footnote: {message}\n")

    def test_nothing_in_a_document_acts_on_the_terminal(self, footnote: Run, notes: Path) -> None:
        (notes / "bridge.txt").write_text(
            "Clara \x1b]0;owned\x07Zetterlund \x9b31m designed \N{RIGHT-TO-LEFT OVERRIDE}the bridge.\n"
        )
        footnote("index", str(notes))
        for arguments in (("--quote",), ("--quote", "--json"), ("--stream", "--json")):
            code, out, err = footnote("ask", *arguments, "Who designed the bridge?")
            assert code == 0
            assert not {c for c in out + err if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e"} - {
                "\n"
            }
            if "--json" in arguments:
                text = (notes / "bridge.txt").read_text()
                last = json.loads(out.splitlines()[-1])
                citations = (last["answer"] if "--stream" in arguments else last)["citations"]
                assert citations
                for citation in citations:
                    assert text[citation["start"] : citation["end"]] == citation["cited_text"]
            else:
                assert "Clara \N{SYMBOL FOR ESCAPE}]0;owned\N{SYMBOL FOR BELL}Zetterlund" in out


class TestErrors:
    def test_no_collection_is_said_before_any_model_is_looked_for(
        self, footnote: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FOOTNOTE_INDEX__EMBEDDER", "all-minilm-l6-v2")
        monkeypatch.setenv("FOOTNOTE_RAG__MODEL", "qwen2.5-coder-1.5b")
        code, out, err = footnote("ask", "Who?")
        folder = tmp_path / "home" / "collections" / "default"
        assert (code, out) == (3, "")
        assert (
            err
            == f"footnote: There is no collection at {folder}: make one first with `footnote index PATH`\n"
        )
        assert not (tmp_path / "home" / "models").exists()

    def test_another_embedder_is_named(self, indexed: Run, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "home/collections/default/catalog.sqlite") as catalog:
            catalog.execute("UPDATE meta SET value = 'other-model' WHERE key = 'fingerprint'")
        catalog.close()
        code, out, err = indexed("ask", "Who?")
        assert (code, out) == (3, "")
        assert "was made with the embedder other-model" in err
        assert "hash-256" in err

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "there is no model at"),
            (b"", "is empty"),
            (b"GGUF\x03\x00", "it ends within its header"),
            (b"a text file, no model", "is no GGUF file"),
            (header("bert"), "writes no text"),
        ],
    )
    def test_a_model_that_cannot_serve(
        self, indexed: Run, tmp_path: Path, content: bytes | None, reason: str
    ) -> None:
        path = tmp_path / "model.gguf"
        if content is not None:
            path.write_bytes(content)
        code, out, err = indexed("ask", "--model", str(path), "Who?")
        assert (code, out, err.count("\n")) == (4, "", 1)
        assert reason in err
        assert str(path) in err

    def test_offline_names_the_path_and_the_command(self, indexed: Run, tmp_path: Path) -> None:
        code, out, err = indexed("ask", "--offline", "--model", "smollm2-135m", "Who?")
        assert (code, out) == (4, "")
        assert str(tmp_path / "home" / "models" / "smollm2-135m.gguf") in err
        assert err.endswith("run: footnote models pull smollm2-135m\n")

    def test_as_json_they_are_one_object_on_stderr(self, footnote: Run, tmp_path: Path) -> None:
        code, out, err = footnote("ask", "--json", "Who?")
        folder = tmp_path / "home" / "collections" / "default"
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert json.loads(err) == {
            "error": {
                "message": f"There is no collection at {folder}: make one first with `footnote index PATH`",
                "type": "invalid_request_error",
                "param": None,
                "code": "collection_not_found",
            }
        }

    def test_a_stream_of_events_ends_with_them(self, footnote: Run) -> None:
        code, out, err = footnote("ask", "--json", "--stream", "Who?")
        assert (code, json.loads(out)) == (3, {"event": "error", **json.loads(err)})

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("asks",), "No such command 'asks'"),
            (("ask", "--top", "0", "Who?"), "0 is not in the range 1<=x<=50; see footnote ask --help"),
            (("index",), "Missing argument 'PATH...'; see footnote index --help"),
            (
                ("ask", "-c", "http://host/x", "Who?"),
                "the setting collection is not usable: the URL of a database begins with postgresql://",
            ),
        ],
    )
    def test_what_cannot_be_done_as_typed(
        self, footnote: Run, arguments: tuple[str, ...], message: str
    ) -> None:
        code, out, err = footnote(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err

    def test_what_nobody_expected_is_one_line_too(
        self, footnote: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> int:
            raise ZeroDivisionError("of\nnothing")

        monkeypatch.setattr("rag.commands.list_models", broken)
        code, out, err = footnote("models", "list")
        assert (code, out) == (1, "")
        assert (
            err == "footnote: unexpected ZeroDivisionError: of nothing; set FOOTNOTE_DEBUG=1 to see where\n"
        )
        monkeypatch.setenv("FOOTNOTE_DEBUG", "1")
        assert "Traceback" in footnote("models", "list")[2]


class TestIndex:
    def test_sums_up_what_changed(self, footnote: Run, notes: Path) -> None:
        (notes / "picture.png").write_bytes(b"\x89PNG")
        line = "{} added, {} updated, {} unchanged, {} removed, 1 passed over\n"
        assert footnote("index", str(notes)) == (0, line.format(1, 0, 0, 0), "")
        assert footnote("index", str(notes)) == (0, line.format(0, 0, 1, 0), "")
        (notes / "bridge.txt").write_text("Another text about a tunnel.")
        (notes / "more.md").write_text("# More\n\nOf the same.")
        assert footnote("index", str(notes)) == (0, line.format(1, 1, 0, 0), "")
        (notes / "more.md").unlink()
        assert footnote("index", str(notes)) == (0, line.format(0, 0, 1, 1), "")

    def test_names_what_cannot_be_read_and_goes_on(self, footnote: Run, notes: Path) -> None:
        (notes / "a.pdf").write_bytes(b"no pdf at all")
        (notes / "z.txt").write_text("")
        code, out, err = footnote("index", str(notes))
        assert (code, out) == (
            1,
            "1 added, 0 updated, 0 unchanged, 0 removed, 0 passed over, 2 not readable\n",
        )
        lines = err.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"footnote: {notes / 'a.pdf'}")
        assert lines[1].startswith(f"footnote: {notes / 'z.txt'}")
        assert footnote("ask", "Who designed the bridge?")[0] == 0

    def test_a_path_that_is_not_there_makes_no_collection(self, footnote: Run, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        assert footnote("index", str(gone)) == (1, "", f"footnote: {gone} does not exist: check the path.\n")
        assert not (tmp_path / "home" / "collections").exists()

    def test_readings_of_documents_that_are_gone_are_deleted(self, indexed: Run, notes: Path) -> None:
        document = json.loads(indexed("ask", "--json", "Who designed the bridge?")[1])["citations"][0][
            "document_id"
        ]
        readings = notes.parent / "home/collections/default/readings"
        readings.mkdir()
        (readings / f"{document}-0.reading").touch()
        (readings / "0123456789abcdef-0.reading").touch()
        indexed("index", str(notes))
        assert [path.name for path in readings.iterdir()] == [f"{document}-0.reading"]

    def test_a_folder_serves_as_a_collection(self, footnote: Run, notes: Path, tmp_path: Path) -> None:
        folder = tmp_path / "elsewhere" / "mine"
        assert footnote("index", "-c", str(folder), str(notes))[0] == 0
        assert (folder / "catalog.sqlite").is_file()
        assert json.loads(footnote("ask", "-c", str(folder), "--json", "Who designed the bridge?")[1])[
            "collection"
        ] == "mine"  # fmt: skip


class TestInterrupted:
    def test_indexing_keeps_what_it_has_done(
        self, footnote: Run, notes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(70):  # more than one batch
            (notes / f"z{number:02}.txt").write_text(f"Note {number} is about something else.")
        embed = HashEmbedder.embed
        batches = []

        def interrupted(self: HashEmbedder, texts: Sequence[str]) -> Vectors:
            batches.append(len(texts))
            if len(batches) == 2:
                raise KeyboardInterrupt
            return embed(self, texts)

        monkeypatch.setattr(HashEmbedder, "embed", interrupted)
        note = "Interrupted. What was finished is kept; the same command goes on from there.\n"
        assert footnote("index", str(notes)) == (130, "", note)
        monkeypatch.setattr(HashEmbedder, "embed", embed)
        assert footnote("index", str(notes)) == (
            0,
            "55 added, 0 updated, 16 unchanged, 0 removed, 0 passed over\n",
            "",
        )
        assert footnote("check")[0] == 0

    def test_asking_prints_nothing_more(self, indexed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object, **__: object) -> Iterator[Piece]:
            raise KeyboardInterrupt

        monkeypatch.setattr(ExtractiveGenerator, "generate", interrupted)
        assert indexed("ask", "Who designed the bridge?") == (130, "", "")
        assert indexed("ask", "--json", "Who designed the bridge?") == (130, "", "")


class TestCheckAndModels:
    def test_a_sound_collection(self, indexed: Run, tmp_path: Path) -> None:
        folder = tmp_path / "home" / "collections" / "default"
        code, out, err = indexed("check")
        assert (code, err) == (0, "")
        assert out.startswith(f"{folder} is sound: 1 document, ")

    def test_a_damaged_vector_file_is_found_and_repaired(self, indexed: Run, tmp_path: Path) -> None:
        folder = tmp_path / "home" / "collections" / "default"
        vectors = [path for path in folder.iterdir() if path.suffix == ".faiss"]
        assert vectors
        vectors[0].write_bytes(b"torn")
        code, out, err = indexed("check")
        assert (code, out.count("\n")) == (3, 1)
        assert err == "footnote: what is derived can be made again: run footnote check --repair\n"
        assert indexed("check", "--repair")[1].startswith("repaired: ")
        assert indexed("check")[0] == 0

    def test_no_collection_to_check(self, footnote: Run) -> None:
        assert footnote("check")[0] == 3

    def test_the_catalogue_is_listed(self, footnote: Run) -> None:
        code, out, err = footnote("models", "list")
        assert (code, err) == (0, "")
        rows = [re.split(" {2,}", line) for line in out.splitlines()]
        assert rows[0][0] == "qwen2.5-coder-1.5b (default)"
        assert {row[3] for row in rows} == {"not here"}

    def test_a_damaged_model_is_found_and_the_others_verified(self, footnote: Run, tmp_path: Path) -> None:
        sound = tmp_path / "chat.gguf"
        sound.write_bytes(header("llama"))
        damaged = tmp_path / "home" / "models" / "smollm2-135m.gguf"
        damaged.parent.mkdir()
        damaged.write_bytes(b"GGUF")
        code, out, err = footnote("models", "verify", "smollm2-135m", str(sound))
        assert (code, out) == (4, f"{sound}  sound  {sound}\n")
        assert err.startswith(f"footnote: {damaged} is damaged: 4 bytes long")

    def test_offline_nothing_is_pulled(self, footnote: Run) -> None:
        code, out, err = footnote("models", "pull", "smollm2-135m")
        assert (code, out) == (4, "")
        assert "offline nothing is fetched" in err

    def test_the_fakes_need_no_pull(self, footnote: Run) -> None:
        assert footnote("models", "pull") == (0, "", "")


LETTER = "---\ntags: [letters]\nauthor: Ada\n---\nThe bridge at Brenz was opened in 1912, says the letter.\n"
OPENED = "When was the bridge at Brenz opened?"


@pytest.mark.parametrize(
    ("filters", "year"),
    [
        (["tag=letters"], "1912"),
        (["author=ada", "title=letter"], "1912"),
        (["path=./letter.md"], "1912"),
        (["path=notes/bridge.txt"], "1911"),
        (["title=nothing"], None),
    ],
)
def test_a_question_is_kept_to_some_documents(
    footnote: Run, notes: Path, monkeypatch: pytest.MonkeyPatch, filters: list[str], year: str | None
) -> None:
    (notes / "letter.md").write_text(LETTER)
    footnote("index", str(notes))
    monkeypatch.chdir(notes)
    options = [part for one in filters for part in ("--filter", one)]
    code, out, err = footnote("ask", "--quote", *options, OPENED)
    if year is None:
        assert code == 5
        assert "no document passes the filters" in err
    else:
        assert code == 0
        assert f"in {year}" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("autor=ada", "there is no filter 'autor': there are id, path, title, tag, since, until"),
        ("letters", "the filter 'letters' is not of the form KEY=VALUE, as in tag=letters"),
        ("since=soon", "since is 'soon': write a date as 2024-03-05, 2024-03 or 2024"),
    ],
)
def test_a_filter_that_is_none_is_named(indexed: Run, given: str, message: str) -> None:
    for command in (("ask", "--quote", "x y z"), ("chat", "--quote")):
        code, out, err = indexed(*command, "--filter", given)
        assert (code, out, err) == (2, "", f"footnote: {message}\n")
