"""The interactive loop: history, its commands, stopping, and reading ahead."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_home import NOTES, environment

from index.ingest import index_paths
from rag.chat import HELP, Chat, stopping, typed_lines, without_numbers
from rag.config import load_settings
from rag.errors import GenerationCancelled, WorkerFailed
from rag.generate import ExtractiveGenerator
from rag.present import Screen
from rag.prompts import REFUSAL
from rag.remembering import RememberingGenerator
from rag.session import Session, open_collection, open_embedder, open_session
from rag.types import Piece, Prompt, Turn


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "bridge.txt"
    file.write_text(NOTES)
    settings = load_settings()
    with open_collection(settings, open_embedder(settings), must_exist=False) as collection:
        index_paths(collection, [file], settings.index)
    with open_session(settings) as opened:
        yield opened


def talk(session: Session, *lines: str) -> tuple[str, str]:
    """Standard output and standard error of a conversation."""
    screen = Screen(io.StringIO(), io.StringIO())
    typed = iter(lines)
    Chat(session, screen, lambda: next(typed, None)).run()
    assert isinstance(screen.out, io.StringIO)
    assert isinstance(screen.err, io.StringIO)
    return screen.out.getvalue(), screen.err.getvalue()


def test_answers_until_it_is_told_to_quit(session: Session) -> None:
    out, err = talk(session, "", "Who designed the bridge?", "/quit", "When was it opened?")
    assert err == ""
    assert out.startswith("Clara Zetterlund designed the bridge [1].\n\n[1] bridge, characters ")
    assert out.endswith("”\n\n")
    assert "1911" not in out


def test_a_follow_up_sees_what_was_said(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Turn]] = []
    stream = session.pipeline.stream

    def watched(question: str, history: Sequence[Turn] = (), **rest: Any) -> Iterator[object]:
        seen.append(list(history))
        return stream(question, history, **rest)

    monkeypatch.setattr(session.pipeline, "stream", watched, raising=False)
    talk(
        session, "Who designed the bridge?", "Which orchestra recorded Sibelius?", "/new", "Who designed it?"
    )
    said = [
        Turn("user", "Who designed the bridge?"),
        Turn("assistant", "Clara Zetterlund designed the bridge."),
    ]
    assert seen == [[], said, []]
    assert talk(session, "Which orchestra recorded Sibelius?")[0].startswith(REFUSAL)


def test_sources_are_shown_in_full(session: Session) -> None:
    out, err = talk(session, "/sources", "Who designed the bridge?", "/sources")
    assert err == "Nothing has been answered yet.\n"
    answer, _, rest = out.partition("\n\n")
    assert answer == "Clara Zetterlund designed the bridge [1]."
    assert rest.count("[1] bridge, characters ") == 2


def test_help_and_what_is_no_command(session: Session) -> None:
    assert talk(session, "/help", "/hepl") == (HELP + "\n", "There is no command /hepl; /help lists them.\n")
    assert talk(session, "/etc/hosts or /usr: which?")[0].startswith(REFUSAL)


def test_an_error_ends_the_answer_and_not_the_chat(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = ExtractiveGenerator.generate
    failures: list[Exception] = [WorkerFailed("the model process ended; ask again")]

    def failing(self: ExtractiveGenerator, *args: Any, **rest: Any) -> Iterator[Piece]:
        if failures:
            raise failures.pop()
        return generate(self, *args, **rest)

    monkeypatch.setattr(ExtractiveGenerator, "generate", failing)
    out, err = talk(session, "Who designed the bridge?", "why " * 401, "Who designed the bridge?")
    assert err == (
        "footnote: the model process ended; ask again\n"
        "footnote: the question has 401 tokens, the limit is 400: ask a shorter one\n"
    )
    assert out.startswith("Clara Zetterlund designed the bridge [1].")


def test_ctrl_c_stops_an_answer_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = ExtractiveGenerator.generate
    presses = [True]

    def pressed(
        self: ExtractiveGenerator, *args: Any, cancelled: Callable[[], bool], **rest: Any
    ) -> Iterator[Piece]:
        if presses:
            presses.pop()
            os.kill(os.getpid(), signal.SIGINT)
            assert cancelled()
            raise GenerationCancelled("the answer was no longer wanted")
        yield from generate(self, *args, cancelled=cancelled, **rest)

    monkeypatch.setattr(ExtractiveGenerator, "generate", pressed)
    out, err = talk(session, "Who designed the bridge?", "Who designed the bridge?")
    assert err == "Stopped.\n"
    assert out.count("Clara Zetterlund designed the bridge [1].") == 1


def test_ctrl_c_twice_leaves() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping() as stopped:
        signal.raise_signal(signal.SIGINT)
        assert stopped.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_section_is_read_while_the_person_reads(session: Session) -> None:
    assert isinstance(session.generator, RememberingGenerator)
    assert isinstance(session.generator.inner, ExtractiveGenerator)
    talk(session, "Who designed the bridge?", "/help")
    sections = session.generator.inner._read
    assert len(sections) == 1
    assert "Clara Zetterlund" in next(iter(sections))


def test_a_reading_that_is_not_finished_is_left_behind(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: ExtractiveGenerator, prompt: Prompt, cancelled: Callable[[], bool]) -> bool:
        while not cancelled():
            pass
        return False

    left: list[Prompt] = []
    monkeypatch.setattr(ExtractiveGenerator, "read", endless)
    monkeypatch.setattr(Session, "leave", lambda _, prompt: left.append(prompt))
    talk(session, "Who designed the bridge?", "/quit")
    assert left == [session.pipeline.unread]


def test_a_pipe_gets_no_prompt() -> None:
    screen = Screen(io.StringIO(), io.StringIO())
    with typed_lines(io.StringIO("one\ntwo"), screen, Path("unused")) as read_line:
        assert [read_line(), read_line(), read_line()] == ["one", "two", None]
    assert isinstance(screen.err, io.StringIO)
    assert screen.err.getvalue() == ""


def test_a_person_whose_answers_go_to_a_file_is_prompted_elsewhere() -> None:
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen(io.StringIO(), io.StringIO())
    with typed_lines(Keyboard("one\n"), screen, Path("unused")) as read_line:
        assert [read_line(), read_line()] == ["one", None]
    assert isinstance(screen.out, io.StringIO)
    assert isinstance(screen.err, io.StringIO)
    assert (screen.out.getvalue(), screen.err.getvalue()) == ("", "> > ")


def test_the_history_holds_no_footnote_numbers(session: Session) -> None:
    answer = session.pipeline.ask("Who designed the bridge?")
    assert answer.answer == "Clara Zetterlund designed the bridge [1]."
    assert without_numbers(answer) == "Clara Zetterlund designed the bridge."
    assert without_numbers(session.pipeline.ask("Which orchestra recorded Sibelius?")) == REFUSAL
