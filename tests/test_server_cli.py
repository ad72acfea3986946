"""`footnote serve` as a process, and `footnote ask --server` beside `footnote ask`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import pytest
from cli_home import NOTES, REPOSITORY, environment
from pydantic import ValidationError

from rag.cli import help_text, run
from server.__main__ import program
from server.config import ServerSettings, ServeSettings

QUESTION = "When was the bridge at Brenz opened?"
KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    notes = home / "notes.txt"
    notes.write_text(NOTES)
    done = footnote(home, "index", str(notes))
    assert done.returncode == 0, done.stderr
    return home


def variables(home: Path, **more: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FOOTNOTE_")}
    return {**inherited, **environment(home), **more}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def footnote(home: Path, *arguments: str, **more: str) -> Done:
    """One command line, carried out in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {**environment(home), **more}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run(arguments, program)
    return Done(code, out.getvalue(), err.getvalue())


class Process:
    """`footnote serve`, and what it writes."""

    def __init__(self, home: Path, *arguments: str, **more: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--port", "0", *arguments],
            cwd=REPOSITORY,
            env=variables(home, **more),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._begun.wait(60)
        found = re.search(r"http://\S+", self.lines[0])
        assert found, self.lines
        self.url = found[0]

    def _read(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(line.rstrip("\n"))
            self._begun.set()
        self._begun.set()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        code = self.child.wait(30)
        self._reader.join(30)
        for stream in (self.child.stdout, self.child.stderr):
            assert stream is not None
            stream.close()
        return code


@contextmanager
def serving(home: Path, *arguments: str, **more: str) -> Iterator[Process]:
    process = Process(home, *arguments, **more)
    try:
        yield process
    finally:
        if process.child.poll() is None:
            process.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Process]:
    with serving(home) as process:
        # It is bound before it runs: the first request waits for it.
        with httpx2.Client(base_url=process.url, trust_env=False, timeout=60) as client:
            for _ in range(600):
                try:
                    if client.get("/ready").status_code == 200:
                        break
                except httpx2.ConnectError:
                    pass
                threading.Event().wait(0.1)
        yield process


@pytest.mark.parametrize(
    "words",
    [
        [QUESTION],
        ["--stream", QUESTION],
        ["--quote", QUESTION],
        ["--top", "2", QUESTION],
        ["Who painted the ceiling?"],
        ["-c", "default", QUESTION],
    ],
)
def test_it_prints_what_asking_here_prints(home: Path, server: Process, words: list[str]) -> None:
    here = footnote(home, "ask", *words)
    there = footnote(home, "ask", "--server", server.url, *words)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert here.returncode in {0, 5}


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_it_prints_the_same_objects(home: Path, server: Process, stream: list[str]) -> None:
    def objects(*more: str) -> list[Any]:
        """But for what is measured."""
        done = footnote(home, "ask", "--json", *stream, *more, QUESTION)
        assert (done.returncode, done.stderr) == (0, "")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        answer = found[-1]["answer"] if stream else found[-1]
        del answer["timings_ms"], answer["usage"]
        return found

    assert objects("--server", server.url) == objects()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["   "], 2, "the question is empty"),
        (["?!"], 2, "the question has no words"),
        (["why " * 401], 2, "the question has 401 tokens, the limit is 400"),
        (["-c", "other", QUESTION], 3, "there is no collection other here"),
        (["-m", "extractive", QUESTION], 2, "--model cannot be chosen with --server"),
    ],
)
def test_errors_have_the_exit_codes_of_asking_here(
    home: Path, server: Process, words: list[str], code: int, message: str
) -> None:
    done = footnote(home, "ask", "--server", server.url, *words)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("footnote: ")
    assert message in done.stderr


def test_where_nothing_listens(home: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = footnote(home, "ask", "--server", f"http://127.0.0.1:{port}", QUESTION)
    assert done.returncode == 1
    assert "is footnote serve running there?" in done.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://["])
def test_what_is_no_address(home: Path, url: str) -> None:
    done = footnote(home, "ask", "--server", url, QUESTION)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr


def test_a_key_from_a_variable_or_a_file_and_never_in_the_log(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    with serving(home, "--api-key-file", str(file)) as process:
        url = process.url
        for more, arguments in (
            (dict[str, str](FOOTNOTE_API_KEY=KEY), []),
            ({}, ["--api-key-file", str(file)]),
        ):
            done = footnote(home, "ask", "--server", url, *arguments, QUESTION, **more)
            assert done.returncode == 0, done.stderr
        refused = footnote(home, "ask", "--server", url, QUESTION, FOOTNOTE_API_KEY="other")
        assert refused.returncode == 2
        assert "this server wants its key" in refused.stderr
        assert process.end() == 0
        assert KEY not in "\n".join(process.lines)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_may_not_reach_it_without_a_key(home: Path, host: str) -> None:
    done = footnote(home, "serve", "--host", host, "--port", "0")
    assert done.returncode == 2
    assert "can be reached from other machines: set a key" in done.stderr


def test_a_port_that_is_taken(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = footnote(home, "serve", "--port", str(other.getsockname()[1]))
    assert done.returncode == 2
    assert "choose another with --host or --port" in done.stderr


def test_settings_of_the_server_are_for_the_server_alone(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "footnote.toml"
    file.write_text("[server]\nhost = '0.0.0.0'\n")
    done = footnote(home, "serve", FOOTNOTE_CONFIG=str(file))
    assert (done.returncode, "set a key" in done.stderr) == (2, True)
    assert footnote(home, "ask", QUESTION, FOOTNOTE_CONFIG=str(file)).returncode == 0
    file.write_text("[server]\nhots = 'x'\n")
    done = footnote(home, "serve", FOOTNOTE_CONFIG=str(file))
    assert (done.returncode, "server.hots" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "wrong",
    ["origins = ['*']", "origins = ['https://a.example/b']", "origins = ['null']", "hosts = ['https://a.lan']",
     "hosts = ['a.lan:8000']", "hosts = ['*']", "public_url = 'a.example'"],
)  # fmt: skip
def test_names_and_origins_that_would_never_fit_are_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValidationError):
        ServerSettings.model_validate(tomllib.loads(wrong))


def test_names_and_origins_are_compared_as_clients_send_them() -> None:
    settings = ServerSettings(origins=("https://A.example/",), hosts=("Notes.lan", "fd00::1", "10.0.0.7"))
    assert settings.origins == ("https://a.example",)
    assert settings.hosts == ("notes.lan", "fd00::1", "10.0.0.7")


def test_every_collection_has_an_uploads_folder_of_its_own(tmp_path: Path) -> None:
    def folder(collection: str) -> Path:
        return ServeSettings(home=tmp_path, collection=collection).uploads_folder

    assert folder("notes") == tmp_path / "uploads" / "notes"
    assert folder(str(tmp_path / "collections" / "notes")) == folder("notes")
    others = {folder(str(tmp_path / place / "notes")) for place in ("here", "there", "collections/deeper")}
    assert len(others | {folder("notes")}) == 4
    assert {other.parent for other in others} == {tmp_path / "uploads"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(home: Path, number: signal.Signals) -> None:
    with serving(home) as process:
        assert footnote(home, "ask", "--server", process.url, QUESTION).returncode == 0
        assert process.end(number) == 0
        events = [json.loads(line) for line in process.lines[1:]]
    assert {event["event"] for event in events} == {"request", "answer"}
    (answer,) = (event for event in events if event["event"] == "answer")
    assert (answer["outcome"], answer["mode"]) == ("answered", "compose")
    assert QUESTION not in "\n".join(process.lines)


def test_questions_are_logged_where_that_is_asked_for(home: Path) -> None:
    with serving(home, FOOTNOTE_SERVER__LOG_QUESTIONS="1") as process:
        assert footnote(home, "ask", "--server", process.url, QUESTION).returncode == 0
        assert process.end() == 0
        assert QUESTION in "\n".join(process.lines)


def test_the_program_has_serve_and_python_m_rag_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert "serve" in program.commands
    assert "\n  serve " in help_text(program=program)
    assert run(["serve"]) == 2
    assert "No such command 'serve'" in capsys.readouterr().err


def test_the_help_of_serve_imports_nothing_heavy() -> None:
    code = (
        "import sys; from server.__main__ import program; from rag.cli import run; "
        "assert run(['serve', '--help'], program) == 0; "
        "print({'torch', 'fastapi', 'uvicorn', 'pydantic', 'numpy', 'httpx2'} & set(sys.modules),"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "set()\n")
